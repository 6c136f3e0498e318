"""Evaluation: every clip from its first frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mm_torch.task import ImitationTask

Policy = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ClipResult:
    """How one clip went.

    Attributes:
        name: the clip.
        reference_steps: control steps that the clip has.
        steps: control steps until the episode ended.
        terminated: whether it ended early.
        return_per_step: reward summed, over reference steps, as a fraction of the maximum: 1 is
            perfect, and every step missed after an early end counts as 0.
        measured_steps: control steps that errors and rewards are means over: `steps`, or all
            reference steps where the clip was played to its end.
        errors: mean of each tracking error.
        rewards: mean of each reward kernel.
    """

    name: str
    reference_steps: int
    steps: int
    terminated: bool
    return_per_step: float
    measured_steps: int
    errors: dict[str, float]
    rewards: dict[str, float]


@torch.no_grad()
def evaluate(task: ImitationTask, policy: Policy, to_end: bool = False) -> list[ClipResult]:
    """Play every clip of the task's library from its first frame to its end or a termination.

    Args:
        task: the task; its number of worlds is the number of clips played at a time.
        policy: observation (nworld, obs_dim) to raw action (nworld, nu).
        to_end: play clips on after a termination, so that errors are means over the whole clip and
            not over the part that went well. The return still counts nothing after it.
    """
    results: list[ClipResult] = []
    worlds = task.simulator.nworld
    for first in range(0, len(task.library), worlds):
        clips = list(range(first, min(first + worlds, len(task.library))))
        results += _play(task, policy, clips, to_end)
    return results


def _play(task: ImitationTask, policy: Policy, clips: list[int], to_end: bool) -> list[ClipResult]:
    device, worlds = task.simulator.device, task.simulator.nworld
    # The last batch is padded with its first clip; the padding is not reported.
    padded = torch.tensor(clips + [clips[0]] * (worlds - len(clips)), device=device)
    everywhere = torch.ones(worlds, dtype=torch.bool, device=device)
    task.place(everywhere, padded, torch.zeros_like(padded))
    reference_steps = task.library.lengths[padded] - 1
    # A world is alive until its episode ends, and measured for as long as it is played.
    alive, measured, terminated = everywhere.clone(), everywhere.clone(), ~everywhere
    steps, measured_steps = torch.zeros_like(padded), torch.zeros_like(padded)
    total = torch.zeros(worlds, dtype=torch.float64, device=device)
    sums: dict[str, Tensor] = {}
    for step in range(int(reference_steps.max())):
        outcome = task.step(policy(task.observe()))
        quantities = {f"error.{k}": v for k, v in task.errors().items()}
        quantities |= {f"reward.{k}": v for k, v in outcome.terms.items()}
        for name, value in quantities.items():
            value = value.double().masked_fill(~measured | outcome.invalid, 0.0)
            sums[name] = sums.get(name, 0.0) + value
        total += outcome.reward.double().masked_fill(~alive, 0.0)
        steps += alive
        measured_steps += measured
        terminated |= alive & outcome.terminated
        unfinished = step + 1 < reference_steps
        alive &= ~outcome.terminated & unfinished
        measured = measured & ~outcome.invalid & unfinished if to_end else alive.clone()
        # Looking at the device waits for it: not at every step.
        if (device.type == "cpu" or step % 50 == 49) and not bool(measured.any()):
            break
    maximum = task.reward.maximum
    rows = []
    for world, clip in enumerate(clips):
        means = {name: float(value[world] / measured_steps[world]) for name, value in sums.items()}
        rows.append(
            ClipResult(
                name=task.library.names[clip],
                reference_steps=int(reference_steps[world]),
                steps=int(steps[world]),
                terminated=bool(terminated[world]),
                return_per_step=float(total[world] / reference_steps[world] / maximum),
                measured_steps=int(measured_steps[world]),
                errors={k[6:]: v for k, v in means.items() if k.startswith("error.")},
                rewards={k[7:]: v for k, v in means.items() if k.startswith("reward.")},
            )
        )
    return rows


def summarize(results: list[ClipResult]) -> dict[str, float]:
    """Return overall figures of an evaluation.

    `return_per_step` weights clips by their reference steps, errors and rewards by the steps
    measured; `early_termination_rate` counts clips, `frame_coverage` is steps taken over steps
    asked.
    """
    asked = sum(result.reference_steps for result in results)
    taken = sum(result.steps for result in results)
    measured = sum(result.measured_steps for result in results)
    summary = {
        "clips": float(len(results)),
        "return_per_step": sum(r.return_per_step * r.reference_steps for r in results) / asked,
        "early_termination_rate": sum(r.terminated for r in results) / len(results),
        "frame_coverage": taken / asked,
    }
    for kind in ("errors", "rewards"):
        for name in getattr(results[0], kind):
            total = sum(getattr(r, kind)[name] * r.measured_steps for r in results)
            summary[f"{kind[:-1]}_{name}"] = total / measured
    return summary
