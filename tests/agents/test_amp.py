"""The parts of AMP and ADD, each against values worked by hand; the agent against PPO."""

from __future__ import annotations

import copy
from dataclasses import replace
from math import exp, isfinite, log

import pytest
import torch
from torch import Tensor

from agents import PPO, ActorCritic, PPOConfig, RunningNormalizer, StepResult
from agents.amp import AMP, AMPConfig, Discriminator
from agents.amp.difference_scale import DifferenceScale
from agents.amp.discriminator import DiscriminatorTrainer
from agents.amp.losses import adversarial_loss, logits_and_penalty, style_reward
from agents.amp.replay import SampleRing, fill_unusable
from agents.metrics import Metrics

PPO_CONFIG = PPOConfig(num_steps=8, epochs=2, minibatches=4, lr=3e-3, muon_lr=2e-2, gamma=0.9)
CONFIG = AMPConfig(hidden=(32, 16), lr=1e-3, batch_size=64, replay=640)
DIM = 16  # a pair of observations of the tracking environment


def expert(count: int, generator: torch.Generator) -> Tensor:
    return 0.3 * torch.randn(count, DIM, generator=generator)


def judging(env):
    """The tracking environment, which now says what it did: observations before and after."""
    step = env.step

    def judged_step(action: Tensor):
        before = env._obs()
        result = step(action)
        return result._replace(judged=torch.cat([before, result.final_obs], dim=-1))

    env.step = judged_step
    return env


def make(env, amp=CONFIG, config=PPO_CONFIG, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    policy = ActorCritic(8, 4, actor_hidden=(32, 32), init_std=0.5, generator=generator)
    options = {"judged_dim": DIM, "expert": expert, "judged_name": "obs pairs: 16"} | options
    return AMP(policy, config, amp, env.num_envs, seed=seed, **options)


def train(agent, env, obs, iterations):
    for _ in range(iterations):
        rollout, obs, stats = agent.collect(env, obs)
        report = agent.update(rollout)
    return obs, stats | report


def flat(state, prefix=""):
    if not isinstance(state, dict):
        return {prefix: state}
    return {k: v for key in state for k, v in flat(state[key], f"{prefix}/{key}").items()}


def assert_equal_states(a, b):
    a, b = flat(a), flat(b)
    assert a.keys() == b.keys()
    for key, value in a.items():
        same = torch.equal(value, b[key]) if isinstance(value, Tensor) else value == b[key]
        assert same, key


def test_losses_worked_by_hand():
    real, policy = torch.tensor([1.0, 3.0]), torch.tensor([-1.0, 0.0, 2.0])
    expected = (0 + 4) / 2 + (0 + 1 + 9) / 3
    assert adversarial_loss(real, policy, "least_squares").item() == pytest.approx(expected)

    def s(d: float) -> float:
        return 1 / (1 + exp(-d))

    expected = -(log(s(1)) + log(s(3))) / 2 - (log(1 - s(-1)) + log(1 - s(0)) + log(1 - s(2))) / 3
    assert adversarial_loss(real, policy, "logistic").item() == pytest.approx(expected)
    huge = torch.tensor([1e4])
    assert adversarial_loss(-huge, huge, "logistic").item() == pytest.approx(2e4)


def test_rewards_at_given_logits():
    logits = torch.tensor([-3.0, -1.0, 0.0, 1.0, 2.0, 3.0, 5.0])
    expected = torch.tensor([0.0, 0.0, 0.75, 1.0, 0.75, 0.0, 0.0])
    assert torch.allclose(style_reward(logits, "least_squares"), expected)
    assert torch.allclose(style_reward(logits, "least_squares", 0.8), expected.clamp(max=0.8))
    expected = -(1 - logits.double().sigmoid()).log()
    assert torch.allclose(style_reward(logits, "logistic").double(), expected, atol=1e-6)
    assert style_reward(torch.tensor(1e4), "logistic", 9.2).item() == pytest.approx(9.2)
    assert style_reward(torch.tensor(-1e4), "logistic").item() == 0.0


def test_gradient_penalty_against_finite_differences():
    generator = torch.Generator().manual_seed(0)
    judge = Discriminator(3, replace(CONFIG, hidden=(8, 8)), generator).double()
    torch.nn.init.normal_(judge.head.weight, generator=generator)
    samples = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    logits, penalty = logits_and_penalty(judge.network, samples)
    assert torch.equal(logits, judge.network(samples))
    h, slopes = 1e-6, torch.zeros(5, 3, dtype=torch.float64)
    for i in range(3):
        shift = h * torch.eye(3, dtype=torch.float64)[i]
        slopes[:, i] = (judge.network(samples + shift) - judge.network(samples - shift)) / (2 * h)
    assert penalty.item() == pytest.approx(slopes.square().sum(-1).mean().item(), rel=1e-6)
    # It pulls on the weights: its own gradient, against a difference too.
    weight = judge.head.weight
    (gradient,) = torch.autograd.grad(penalty, weight)
    nearby = []
    for change in (h, -2 * h):
        weight.data[0, 2] += change
        nearby.append(logits_and_penalty(judge.network, samples)[1].item())
    more, less = nearby
    assert gradient[0, 2].item() == pytest.approx((more - less) / (2 * h), rel=1e-4)


@pytest.mark.parametrize(("kind", "where"), [("amp", "real"), ("add", "policy")])
def test_penalty_is_taken_where_the_paper_says(kind, where):
    """A logit of slope 0.8 above zero and none below, in two samples on either side."""
    config = replace(CONFIG, kind=kind, hidden=(2,), logit_reg=0.0, weight_decay=0.0)
    judge = Discriminator(1, config, torch.Generator())
    values = [[1.0], [0.0]], [0.0, 0.0], [[0.8, 0.0]], [0.0]
    for parameter, value in zip(judge.parameters(), values, strict=True):
        parameter.data.copy_(torch.tensor(value))
    sides = {"real": torch.tensor([[-1.0], [-2.0]]), "policy": torch.tensor([[-1.0], [-2.0]])}
    sides[where] = torch.tensor([[0.5], [-2.0]])
    metrics = Metrics()
    DiscriminatorTrainer(judge, config).step(**sides, metrics=metrics)
    figures = metrics.to_floats()
    scale = judge.normalizer(torch.ones(1)).item()  # all but 1: an empty normaliser
    assert figures["style/grad_penalty"] == pytest.approx(0.64 / 2)
    logit = 0.8 * 0.5 * scale
    squares = {"real": (logit - 1) ** 2 + 1 + 2, "policy": (logit + 1) ** 2 + 1 + 2}[where] / 2
    assert figures["style/loss"] == pytest.approx(squares + 5.0 * 0.32, rel=1e-3)
    assert figures[f"style/accuracy_{where}"] == (0.5 if where == "real" else 0.0)


def test_regularisation_pulls_as_configured():
    """Without anything to tell, what is left of the loss is the squares of the weights."""
    config = replace(CONFIG, grad_penalty=0.0, logit_reg=0.3, weight_decay=0.02)
    judge = Discriminator(4, config, torch.Generator().manual_seed(0))
    judge.head.weight.data.fill_(0.5)
    metrics, same = Metrics(), torch.randn(64, 4)
    logits = judge(same)
    DiscriminatorTrainer(judge, config).step(same, same, metrics)
    # (d-1)^2 + (d+1)^2 = 2 + 2 d^2; before the step, so the weights are the ones above.
    fresh = Discriminator(4, config, torch.Generator().manual_seed(0))
    squares = sum(layer.weight.square().sum() for layer in (fresh.body[0], fresh.body[2]))
    head = 16 * 0.25
    expected = 2 + 2 * logits.square().mean() + 0.3 * head + 0.02 * (squares + head)
    assert metrics.to_floats()["style/loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_ring_keeps_the_newest_usable_rows():
    ring, generator = SampleRing(5, 2), torch.Generator().manual_seed(0)
    assert ring.draw(3, generator).isnan().all()
    rows = torch.arange(16.0).view(8, 2)
    rows[2, 1], rows[3, 0] = torch.nan, 1e30
    ring.add(rows[:4])
    assert ring.added == 2
    seen = {tuple(row) for row in ring.draw(200, generator).tolist()}
    assert seen == {(0.0, 1.0), (2.0, 3.0)}
    ring.add(rows[4:])  # six usable rows in all, so the first one is gone
    assert {row[0] for row in ring.draw(500, generator).tolist()} == {2.0, 8.0, 10.0, 12.0, 14.0}
    restored = SampleRing(5, 2)
    restored.load_state_dict(ring.state_dict())
    assert torch.equal(restored.rows, ring.rows) and restored.added == 6
    ring.clear()
    assert ring.added == 0 and ring.rows.isnan().all()
    with pytest.raises(ValueError, match="ring of 5 rows of 2 cannot take"):
        ring.add(torch.zeros(6, 2))
    for other in (SampleRing(4, 2), SampleRing(6, 2), SampleRing(5, 3)):
        with pytest.raises(ValueError, match="do not fit a ring of"):
            other.load_state_dict(restored.state_dict())


def test_ring_draws_evenly():
    ring = SampleRing(10, 1)
    for start in range(0, 30, 3):
        ring.add(torch.arange(start, start + 3.0).unsqueeze(1))
    draws = ring.draw(20_000, torch.Generator().manual_seed(0)).long().squeeze()
    counts = torch.bincount(draws, minlength=30)
    assert counts[:20].sum() == 0
    assert (counts[20:] - 2000).abs().max() < 5 * (2000 * 0.9) ** 0.5


def test_unusable_real_samples_are_replaced_by_real_ones():
    rows = torch.tensor([[1.0], [torch.nan], [2.0], [torch.inf], [torch.nan]])
    filled = fill_unusable(rows)
    assert filled.squeeze().tolist()[::2][:2] == [1.0, 2.0]
    assert set(filled.squeeze().tolist()) == {1.0, 2.0}
    assert fill_unusable(rows[3:]).isfinite().logical_not().all()


def test_difference_scale_leaves_zero_in_place():
    generator = torch.Generator().manual_seed(0)
    scale, data = DifferenceScale(3), torch.rand(500, 3, generator=generator)
    data = data * torch.tensor([1.0, 100.0, 0.0]) + torch.tensor([5.0, 0.0, 0.0])
    assert torch.equal(scale(data[:, :1].expand(-1, 3)), data[:, :1].expand(-1, 3))
    scale.update(data[:100])
    poisoned = data[100:].clone()
    poisoned[7, 1] = torch.nan
    scale.update(poisoned)
    kept = torch.cat([data[:107], data[108:]])
    assert scale.count == 499
    assert torch.allclose(scale.mean_abs.float(), kept.abs().mean(0))
    assert torch.equal(scale(torch.zeros(3)), torch.zeros(3))
    assert scale(torch.tensor([1e3, -1e5, 1e-5])).tolist() == pytest.approx([10.0, -10.0, 0.1])
    before = copy.deepcopy(scale.state_dict())
    scale.update(torch.full((4, 3), torch.nan))
    assert_equal_states(before, scale.state_dict())


def test_normalizer_is_fed_by_both_kinds_at_the_end_of_an_update(tracking_env):
    env = judging(tracking_env(16))
    agent = make(env, expert=lambda n, g: torch.full((n, DIM), 7.0))
    statistics, scored = agent.discriminator.normalizer, []
    assert isinstance(statistics, RunningNormalizer)
    before = copy.deepcopy(agent.discriminator.state_dict())
    rollout, _, _ = agent.collect(env, env.reset())
    assert_equal_states(before, agent.discriminator.state_dict())
    step = agent.trainer.step

    def watched(*args):
        scored.append(statistics.count.item())
        step(*args)

    agent.trainer.step = watched
    agent.update(rollout)
    # Half of the 2 * 128 samples are the expert's sevens; the weights follow the statistics.
    assert set(scored) == {256.0} and len(scored) == 8
    assert (statistics.mean - 3.5).abs().max() < 0.5
    logits = agent.discriminator(torch.full((1, DIM), 7.0))
    assert not torch.equal(logits, torch.zeros(1))


def test_add_feeds_its_scale_by_the_policy_alone(tracking_env):
    env = judging(tracking_env(16))
    agent = make(env, replace(CONFIG, kind="add"), expert=lambda n, g: torch.zeros(n, DIM))
    train(agent, env, env.reset(), 1)
    assert isinstance(agent.discriminator.normalizer, DifferenceScale)
    assert agent.discriminator.normalizer.count == 128


def test_reward_is_the_weighted_sum(tracking_env):
    env, plain = judging(tracking_env(16)), judging(tracking_env(16))
    obs = env.reset()
    amp = replace(CONFIG, task_weight=0.25, style_weight=3.0, style_scale=4.0)
    agent, ppo = make(env, amp), make(plain, replace(amp, task_weight=1.0, style_weight=0.0))
    rollout, _, stats = agent.collect(env, obs)
    task = ppo.collect(plain, plain.reset())[0].rewards
    # An untrained discriminator has logit 0 everywhere, which is worth 0.75.
    assert torch.allclose(rollout.rewards, 0.25 * task + 3.0 * 4.0 * 0.75)
    assert stats["task_reward"] == pytest.approx(task.mean().item())
    assert stats["reward"] == pytest.approx(rollout.rewards.mean().item())
    for name, value in {"mean": 3.0, "std": 0.0, "low": 3.0, "high": 3.0}.items():
        assert stats[f"style/reward_{name}"] == pytest.approx(value)
    agent.update(rollout)
    with torch.no_grad():
        agent.discriminator.head.weight.normal_(std=0.3)
        rollout, _, stats = agent.collect(env, obs)
        style = 4.0 * style_reward(agent.discriminator(agent._fresh.rows), "least_squares")
    assert stats["style/reward_mean"] == pytest.approx(style.mean().item(), rel=1e-5)
    assert stats["style/reward_std"] == pytest.approx(style.std(correction=0).item(), rel=1e-4)
    assert stats["style/reward_low"] == pytest.approx(style.quantile(0.1).item(), rel=1e-5)
    assert stats["style/reward_high"] == pytest.approx(style.quantile(0.9).item(), rel=1e-5)
    assert stats["reward"] == pytest.approx(0.25 * stats["task_reward"] + 3 * style.mean().item())


def test_without_style_it_is_ppo(tracking_env):
    """Nothing of the discriminator reaches a policy whose reward has no style in it."""
    env, other = judging(tracking_env(16)), tracking_env(16)
    agent = make(env, replace(CONFIG, task_weight=1.0, style_weight=0.0))
    policy = ActorCritic(
        8, 4, actor_hidden=(32, 32), init_std=0.5, generator=torch.Generator().manual_seed(0)
    )
    ppo = PPO(policy, PPO_CONFIG, 16)
    train(agent, env, env.reset(), 2)
    train(ppo, other, other.reset(), 2)
    theirs = {k: v for k, v in agent.state_dict().items() if k != "style"}
    assert_equal_states(theirs, ppo.state_dict())


@pytest.mark.parametrize("kind", ["amp", "add"])
def test_resumed_training_is_bit_identical(tracking_env, tmp_path, kind):
    amp = replace(CONFIG, kind=kind, loss="logistic" if kind == "add" else "least_squares")
    zeros = {"expert": lambda n, g: torch.zeros(n, DIM)} if kind == "add" else {}
    env = judging(tracking_env(16))
    agent = make(env, amp, **zeros)
    obs, _ = train(agent, env, env.reset(), 2)
    torch.save(agent.state_dict(), tmp_path / "checkpoint.pt")
    resumed_env = tracking_env(16)
    for name in ("point", "target", "clock"):
        setattr(resumed_env, name, getattr(env, name).clone())
    resumed_env.generator.set_state(env.generator.get_state())

    end, report = train(agent, env, obs, 2)
    resumed = make(env, amp, seed=99, **zeros)
    resumed.load_state_dict(torch.load(tmp_path / "checkpoint.pt", weights_only=True))
    resumed_end, resumed_report = train(resumed, judging(resumed_env), obs, 2)

    assert torch.equal(end, resumed_end)
    assert report == resumed_report
    assert_equal_states(agent.state_dict(), resumed.state_dict())
    assert agent.replay.added == 4 * 10  # a 64th of 640 each time


def test_snapshot_is_plain_and_does_not_change(tracking_env):
    env = judging(tracking_env(16))
    agent = make(env)
    obs, _ = train(agent, env, env.reset(), 1)
    snapshot = agent.state_dict()
    frozen = copy.deepcopy(snapshot)
    train(agent, env, obs, 1)
    assert_equal_states(snapshot, frozen)
    assert {type(v) for v in flat(snapshot).values()} <= {Tensor, int, float, str}


def test_steps_that_are_not_finite_are_kept_out_and_counted(tracking_env):
    env = judging(tracking_env(16))
    step = env.step

    def poisoned_step(action):
        result = step(action)
        judged, reward = result.judged.clone(), result.reward.clone()
        judged[0, 3], judged[1, 0], judged[2, 1] = torch.nan, torch.inf, 1e25
        reward[5] = torch.nan
        return result._replace(judged=judged, reward=reward)

    def poisoned_expert(count, generator):
        samples = expert(count, generator)
        samples[:2, 0] = torch.nan
        return samples

    env.step = poisoned_step
    agent = make(env, expert=poisoned_expert)
    obs, report = train(agent, env, env.reset(), 2)
    rollout, _, stats = agent.collect(env, obs)
    assert stats["style/nonfinite"] == 3 / 16 and stats["nonfinite_rewards"] == 1 / 16
    assert stats["nonfinite_obs"] == 0.0
    assert report["style/nonfinite_real"] == 2 / 64
    assert agent._fresh.added == 8 * 13
    assert rollout.rewards.isfinite().all()
    assert agent.replay.state_dict()["rows"].isfinite().all()
    assert agent.trainer.optimizer.skipped == 0
    for values in (report, stats):
        assert all(isfinite(value) for value in values.values())
    assert all(v.isfinite().all() for v in agent.discriminator.state_dict().values())


def test_an_iteration_with_nothing_to_judge_changes_no_weight(tracking_env):
    env = judging(tracking_env(16))
    step = env.step
    env.step = lambda action: step(action)._replace(judged=torch.full((16, DIM), torch.nan))
    agent = make(env)
    before = copy.deepcopy(agent.discriminator)
    _, report = train(agent, env, env.reset(), 1)
    assert agent.trainer.optimizer.skipped == 8 and agent.replay.added == 0
    assert "style/loss" not in report and "style/reward_mean" not in report
    assert report["style/nonfinite"] == 1.0
    for old, new in zip(before.parameters(), agent.discriminator.parameters(), strict=True):
        assert torch.equal(old, new)


def test_a_bad_gradient_is_skipped():
    judge = Discriminator(2, CONFIG, torch.Generator().manual_seed(0))
    trainer, metrics = DiscriminatorTrainer(judge, CONFIG), Metrics()
    before = copy.deepcopy(judge.state_dict())
    bad = torch.tensor([[0.0, torch.nan]])
    trainer.step(torch.zeros(1, 2), bad, metrics)
    assert trainer.optimizer.skipped == 1 and metrics.to_floats() == {}
    assert_equal_states(before, judge.state_dict())


def test_half_of_the_policy_samples_are_from_earlier_iterations(tracking_env):
    env, batches = judging(tracking_env(16)), []
    agent = make(env)
    agent.trainer.step = lambda real, policy, metrics: batches.append((real, policy))
    obs, _ = train(agent, env, env.reset(), 1)
    first = {tuple(row) for row in agent._fresh.rows.tolist()}
    batches.clear()
    train(agent, env, obs, 1)
    second = {tuple(row) for row in agent._fresh.rows.tolist()}
    memory = {tuple(row) for row in agent.replay.state_dict()["rows"].tolist()}
    real, policy = (torch.cat(part) for part in zip(*batches, strict=True))
    assert len(batches) == 8 and real.shape == (8 * 64, DIM) and policy.shape == (8 * 128, DIM)
    policy = policy.view(8, 2, 64, DIM)
    fresh, replayed = ({tuple(r) for r in policy[:, i].reshape(-1, DIM).tolist()} for i in (0, 1))
    assert fresh <= second and not fresh & first
    assert replayed == memory and memory & first and memory & second
    assert real.mean().abs() < 0.05 and 0.25 < real.std() < 0.35  # the expert's


def test_number_of_discriminator_updates(tracking_env):
    for updates, expected in ((0, 8), (3, 3)):
        env = judging(tracking_env(16))
        agent = make(env, replace(CONFIG, updates=updates))
        train(agent, env, env.reset(), 1)
        states = agent.state_dict()["style"]["optimizer"]["states"]["adam"].values()
        assert {int(state["step"]) for state in states} == {expected}


def test_one_line_errors(tracking_env):
    env = judging(tracking_env(16))
    agent = make(env)
    with pytest.raises(ValueError, match="has judged_name 'obs pairs: 16', not 'arms: 16'"):
        make(env, judged_name="arms: 16").load_state_dict(agent.state_dict())
    with pytest.raises(ValueError, match="has kind 'amp', not 'add'"):
        make(env, replace(CONFIG, kind="add")).load_state_dict(agent.state_dict())
    with pytest.raises(ValueError, match="has no discriminator"):
        agent.load_state_dict(PPO(agent.policy, PPO_CONFIG, 16).state_dict())
    with pytest.raises(ValueError, match=r"returned \(2, 16\), expected \(2, 9\)"):
        make(env, judged_dim=9)
    with pytest.raises(ValueError, match=r"judged is None, expected \(16, 16\)"):
        agent.collect(tracking_env(16), env.reset())
    for wrong in (
        {"kind": "gail"}, {"loss": "hinge"}, {"hidden": ()}, {"hidden": (0,)}, {"lr": 0.0},
        {"replay": 0}, {"updates": -1}, {"style_weight": -0.1}, {"style_clip": 0.0},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(wrong))):
            AMPConfig(**wrong)
    assert AMPConfig(hidden=[8, 8]).hidden == (8, 8)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("kind", ["amp", "add"])
def test_steps_and_updates_never_wait_for_the_device(kind):
    policy = ActorCritic(8, 4, actor_hidden=(32, 32)).cuda()

    def on_device(count, generator):
        return torch.randn(count, DIM, generator=generator, device="cuda")

    amp = replace(CONFIG, kind=kind)
    agent = AMP(policy, PPO_CONFIG, amp, 32, judged_dim=DIM, expert=on_device)
    metrics, judged = Metrics("cuda"), torch.randn(32, DIM, device="cuda")
    nothing = torch.zeros(32, device="cuda")
    result = StepResult(judged, nothing, nothing.bool(), nothing.bool(), judged, {}, judged)
    for mode in ("default", "error"):  # the first round allocates
        torch.cuda.set_sync_debug_mode(mode)
        try:
            agent._reward(result, metrics)
            agent._finish_collect(metrics)
            agent._finish_update(metrics)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert isfinite(metrics.to_floats()["style/loss"])
