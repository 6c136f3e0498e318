"""AMP and ADD on a point in the plane, which their rewards alone must teach to move."""

from __future__ import annotations

from dataclasses import replace
from math import pi

import torch
from torch import Tensor

from agents import PPO, ActorCritic, PPOConfig, StepResult
from agents.amp import AMP, AMPConfig

WORLDS, DT, OMEGA = 64, 0.1, 2.0  # worlds, s, rad/s
PPO_CONFIG = PPOConfig(
    num_steps=20, epochs=4, minibatches=4, lr=1e-3, muon_lr=1e-2, gamma=0.95, value_clip=None,
    lr_floor=0.1,
)  # fmt: skip
AMP_CONFIG = AMPConfig(
    hidden=(64, 64), lr=1e-3, grad_penalty=1.0, batch_size=256, replay=20_000, task_weight=0.0,
    style_weight=0.7,
)  # fmt: skip


class Plane:
    """Points with position and velocity (N, 2) each; an action is the velocity they tend to."""

    action_dim, horizon = 2, 40
    device = torch.device("cpu")

    def __init__(self, num_envs: int = WORLDS, seed: int = 0) -> None:
        self.num_envs = num_envs
        self.generator = torch.Generator().manual_seed(seed)
        self.state, self.phase = self.start()
        self.clock = torch.arange(num_envs) % self.horizon

    def start(self) -> tuple[Tensor, Tensor]:
        position = 3.0 * torch.rand(self.num_envs, 2, generator=self.generator) - 1.5
        velocity = torch.randn(self.num_envs, 2, generator=self.generator)
        phase = 2 * pi * torch.rand(self.num_envs, 2, generator=self.generator)
        return torch.cat([position, velocity], -1), phase

    def reset(self) -> Tensor:
        self.state, self.phase = self.start()
        self.clock = torch.zeros_like(self.clock)
        return self.observe()

    def step(self, action: Tensor) -> StepResult:
        before = self.state
        velocity = 0.5 * (before[:, 2:] + action)
        self.state = torch.cat([before[:, :2] + DT * velocity, velocity], -1)
        self.clock = self.clock + 1
        reward, judged, final_obs = self.reward(), self.judged(before), self.observe()
        truncated = self.clock >= self.horizon
        state, phase = self.start()
        self.state = torch.where(truncated[:, None], state, self.state)
        self.phase = torch.where(truncated[:, None], phase, self.phase)
        self.clock = torch.where(truncated, 0, self.clock)
        never = torch.zeros_like(truncated)
        return StepResult(self.observe(), reward, never, truncated, final_obs, {}, judged)


class Flow(Plane):
    """To move like the reference, which goes round in circles. Nothing tells the time."""

    obs_dim, task = 4, False

    def observe(self) -> Tensor:
        return self.state

    def judged(self, before: Tensor) -> Tensor:
        return torch.cat([before, self.state], -1)

    def reward(self) -> Tensor:
        """With ``task``, more for turning faster to the left."""
        x, y, u, v = self.state.unbind(-1)
        return torch.tanh(x * v - y * u) if self.task else torch.zeros(self.num_envs)


def circles(count: int, generator: torch.Generator, senses: tuple[float, ...] = (1.0,)) -> Tensor:
    """(count, 8) pairs of states on circles of radius 1 +- 0.1 at ``OMEGA``, left (1) or right."""
    radius = 1.0 + 0.1 * torch.randn(count, 1, generator=generator)
    angle = 2 * pi * torch.rand(count, 1, generator=generator)
    turn = torch.tensor(senses)[torch.randint(len(senses), (count, 1), generator=generator)] * OMEGA
    states = []
    for a in (angle, angle + turn * DT):
        states += [radius * a.cos(), radius * a.sin()]
        states += [-turn * radius * a.sin(), turn * radius * a.cos()]
    return torch.cat(states, -1)


def energy_distance(x: Tensor, y: Tensor) -> float:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'|: 0 for equal distributions only."""
    between = 2 * torch.cdist(x, y).mean()
    return (between - torch.cdist(x, x).mean() - torch.cdist(y, y).mean()).item()


@torch.no_grad()
def distance(policy: ActorCritic) -> float:
    """Energy distance of the states of rollouts (after 1.5 s) from the left-turning circles."""
    env, states = Flow(256, seed=77), []
    obs = env.reset()
    for step in range(Flow.horizon - 1):
        obs = env.step(policy.mean_action(obs)).obs
        if step >= 15 and step % 6 == 0:
            states.append(obs)
    reference = circles(1024, torch.Generator().manual_seed(5))[:, :4]
    return energy_distance(torch.cat(states), reference)


def trained(env, iterations: int, amp: AMPConfig | None = None, expert=None) -> ActorCritic:
    weights = torch.Generator().manual_seed(0)
    policy = ActorCritic(env.obs_dim, 2, actor_hidden=(64, 64), init_std=0.5, generator=weights)
    if amp is None:
        agent = PPO(policy, PPO_CONFIG, WORLDS)
    else:
        dim = env.judged(env.state).shape[1]
        agent = AMP(policy, PPO_CONFIG, amp, WORLDS, judged_dim=dim, expert=expert)
    obs = env.reset()
    agent.warm_start_normalizer(obs)
    for i in range(iterations):
        rollout, obs, _ = agent.collect(env, obs)
        agent.update(rollout, progress=i / iterations)
    return policy


def test_amp_recovers_a_circular_flow_without_any_task() -> None:
    untrained = distance(trained(Flow(), 0))
    assert untrained > 0.5
    assert distance(trained(Flow(), 50, AMP_CONFIG, circles)) < untrained / 8
    assert distance(trained(Flow(), 50)) > untrained / 2  # PPO, whose reward is zero


def test_amp_takes_from_the_reference_what_the_task_asks_for() -> None:
    """The reference turns both ways; the task wants the left one, and says nothing of circles."""

    def both_ways(count: int, generator: torch.Generator) -> Tensor:
        return circles(count, generator, (1.0, -1.0))

    env, plain = Flow(), Flow()
    env.task = plain.task = True
    untrained = distance(trained(Flow(), 0))
    amp = replace(AMP_CONFIG, task_weight=0.3)
    assert distance(trained(env, 50, amp, both_ways)) < untrained / 8
    assert distance(trained(plain, 50)) > untrained / 4  # the task alone


class Chase(Plane):
    """To be where a target is that moves along a figure of its own in every world."""

    obs_dim = 8
    rates = torch.tensor([1.0, 2.0])
    # Positions in cm, velocities in m/s: no weights, so the units must not matter.
    units = torch.tensor([100.0, 100.0, 1.0, 1.0])

    def target(self) -> Tensor:
        angle = self.phase + self.rates * DT * self.clock.unsqueeze(1)
        return torch.cat([angle.sin(), self.rates * angle.cos()], -1)

    def observe(self) -> Tensor:
        return torch.cat([self.state, self.target()], -1)

    def judged(self, before: Tensor) -> Tensor:
        return (self.target() - self.state) * self.units

    def reward(self) -> Tensor:
        return torch.zeros(self.num_envs)


@torch.no_grad()
def tracking_error(policy: ActorCritic) -> float:
    """Mean distance from the target (cm) from 1 s into an episode on."""
    env, errors = Chase(256, seed=9), []
    obs = env.reset()
    for step in range(Chase.horizon - 1):
        result = env.step(policy.mean_action(obs))
        obs = result.obs
        if step >= 10:
            errors.append(result.judged[:, :2].norm(dim=-1).mean())
    return torch.stack(errors).mean().item()


def test_add_tracks_without_a_hand_set_reward() -> None:
    amp = replace(AMP_CONFIG, kind="add", loss="logistic", grad_penalty=0.1)
    policy = trained(Chase(), 60, amp, lambda count, generator: torch.zeros(count, 4))
    untrained = tracking_error(trained(Chase(), 0))
    assert untrained > 80.0
    assert tracking_error(policy) < untrained / 5
