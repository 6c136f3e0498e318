"""Evaluation of a task with a goal: episodes with one command each, always the same ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mm_torch.goal_task import GoalTask

_SEED = 12345  # of the starts and commands of every evaluation


@dataclass(frozen=True)
class Episode:
    """How one episode went.

    Attributes:
        success: whether the goal was held for `task.hold`.
        seconds: until it had been, or the episode's length.
        reward: mean reward of a step; 0 for steps missed after a fall.
        distance: mean over the last half second that was played, in the goal's unit.
        fallen: whether it ended early.
    """

    success: bool
    seconds: float
    reward: float
    distance: float
    fallen: bool


@torch.no_grad()
def evaluate_goal(
    task: GoalTask, policy: Callable[[Tensor], Tensor], episodes: int
) -> list[Episode]:
    """Play episodes from random frames of the motions, a command each.

    Args:
        task: made for evaluation; its worlds are the episodes played at a time.
        policy: observation (nworld, obs_dim) to raw action (nworld, nu).
        episodes: how many.
    """
    device, worlds = task.simulator.device, task.simulator.nworld
    generator = torch.Generator(device).manual_seed(_SEED)
    task.seed(_SEED)
    everywhere = torch.ones(worlds, dtype=torch.bool, device=device)
    steps, window = task.max_steps, round(0.5 / task.simulator.control_dt)
    results: list[Episode] = []
    while len(results) < episodes:
        clip = task.library.sample_clips(worlds, generator)
        task.place(everywhere, clip, task.library.sample_frames(clip, generator))
        alive, fallen = everywhere.clone(), ~everywhere
        total = torch.zeros(worlds, dtype=torch.float64, device=device)
        first = torch.full((worlds,), steps, device=device)
        late = torch.zeros(worlds, window, device=device)
        success = ~everywhere
        for step in range(steps):
            outcome = task.step(policy(task.observe()))
            total += outcome.reward.double().masked_fill(~alive, 0.0)
            distance = task.goal.distance(task.body)
            late[:, step % window] = torch.where(alive, distance, late[:, step % window])
            newly = alive & task.succeeded & ~success
            first = torch.where(newly, step + 1, first)
            success |= newly
            fallen |= alive & outcome.terminated
            alive &= ~outcome.terminated
            if not bool(alive.any()):
                break
        for world in range(min(worlds, episodes - len(results))):
            results.append(
                Episode(
                    success=bool(success[world]),
                    seconds=float(first[world]) * task.simulator.control_dt,
                    reward=float(total[world]) / steps,
                    distance=float(late[world].mean()),
                    fallen=bool(fallen[world]),
                )
            )
    return results


def summarize_goal(results: list[Episode]) -> dict[str, float]:
    """Return overall figures; `return_per_step` is the mean reward, 1 = perfect."""
    count = len(results)
    return {
        "episodes": float(count),
        "return_per_step": sum(r.reward for r in results) / count,
        "success_rate": sum(r.success for r in results) / count,
        "seconds_to_success": sum(r.seconds for r in results) / count,
        "distance": sum(r.distance for r in results) / count,
        "fall_rate": sum(r.fallen for r in results) / count,
    }
