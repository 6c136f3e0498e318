"""What the world-model agent needs to know of the body and of the task, passed in by the caller."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from torch import Tensor


class ModelState(NamedTuple):
    """The state that a model of the dynamics advances; (..., dim) each."""

    position: Tensor
    velocity: Tensor
    act: Tensor
    """Muscle activations, 0 to 1."""

    def map(self, function: Any) -> ModelState:
        """Apply a function to every part."""
        return ModelState(*(function(part) for part in self))


class Physics(Protocol):
    """The part of the dynamics that is known, differentiable and batched."""

    position_dim: int
    velocity_dim: int
    feature_dim: int
    control_dim: int

    def features(self, position: Tensor, velocity: Tensor) -> Tensor:
        """(..., feature_dim) what the change of velocity depends on, activations left out."""
        ...

    def activate(self, act: Tensor, excitation: Tensor) -> tuple[Tensor, Tensor]:
        """(..., nu) mean activation over the control step, and the activation after it."""
        ...

    def change(self, position: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """(..., velocity_dim) the change between two velocities, in the model's coordinates."""
        ...

    def integrate(
        self, position: Tensor, velocity: Tensor, change: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Position and velocity one control step later, after a change of velocity."""
        ...


class Goal(NamedTuple):
    """Where in its task each of N worlds is: (N, ...) tensors, meaningful to the task alone."""

    parts: tuple[Tensor, ...]

    def map(self, function: Any) -> Goal:
        """Apply a function to every part."""
        return Goal(tuple(function(part) for part in self.parts))


class Judgement(NamedTuple):
    """What a task says of T imagined steps of B worlds, (T, B) each.

    Attributes:
        gain: what the policy is to increase; the reward, or another measure with the same best
            policy whose gradient serves better.
        reward: 1 for a perfect step.
        terminated: bool, whether the episode ended there.
        inside: bool, whether the step lies inside the motion.
    """

    gain: Tensor
    reward: Tensor
    terminated: Tensor
    inside: Tensor


class ImaginedTask(Protocol):
    """The task as a differentiable function of imagined states."""

    maximum: float
    """Reward of a perfect step in the environment's units."""

    def snapshot(self) -> tuple[ModelState, Goal, Tensor]:
        """The real worlds as they are now, and their last excitations (N, nu); copies."""
        ...

    def plan(self, goal: Goal, steps: int) -> Any:
        """What the next ``steps`` control steps of B worlds ask for; (B, ...) goal."""
        ...

    def observe(self, plan: Any, step: int, state: ModelState, excitation: Tensor) -> Tensor:
        """(B, obs_dim) the policy's observation ``step`` control steps into a plan.

        ``excitation`` (B, nu) is the one of the step before.
        """
        ...

    def judge(self, plan: Any, states: ModelState, excitations: Tensor) -> Judgement:
        """Judge T imagined steps.

        Args:
            states: (T + 1, B, ...) from before the first step to after the last.
            excitations: (T + 1, B, nu): the one before the first step, then those of the steps.
        """
        ...
