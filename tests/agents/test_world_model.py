"""The world-model agent on a toy: a point that muscles pull along a line."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from agents import ActorCritic
from agents.vec_env import StepResult
from agents.world_model import (
    Goal,
    Judgement,
    ModelState,
    Replay,
    WorldModelAgent,
    WorldModelConfig,
)
from agents.world_model.critic import real_critic_loss, td_lambda_targets
from agents.world_model.dynamics import DynamicsModel
from agents.world_model.imagine import imagine
from agents.world_model.probe import climb

_DT, _MUSCLES = 0.1, 3
_PULL = torch.tensor([4.0, -3.0, 1.0])


class Point:
    """Physics of a point of unit mass: known activation, velocity to be learnt."""

    position_dim = velocity_dim = 1
    feature_dim, control_dim = 2, _MUSCLES

    def features(self, position: Tensor, velocity: Tensor) -> Tensor:
        return torch.cat((position, velocity), dim=-1)

    def activate(self, act: Tensor, excitation: Tensor) -> tuple[Tensor, Tensor]:
        after = act + 0.5 * (excitation - act)
        return 0.5 * (act + after), after

    def change(self, position: Tensor, before: Tensor, after: Tensor) -> Tensor:
        return after - before

    def integrate(self, position: Tensor, velocity: Tensor, change: Tensor) -> tuple[Tensor, ...]:
        return position + _DT * (velocity + change), velocity + change


class Chase:
    """The task: be where the goal is. Environment and imagination in one."""

    num_envs, obs_dim, action_dim = 16, 4, _MUSCLES
    device, maximum = torch.device("cpu"), 2.0

    def __init__(self, seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.physics = Point()
        self.reset()

    def reset(self) -> Tensor:
        n = self.num_envs
        self.position, self.velocity = torch.zeros(n, 1), torch.zeros(n, 1)
        self.act = torch.full((n, _MUSCLES), 0.2)
        self.ctrl = self.act.clone()
        self.target = torch.rand(n, 1, generator=self.generator) * 2 - 1
        self.age = torch.randint(40, (n,), generator=self.generator)
        return self._observe(ModelState(self.position, self.velocity, self.act), self.target)

    def step(self, action: Tensor) -> StepResult:
        self.ctrl = action.sigmoid()
        mean, self.act = self.physics.activate(self.act, self.ctrl)
        force = (mean * _PULL).sum(-1, keepdim=True) - 1.5 * self.velocity
        self.position, self.velocity = self.physics.integrate(
            self.position, self.velocity, _DT * force
        )
        reward = self.maximum * self._reward(self.position, self.target)
        self.age += 1
        truncated = self.age >= 40
        terminated = self.position.abs().squeeze(-1) > 3
        done = (truncated | terminated).unsqueeze(1)
        final = self._observe(ModelState(self.position, self.velocity, self.act), self.target)
        fresh = torch.rand(self.num_envs, 1, generator=self.generator) * 2 - 1
        self.target = torch.where(done, fresh, self.target)
        self.position = torch.where(done, 0.0, self.position)
        self.velocity = torch.where(done, 0.0, self.velocity)
        self.age = torch.where(done.squeeze(1), 0, self.age)
        obs = self._observe(ModelState(self.position, self.velocity, self.act), self.target)
        return StepResult(obs, reward, terminated, truncated & ~terminated, final, {})

    def snapshot(self) -> tuple[ModelState, Goal, Tensor]:
        state = ModelState(self.position.clone(), self.velocity.clone(), self.act.clone())
        return state, Goal((self.target.clone(),)), self.ctrl.clone()

    def plan(self, goal: Goal, steps: int) -> Any:
        return goal.parts[0]

    def observe(self, plan: Any, step: int, state: ModelState, excitation: Tensor) -> Tensor:
        return self._observe(state, plan)

    def judge(self, plan: Any, states: ModelState, excitations: Tensor) -> tuple[Tensor, ...]:
        place = states.position[1:]
        reward = self._reward(place, plan)
        return Judgement(
            reward,
            reward,
            place.abs().squeeze(-1) > 3,
            torch.ones(place.shape[:2], dtype=torch.bool),
        )

    def state_dict(self) -> dict[str, Tensor]:
        names = ("position", "velocity", "act", "ctrl", "target", "age")
        own = {name: getattr(self, name).clone() for name in names}
        return own | {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.generator.set_state(state["generator"])
        for name, value in state.items():
            if name != "generator":
                setattr(self, name, value.clone())

    @staticmethod
    def _observe(state: ModelState, target: Tensor) -> Tensor:
        return torch.cat((state.position - target, state.velocity, state.act[..., :2]), dim=-1)

    @staticmethod
    def _reward(position: Tensor, target: Tensor) -> Tensor:
        return torch.exp(-2 * (position - target).square()).squeeze(-1)


def _agent(env: Chase, **settings: Any) -> WorldModelAgent:
    config = WorldModelConfig(**({
        "num_steps": 20, "model_hidden": (32,), "model_rank": 8, "model_batch": 64,
        "model_updates": 20, "window_updates": 2, "window_batch": 16, "window": 4, "horizon": 10,
        "policy_updates": 6, "policy_batch": 64, "policy_lr": 3e-3, "replay": 4000,
        "average": 0.9,
    } | settings))  # fmt: skip
    policies = [
        ActorCritic(env.obs_dim, env.action_dim, actor_hidden=[32], init_std=0.02,
                    generator=torch.Generator().manual_seed(0))
        for _ in range(2)
    ]  # fmt: skip
    return WorldModelAgent(
        *policies, env.physics, env, config, env.num_envs, excite=torch.sigmoid,
        unexcite=lambda u: u.clamp(1e-6, 1 - 1e-6).logit(), seed=0,
    )  # fmt: skip


def _run(agent: WorldModelAgent, env: Chase, obs: Tensor, iterations: int) -> tuple[Tensor, list]:
    log = []
    for _ in range(iterations):
        seen, obs, collected = agent.collect(env, obs)
        log.append(collected | agent.update(seen, 0.0))
    return obs, log


@pytest.mark.parametrize(
    "settings",
    [{}, {"critic_weight": 1.0, "gamma": 0.9}, {"optimizer": "muon"}, {"state_grad_clip": 0.02}],
)
def test_learns_to_chase(settings: dict) -> None:
    env = Chase()
    agent = _agent(env, **settings)
    obs = env.reset()
    agent.warm_start_normalizer(obs)
    _, log = _run(agent, env, obs, 30)
    assert log[-1]["model_r2"] > 0.9
    late = sum(entry["reward"] for entry in log[-5:]) / 5 / env.maximum
    early = sum(entry["reward"] for entry in log[:3]) / 3 / env.maximum
    assert late > 0.8 and late > early + 0.2, (early, late)
    # The model sees what is going to happen, and a still body is a worse guess.
    assert log[-5]["model_error_8"] < 0.3 * log[-5]["still_error_8"]
    assert abs(log[-5]["imagined_reward"] - log[-5]["real_reward"]) < 0.1
    assert (log[-1]["state_grad_clipped"] > 0) == ("state_grad_clip" in settings)


@pytest.mark.parametrize("overlap", [False, True])
def test_resume_is_exact(overlap: bool) -> None:
    straight_env = Chase()
    settings = {"noise_correlation": 0.5, "critic_weight": 0.5, "overlap": overlap, "gate": 0.1,
                "probe_interval": 2}  # fmt: skip
    straight = _agent(straight_env, **settings)
    obs, _ = _run(straight, straight_env, straight_env.reset(), 3)
    saved, world = straight.state_dict(), straight_env.state_dict()
    _, expected = _run(straight, straight_env, obs, 3)
    env = Chase(seed=9)
    resumed = _agent(env, **settings)
    resumed.load_state_dict(saved)
    env.load_state_dict(world)
    _, log = _run(resumed, env, obs, 3)
    assert log == expected
    for name, value in straight.policy.state_dict().items():
        assert torch.equal(value, resumed.policy.state_dict()[name]), name
    with pytest.raises(ValueError, match="memory"):
        _agent(env, replay=1600).load_state_dict(saved)
    with pytest.raises(ValueError, match="not of a world-model agent"):
        resumed.load_state_dict({"policy": {}})


def test_untrusted_model_leaves_the_policy_alone() -> None:
    env = Chase()
    agent = _agent(env, gate=1.1, overlap=False)
    before = {name: value.clone() for name, value in agent.learner.actor.state_dict().items()}
    _, log = _run(agent, env, env.reset(), 3)
    assert all(entry["policy_trusted_model"] == 0.0 for entry in log)
    for name, value in agent.learner.actor.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_probe_tells_a_model_that_can_be_exploited() -> None:
    """What the model likes best is good for real as well, until muscles pull the other way."""
    env = Chase()
    agent = _agent(env, policy_updates=0, probe_interval=1, probe_updates=60, noise=0.2)
    obs, log = _run(agent, env, env.reset(), 12)
    assert "probe_real" not in log[0]  # nothing has been learnt
    entry = log[-1]
    assert entry["probe_imagined"] > entry["probe_imagined_policy"] + 0.1
    assert entry["probe_real"] > entry["probe_real_policy"] + 0.1
    assert abs(entry["probe_imagined"] - entry["probe_real"]) < 0.15

    class Reversed(Point):
        def activate(self, act: Tensor, excitation: Tensor) -> tuple[Tensor, Tensor]:
            mean, after = super().activate(act, excitation)
            return -mean, after

    env.physics = Reversed()  # the model has its own, and has yet to learn of it
    _, collected = agent.collect(env, obs)[1:]
    assert collected["probe_imagined"] > collected["probe_imagined_policy"] + 0.1
    assert collected["probe_real"] < collected["probe_imagined"] - 0.2


def test_a_probe_of_a_model_that_runs_away_is_the_policy() -> None:
    env = Chase()
    state, goal, last = env.snapshot()
    away = lambda state, excitation: state._replace(  # noqa: E731
        velocity=state.velocity / 0.0 * excitation.sum(-1, keepdim=True)
    )
    act = lambda obs: torch.full((len(obs), _MUSCLES), 0.3)  # noqa: E731
    probe = climb(away, env, act, state, goal, last, steps=4, updates=3)
    assert torch.equal(probe.excitation, torch.full((4, 16, _MUSCLES), 0.3))


def test_a_probe_ends_with_the_episode() -> None:
    """A world that starts anew follows the policy, and its new episode does not count."""
    env = Chase()
    agent = _agent(env, probe_interval=1, probe_worlds=15, noise=0.0, overlap=False)
    obs, _ = _run(agent, env, env.reset(), 2)
    env.age[:] = torch.arange(16) + 24
    agent.collect(env, obs)
    rows = torch.arange(agent.replay.filled - 20, agent.replay.filled - 10)
    done = agent.replay.take("done", rows.unsqueeze(1), torch.arange(16))
    assert 0 < int(done.any(0).sum()) < 16
    excitation = agent.replay.take("excitation", rows.unsqueeze(1), torch.arange(16))
    goal = agent.replay.goals(rows.unsqueeze(1), torch.arange(16))
    states = agent.replay.states(rows.unsqueeze(1), torch.arange(16))
    policy = agent.policy.mean_action(env.observe(goal.parts[0], 0, states, excitation)).sigmoid()
    going_on = torch.cat((torch.zeros(1, 16, dtype=torch.bool), done[:-1])).cumsum(0) == 0
    probed = going_on & (torch.arange(16) < 15)
    gap = (excitation - policy).abs().amax(-1)
    assert (gap[probed] > 1e-4).float().mean() > 0.9
    assert gap[~probed].max() < 1e-5


def test_gradient_of_an_imagined_rollout_equals_finite_differences() -> None:
    env = Chase()
    model = DynamicsModel(env.physics, (16,), 4, torch.Generator().manual_seed(1)).double()
    policy = ActorCritic(env.obs_dim, env.action_dim, actor_hidden=[8]).double()
    generator = torch.Generator().manual_seed(2)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    state = ModelState(draw(3, 1), draw(3, 1), draw(3, _MUSCLES).sigmoid())
    goal, noise = Goal((draw(3, 1),)), 0.02 * draw(6, 3, _MUSCLES)
    weights = policy.actor.head.weight

    def gain(weight: Tensor, position: Tensor) -> Tensor:
        def act(obs: Tensor) -> Tensor:
            hidden = policy.actor.body(policy.normalizer(obs))
            return (hidden @ weight.T + policy.actor.head.bias).sigmoid()

        start = state._replace(position=position)
        path = imagine(model.step, env, act, start, goal, state.act, noise)
        return path.reward.sum()

    inputs = (weights.detach().clone().requires_grad_(), state.position.requires_grad_())
    assert torch.autograd.gradcheck(gain, inputs, atol=1e-6, check_undefined_grad=False)


def test_state_gradient_is_bounded() -> None:
    env = Chase()
    model = DynamicsModel(env.physics, (16,), 4, torch.Generator().manual_seed(1))
    state, goal, last = env.snapshot()
    start = state.map(lambda part: part.clone().requires_grad_())
    grown = {}
    for clip in (None, 1e-3):
        act = lambda obs: obs[:, :1].sigmoid().expand(-1, _MUSCLES)  # noqa: E731
        path = imagine(model.step, env, act, start, goal, last, torch.zeros(8, 16, _MUSCLES), clip)
        (gradient,) = torch.autograd.grad(path.reward.mean(), start.position)
        grown[clip] = gradient.abs().max()
        assert path.clipped == 0.0 if clip is None else path.clipped > 0.9
        assert (path.state_grad_norm > 0).all()
    assert grown[1e-3] < 0.1 * grown[None]


def test_replay_windows_are_consecutive_and_end_with_the_episode() -> None:
    replay = Replay(capacity=30, worlds=3)  # ten rows
    for step in range(25):
        value = torch.full((3, 1), float(step))
        done = torch.tensor([step == 20, False, step == 22])
        replay.add(ModelState(value, value, value), Goal((value,)), value + 0.5, value - 0.5,
                   value.squeeze(1), torch.zeros_like(done), done)  # fmt: skip
    rows = torch.tensor([2, 2, 2])  # the oldest row kept is step 15
    states, excitation, weight = replay.window(rows, torch.arange(3), 6)
    assert states.position[:, 1, 0].tolist() == [17, 18, 19, 20, 21, 22, 23]
    assert excitation[:, 1, 0].tolist() == [17.5, 18.5, 19.5, 20.5, 21.5, 22.5]
    assert weight.T.tolist() == [[1, 1, 1, 0, 0, 0], [1] * 6, [1, 1, 1, 1, 1, 0]]
    generator = torch.Generator().manual_seed(0)
    drawn, _ = replay.draw(500, 3, generator)
    assert drawn.min() == 0 and drawn.max() == 6
    drawn, _ = replay.draw(500, 3, generator, recent=2)
    assert set(drawn.tolist()) == {5, 6}
    with pytest.raises(ValueError, match="needs 11"):
        replay.draw(1, 10, generator)


def test_td_lambda_targets_by_hand() -> None:
    reward, values = torch.tensor([[1.0], [0.5]]), torch.tensor([[0.9], [0.8], [0.6]])
    alive = torch.ones(3, 1)
    last = 0.1 * 0.5 + 0.9 * 0.6  # gamma 0.9: a step is worth a tenth
    first = 0.1 * 1.0 + 0.9 * (0.5 * 0.8 + 0.5 * last)
    targets = td_lambda_targets(reward, values, alive, gamma=0.9, lam=0.5)
    assert targets.squeeze(1).tolist() == pytest.approx([first, last])
    alive[2] = 0.0  # the second step ends the episode: nothing follows it
    targets = td_lambda_targets(reward, values, alive, gamma=0.9, lam=0.5)
    first = 0.1 * 1.0 + 0.9 * (0.5 * 0.8 + 0.5 * 0.05)
    assert targets.squeeze(1).tolist() == pytest.approx([first, 0.05])


def test_critic_learns_from_real_falls_by_hand() -> None:
    """World 0 falls at its second step, world 1 is cut there and does not count, 2 goes on."""

    class Constant:
        def __init__(self, level: float) -> None:
            self.level = level

        def value(self, obs: Tensor) -> Tensor:
            return torch.full(obs.shape[:-1], self.level)

    env = Chase()
    replay, (state, goal, last) = Replay(capacity=30, worlds=3), env.snapshot()
    state, last = state.map(lambda part: part[:3]), last[:3]
    for step in range(4):
        ended = torch.tensor([step == 1, step == 1, False])
        terminated = torch.tensor([step == 1, False, False])
        reward = env.maximum * torch.tensor([1.0, 1.0, 0.5])
        replay.add(state, goal.map(lambda part: part[:3]), last, last, reward, terminated, ended)
    loss = real_critic_loss(
        Constant(0.2), Constant(0.4), env, replay, torch.zeros(3, dtype=torch.long),
        torch.arange(3), 2, gamma=0.9,
    )  # fmt: skip
    falls = 0.1
    before_fall = 0.1 + 0.9 * (0.05 * 0.4 + 0.95 * falls)
    second = 0.05 + 0.9 * 0.4
    first = 0.05 + 0.9 * (0.05 * 0.4 + 0.95 * second)
    squares = [(target - 0.2) ** 2 for target in (before_fall, falls, first, second)]
    assert loss.item() == pytest.approx(sum(squares) / 4, rel=1e-5)


def test_members_share_a_batch() -> None:
    env = Chase()
    model = DynamicsModel(env.physics, (16,), 4, torch.Generator().manual_seed(1), members=3)
    x, a = torch.randn(7, env.physics.feature_dim), torch.rand(7, _MUSCLES)
    shared = model.predict(x, a)
    start = 0
    for member, rows in zip(model.members, (3, 2, 2), strict=True):
        part = slice(start, start + rows)
        alone = member(model.inputs(x[part]), model.activations(a[part]))
        torch.testing.assert_close(shared[part], alone)
        start += rows
    assert (model.members[0](model.inputs(x), model.activations(a)) - shared)[3:].abs().min() > 0


@pytest.mark.parametrize("bad", [{"members": 0}, {"horizon": 0}, {"gamma": 1.5}, {"policy_lr": 0.0},
                                 {"optimizer": "sgd"}, {"state_grad_clip": -1.0}])  # fmt: skip
def test_settings_out_of_range(bad: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        WorldModelConfig(**bad)
