"""How long a policy keeps its body on the reference from given starts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mm_torch.task import ImitationTask


@torch.no_grad()
def survival_steps(
    task: ImitationTask, policy: Callable[[Tensor], Tensor], clip: Tensor, frame: Tensor
) -> tuple[Tensor, Tensor]:
    """Play from the reference's own states until a termination or the clip's end.

    Args:
        task: the task; its number of worlds is the number of starts.
        policy: observation (nworld, obs_dim) to raw action (nworld, nu).
        clip, frame: (nworld,) where each world starts.

    Returns:
        (nworld,) control steps before the one that ended the episode, and whether it was ended by
        a termination (and not by the clip's end or the task's time limit), (nworld,) bool.
    """
    device = task.simulator.device
    everywhere = torch.ones(task.simulator.nworld, dtype=torch.bool, device=device)
    task.place(everywhere, clip.to(device), frame.to(device))
    alive, failed = everywhere.clone(), ~everywhere
    steps = torch.zeros(task.simulator.nworld, dtype=torch.long, device=device)
    while bool(alive.any()):
        outcome = task.step(policy(task.observe()))
        failed |= alive & outcome.terminated
        alive &= ~outcome.terminated
        steps += alive
        alive &= ~outcome.truncated
    return steps, failed
