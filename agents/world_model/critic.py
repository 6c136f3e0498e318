"""The value at the end of an imagined rollout: its targets and its loss."""

from __future__ import annotations

import torch
from torch import Tensor

from agents.policy import ActorCritic
from agents.world_model.imagine import Imagined
from agents.world_model.interface import ImaginedTask
from agents.world_model.replay import Replay


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


def real_critic_loss(
    learner: ActorCritic,
    average: ActorCritic,
    task: ImaginedTask,
    replay: Replay,
    rows: Tensor,
    worlds: Tensor,
    steps: int,
    gamma: float,
) -> Tensor:
    """Return the same loss on windows of real steps: a fall that happened needs no imagination.

    A window whose episode was cut (the motion's end, a time limit) is left out, because the memory
    does not hold where it led to.

    Args:
        learner, average: the policy trained, and the one whose values are the targets'.
        task: gives the observations of remembered states.
        replay: the memory.
        rows, worlds: (B,) starts of the windows.
        steps: their length.
        gamma: discount.
    """
    times = rows + torch.arange(steps + 1, device=rows.device).unsqueeze(1)
    across = worlds.expand_as(times)
    states, last = replay.states(times, across), replay.take("last", times, across)
    plan = task.plan(replay.goals(rows, worlds), steps)
    with torch.no_grad():
        observations = torch.stack([
            task.observe(plan, step, states.map(lambda part, i=step: part[i]), last[step])
            for step in range(steps + 1)
        ])  # fmt: skip
        values = average.value(observations)
        reward = replay.take("reward", times[:-1], across[:-1]) / task.maximum
        terminated = replay.take("terminated", times[:-1], across[:-1])
        done = replay.take("done", times[:-1], across[:-1])
        going_on = (~terminated).float().cumprod(0)
        alive = torch.cat((torch.ones_like(going_on[:1]), going_on))
        targets = td_lambda_targets(reward, values, alive, gamma)
        # From the first termination on, rows belong to the next episode.
        cut = (done & ~terminated & (alive[:-1] > 0)).any(0)
        weight = alive[:-1] * ~cut
    error = (learner.value(observations[:-1]) - targets).square() * weight
    return error.sum() / weight.sum().clamp_min(1.0)
