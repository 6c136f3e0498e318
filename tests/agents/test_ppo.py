import copy
import warnings
from dataclasses import replace
from math import isfinite

import pytest
import torch

from agents import PPO, ActorCritic, PPOConfig, Rollout, VecEnv, iterate_minibatches
from agents.metrics import Metrics

CONFIG = PPOConfig(
    num_steps=8, epochs=2, minibatches=4, lr=3e-3, muon_lr=2e-2, value_clip=None, gamma=0.9
)


def make(env, config=CONFIG, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    options = {"actor_hidden": (32, 32), "init_std": 0.5, "generator": generator} | options
    policy = ActorCritic(env.obs_dim, env.action_dim, **options)
    return PPO(policy, config, env.num_envs, seed=seed)


def train(ppo, env, obs, iterations):
    for _ in range(iterations):
        rollout, obs, _ = ppo.collect(env, obs)
        report = ppo.update(rollout)
    return obs, report


def flat(state, prefix=""):
    """All leaves of a nested state dict by path."""
    if not isinstance(state, dict):
        return {prefix: state}
    return {k: v for key in state for k, v in flat(state[key], f"{prefix}/{key}").items()}


def assert_equal_states(a, b):
    a, b = flat(a), flat(b)
    assert a.keys() == b.keys()
    for key, value in a.items():
        same = torch.equal(value, b[key]) if isinstance(value, torch.Tensor) else value == b[key]
        assert same, key


@pytest.mark.parametrize("optimizer", ["muon", "adam"])
def test_solves_tracking(tracking_env, optimizer):
    env = tracking_env(64, seed=1)
    config = replace(CONFIG, optimizer=optimizer, reward_scaling=optimizer == "muon", lr_floor=0.1)
    ppo = make(env, config)
    judge = tracking_env(1000, seed=2)
    optimum, untrained = judge.optimal_return(), judge.mean_return(ppo.policy)
    obs = env.reset()
    ppo.warm_start_normalizer(obs)
    for i in range(150):
        rollout, obs, stats = ppo.collect(env, obs)
        report = ppo.update(rollout, progress=i / 150)
    trained = judge.mean_return(ppo.policy)
    assert untrained < -20.0 < optimum
    assert trained > optimum - 0.02 * (optimum - untrained)
    assert trained <= optimum + 0.05  # the sampling error of a thousand starts
    assert report["mean_std"] < 0.5
    assert report["explained_variance"] > 0.5
    assert report["skipped_updates"] == 0
    assert stats["episode_length"] == env.horizon
    assert stats["truncated"] == pytest.approx(1 / env.horizon, rel=0.2)
    assert stats["terminated"] == 0.0 and stats["info/horizon"] == env.horizon


@pytest.mark.parametrize(("ends_by", "low", "high"), [("truncation", 9, 11), ("termination", 2, 4)])
def test_value_continues_through_truncation_only(alive_env, ends_by, low, high):
    # Truncated: 1 / (1 - gamma) = 10. Terminated: 2.7 on average, since the clock is not observed.
    env = alive_env(64, ends_by)
    ppo = make(env)
    obs, _ = train(ppo, env, env.reset(), 80)
    value = ppo.policy.value(obs).mean().item()
    assert low < value < high


def test_collect_keeps_the_true_last_observation(tracking_env):
    env = tracking_env(10)
    assert isinstance(env, VecEnv)
    ppo = make(env)
    obs = env.reset()
    ppo.warm_start_normalizer(obs)
    rollout, next_obs, _ = ppo.collect(env, obs)
    assert torch.equal(rollout.obs[0], obs)
    with torch.no_grad():
        after = ppo.policy.value(torch.cat([rollout.obs[1:], next_obs[None]]).flatten(0, 1))
    after = after.view(8, 10)
    same = (after - rollout.next_values).abs() < 1e-6
    assert torch.equal(same, ~rollout.done)
    assert rollout.done.any() and not rollout.terminated.any()


@pytest.mark.parametrize("optimizer", ["muon", "adam"])
def test_first_ratio_is_one_in_every_iteration(tracking_env, optimizer):
    env = tracking_env(32)
    ppo = make(env, replace(CONFIG, optimizer=optimizer))
    obs = env.reset()
    for _ in range(3):
        statistics = ppo.policy.normalizer.mean.clone()
        rollout, obs, _ = ppo.collect(env, obs)
        assert torch.equal(ppo.policy.normalizer.mean, statistics)
        report = ppo.update(rollout)
        assert not torch.equal(ppo.policy.normalizer.mean, statistics)
        assert report["first_ratio_error"] < 1e-5
        assert report["kl"] > 1e-4  # later minibatches do move
    assert ppo.policy.normalizer.count == 3 * 8 * 32


def test_ratio_is_one_with_hundreds_of_actions():
    policy = ActorCritic(20, 400, init_std=3.0, generator=torch.Generator().manual_seed(0))
    obs = torch.randn(256, 20)
    action, old, _ = policy.act(obs, torch.Generator().manual_seed(0))
    new, _, _ = policy.evaluate(obs[:37], action[:37])
    assert (new - old[:37]).expm1().abs().max() < 1e-5


@pytest.mark.parametrize("optimizer", ["muon", "adam"])
def test_resumed_training_is_bit_identical(tracking_env, tmp_path, optimizer):
    config = replace(CONFIG, optimizer=optimizer, reward_scaling=True)
    env = tracking_env(16)
    ppo = make(env, config)
    obs, _ = train(ppo, env, env.reset(), 2)
    torch.save(ppo.state_dict(), tmp_path / "checkpoint.pt")
    resumed_env = copy.deepcopy(env)

    end, report = train(ppo, env, obs, 2)
    resumed = make(env, config, seed=99)
    resumed.load_state_dict(torch.load(tmp_path / "checkpoint.pt", weights_only=True))
    resumed_end, resumed_report = train(resumed, resumed_env, obs, 2)

    assert resumed.iteration == 4
    assert torch.equal(end, resumed_end)
    assert report == resumed_report
    assert_equal_states(ppo.state_dict(), resumed.state_dict())


def test_snapshot_is_plain_and_does_not_change(tracking_env):
    env = tracking_env(16)
    ppo = make(env)
    obs, _ = train(ppo, env, env.reset(), 1)
    snapshot = ppo.state_dict()
    frozen = copy.deepcopy(snapshot)
    train(ppo, env, obs, 1)
    assert_equal_states(snapshot, frozen)
    assert {type(v) for v in flat(snapshot).values()} <= {torch.Tensor, int, float, str}


def test_same_seed_same_training(tracking_env):
    states = []
    for seed in (5, 5, 6):
        env = tracking_env(16)
        ppo = make(env, seed=seed)
        train(ppo, env, env.reset(), 2)
        states.append(ppo.state_dict())
    assert_equal_states(states[0], states[1])
    head = "actor.head.weight"
    assert not torch.equal(states[0]["policy"][head], states[2]["policy"][head])


def test_non_finite_numbers_never_reach_the_update(tracking_env):
    env = tracking_env(16)
    step = env.step

    def poisoned_step(action):
        result = step(action)
        obs, final_obs, reward = result.obs.clone(), result.final_obs.clone(), result.reward.clone()
        obs[0, 0] = final_obs[0, 0] = torch.nan
        final_obs[1, 3] = torch.inf
        reward[:4] = torch.tensor([torch.nan, torch.inf, -torch.inf, 1.0])
        return result._replace(obs=obs, final_obs=final_obs, reward=reward)

    env.step = poisoned_step
    ppo = make(env, replace(CONFIG, reward_scaling=True))
    rollout, obs, stats = ppo.collect(env, env.reset())
    assert stats["nonfinite_rewards"] == 3 / 16
    assert stats["nonfinite_obs"] == 2 / 16
    assert obs.isfinite().all() and rollout.obs.isfinite().all()
    assert rollout.rewards.isfinite().all() and rollout.next_values.isfinite().all()
    report = ppo.update(rollout)
    assert report["skipped_updates"] == 0
    assert all(v.isfinite().all() for v in ppo.state_dict()["policy"].values())


def test_bad_gradients_are_skipped_and_reported(tracking_env):
    env = tracking_env(16)
    ppo = make(env)
    rollout, _, _ = ppo.collect(env, env.reset())
    rollout.log_probs[0, 0] = torch.nan  # one sample, so one of four minibatches in either epoch
    report = ppo.update(rollout)
    assert report["skipped_updates"] == 2
    assert all(isfinite(report[name]) for name in ("policy_loss", "kl", "grad_norm"))
    assert all(v.isfinite().all() for v in ppo.policy.parameters())
    assert all(v.isfinite().all() for v in flat(ppo.state_dict()["optimizer"]["states"]).values())


def test_kl_limit_skips_later_epochs(tracking_env):
    env = tracking_env(16)
    ppo = make(env, replace(CONFIG, epochs=5, desired_kl=1e-9))
    rollout, _, _ = ppo.collect(env, env.reset())
    ppo.update(rollout)
    (step,) = {float(s["step"]) for s in ppo.state_dict()["optimizer"]["states"]["adam"].values()}
    assert step == 4  # one epoch of four minibatches


def test_mixed_precision_learns_in_full_precision_parameters(tracking_env):
    env = tracking_env(16)
    ppo = make(env, replace(CONFIG, mixed_precision=True))
    _, report = train(ppo, env, env.reset(), 2)
    assert all(p.dtype == torch.float32 for p in ppo.policy.parameters())
    assert report["first_ratio_error"] < 0.05 and report["skipped_updates"] == 0


def test_schedule_is_reported(tracking_env):
    env = tracking_env(16)
    ppo = make(env, replace(CONFIG, lr_floor=0.1))
    rollout, _, _ = ppo.collect(env, env.reset())
    assert ppo.update(rollout, progress=0.5)["learning_rate"] == pytest.approx(0.55 * CONFIG.lr)


def test_adaptive_schedule_holds_the_kl(tracking_env):
    """Far too high a rate comes down until the policy moves as far as it should, and a resume
    goes on with the rate that was found."""
    env = tracking_env(16)
    config = replace(CONFIG, schedule="adaptive", desired_kl=0.02, lr=0.3, lr_floor=1e-4)
    ppo, obs = make(env, config), env.reset()
    kls = []
    for _ in range(40):
        rollout, obs, _ = ppo.collect(env, obs)
        report = ppo.update(rollout)
        kls.append(report["kl"])
    assert kls[0] > 0.2
    assert 0.004 < sum(kls[-10:]) / 10 < 0.06, kls
    assert report["learning_rate"] < 0.1 * config.lr
    again = make(env, config)
    again.load_state_dict(ppo.state_dict())
    rollout, obs, _ = again.collect(env, obs)
    assert again.update(rollout)["learning_rate"] < 0.1 * config.lr
    with pytest.raises(ValueError, match="desired_kl"):
        PPOConfig(schedule="adaptive")


def test_one_line_errors(tracking_env):
    env = tracking_env(16)
    with pytest.raises(ValueError, match=r"3 minibatches must divide .* = 8 \* 16 = 128"):
        make(env, replace(CONFIG, minibatches=3))
    with pytest.raises(ValueError, match="of 16 worlds, not 8"):
        make(tracking_env(8)).load_state_dict(make(env).state_dict())
    with pytest.raises(ValueError, match="has 8 worlds, not 16"):
        make(env).collect(tracking_env(8), torch.zeros(8, 8))
    for wrong in ({"gamma": 1.5}, {"epochs": 0}, {"clip": 0.0}, {"optimizer": "sgd"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            PPOConfig(**wrong)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("optimizer", ["muon", "adam"])
def test_gradient_steps_never_wait_for_the_device(optimizer):
    policy = ActorCritic(8, 4, actor_hidden=(32, 32, 32)).cuda()
    ppo = PPO(policy, replace(CONFIG, optimizer=optimizer), 32)
    rollout = Rollout(8, 32, 8, 4, device="cuda")
    rollout.filled = 8
    rollout.obs.normal_()
    batch, metrics = ppo._advantage_batch(rollout), Metrics("cuda")
    ppo._gradient_step(batch, metrics)  # allocates the state of the optimisers
    torch.cuda.set_sync_debug_mode("error")
    try:
        batch = ppo._advantage_batch(rollout)
        for minibatch in iterate_minibatches(batch, 4, ppo.generator):
            ppo._gradient_step(minibatch, metrics)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert metrics.to_floats()["policy_loss"] < 1.0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_snapshot_of_a_gpu_loads_on_a_cpu():
    ppo = PPO(ActorCritic(8, 4).cuda(), CONFIG, 32)
    other = PPO(ActorCritic(8, 4), CONFIG, 32)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        other.load_state_dict(ppo.state_dict())
    assert len(caught) == 1
