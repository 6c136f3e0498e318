"""The value at the end of an imagined rollout: its targets and its loss."""

from __future__ import annotations

import torch
from torch import Tensor

from agents.policy import ActorCritic
from agents.world_model.imagine import Imagined


def td_lambda_targets(
    reward: Tensor, values: Tensor, alive: Tensor, gamma: float, lam: float = 0.95
) -> Tensor:
    """Return TD(lambda) returns (T, B) of imagined steps, in units of the best return.

    Args:
        reward: (T, B), 1 for a perfect step.
        values: (T + 1, B) estimates at the states before the steps and after the last.
        alive: (T + 1, B) 0 from the first termination on.
        gamma: discount; the best return, 1 / (1 - gamma) steps' worth, is 1.
        lam: weight of longer returns.
    """
    target, targets = values[-1], []
    for step in reversed(range(len(reward))):
        mixed = (1.0 - lam) * values[step + 1] + lam * target
        target = (1.0 - gamma) * reward[step] + gamma * alive[step + 1] * mixed
        targets.append(target)
    return torch.stack(targets[::-1])


def critic_loss(learner: ActorCritic, average: ActorCritic, path: Imagined, gamma: float) -> Tensor:
    """Return the mean squared error of the learner's values against targets from the average's."""
    observations = path.observations.detach()
    with torch.no_grad():
        values = average.value(observations)
        targets = td_lambda_targets(path.reward.detach(), values, path.alive, gamma)
    weight = path.alive[:-1] * path.inside
    error = (learner.value(observations[:-1]) - targets).square() * weight
    return error.sum() / weight.sum().clamp_min(1.0)
