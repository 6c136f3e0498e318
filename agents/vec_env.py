"""The interface between a batch of simulated worlds and a learner."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor


class StepResult(NamedTuple):
    """What one step of N worlds returns. Worlds that ended have already been reset.

    An episode ends in one of two ways. It *terminates* when the task is over and the future is
    worth nothing (a fall). It is *truncated* when only our watching stops (a time limit, the end
    of a clip): the future is still worth something, and a learner must bootstrap from
    ``final_obs``. Where both flags are set, termination wins.
    """

    obs: Tensor
    """(N, obs_dim) float: the observation to act on next, after any reset."""
    reward: Tensor
    """(N,) float: the reward of this step."""
    terminated: Tensor
    """(N,) bool: the episode ended and the future is worth zero."""
    truncated: Tensor
    """(N,) bool: the episode was cut and its value continues."""
    final_obs: Tensor
    """(N, obs_dim) float: the true last observation, before any reset; ``obs`` where not done."""
    info: dict[str, Tensor]
    """Diagnostics to be averaged and logged: (N,) per world, or () scalars."""
    judged: Tensor | None = None
    """(N, judged_dim) float: what a discriminator judges of this step, before any reset; or None.

    For AMP the style observations before and after the step, for ADD the tracking errors after it.
    """


@runtime_checkable
class VecEnv(Protocol):
    """N worlds stepped in lockstep, with all tensors on one device.

    Actions are raw (unbounded): mapping them to what the actuators accept belongs to the
    environment. Returned tensors may be views of internal buffers that the next step overwrites.
    """

    num_envs: int
    obs_dim: int
    action_dim: int
    device: torch.device

    def reset(self) -> Tensor:
        """Start a new episode in every world; the (N, obs_dim) observation."""
        ...

    def step(self, action: Tensor) -> StepResult:
        """Advance every world by one control step under the (N, action_dim) raw action."""
        ...
