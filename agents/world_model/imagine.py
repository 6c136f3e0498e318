"""Imagined rollouts: the policy acts in the learned model, and gradients flow back through both."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from agents.world_model.interface import Goal, ImaginedTask, ModelState

Act = Callable[[Tensor], Tensor]
Step = Callable[[ModelState, Tensor], ModelState]


class Imagined(NamedTuple):
    """T imagined steps of B worlds.

    Attributes:
        observations: (T + 1, B, obs_dim), the last one after the last step.
        gain: (T, B) what the policy is to increase.
        reward: (T, B), 1 for a perfect step.
        alive: (T + 1, B) 1 while no termination came before, 0 after one.
        inside: (T, B) 1 while the motion has not ended.
        state_grad_norm: (T,) mean norm of the gradient that reaches each state, before clipping;
            written by the backward pass.
        clipped: () share of these gradients that were clipped; likewise.
    """

    observations: Tensor
    gain: Tensor
    reward: Tensor
    alive: Tensor
    inside: Tensor
    state_grad_norm: Tensor
    clipped: Tensor


def imagine(
    step_model: Step,
    task: ImaginedTask,
    act: Act,
    start: ModelState,
    goal: Goal,
    last: Tensor,
    noise: Tensor,
    clip: float | None = None,
) -> Imagined:
    """Act in the model for T steps.

    Args:
        step_model: the dynamics: states (B, ...) and excitations (B, nu) to states.
        task: the task.
        act: observation (B, obs_dim) to excitation (B, nu), without noise.
        start: (B, ...) real states.
        goal: (B, ...) where in the task they are.
        last: (B, nu) excitations of the step before.
        noise: (T, B, nu) added to the excitations, which are then clamped to [0, 1].
        clip: bound of the gradient that reaches a state from what follows it, per world, in units
            of 1/B; None = no bound.
    """
    steps = len(noise)
    plan = task.plan(goal, steps)
    record = _GradientRecord(steps, len(last), clip, last)
    states, excitations, observations = [start], [last], []
    for step in range(steps):
        observation = task.observe(plan, step, states[-1], excitations[-1])
        excitation = (act(observation) + noise[step]).clamp(0.0, 1.0)
        after = record.watch(step_model(states[-1], excitation), step)
        states.append(after)
        excitations.append(excitation)
        observations.append(observation)
    observations.append(task.observe(plan, steps, states[-1], excitations[-1]))
    path = ModelState(*(torch.stack(parts) for parts in zip(*states, strict=True)))
    judged = task.judge(plan, path, torch.stack(excitations))
    going_on = (~judged.terminated).float().cumprod(0)
    alive = torch.cat((torch.ones_like(going_on[:1]), going_on))
    return Imagined(
        torch.stack(observations), judged.gain, judged.reward, alive, judged.inside.float(),
        record.norms, record.clipped,
    )  # fmt: skip


class _GradientRecord:
    """Measures, and bounds, the gradient at every state on its way back through time.

    Back-propagation through many steps multiplies Jacobians; a world in contact can make the
    product huge and drown all others (Parmas et al. 2018; Suh et al. 2022).
    """

    def __init__(self, steps: int, worlds: int, clip: float | None, like: Tensor) -> None:
        self.norms = like.new_zeros(steps)
        self.clipped = like.new_zeros(())
        self._clip, self._worlds = clip, worlds

    def watch(self, state: ModelState, step: int) -> ModelState:
        if not state.velocity.requires_grad:
            return state
        joined = torch.cat(state, dim=-1)
        joined.register_hook(lambda gradient: self._bound(gradient, step))
        sizes = [part.shape[-1] for part in state]
        return ModelState(*joined.split(sizes, dim=-1))

    def _bound(self, gradient: Tensor, step: int) -> Tensor:
        # A loss that is a mean over worlds gives each a gradient of order 1/B.
        norm = gradient.norm(dim=-1, keepdim=True) * self._worlds
        self.norms[step] = norm.mean()
        if self._clip is None:
            return gradient
        factor = (self._clip / norm.clamp_min(1e-12)).clamp_max(1.0)
        factor = torch.where(norm.isfinite(), factor, 0.0)
        self.clipped += (factor < 1.0).float().mean() / len(self.norms)
        return torch.where(factor > 0, gradient, 0.0) * factor
