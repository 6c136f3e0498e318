"""Evaluation of whatever task a run has, and what is said of it in a line and in a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from omegaconf import DictConfig
from torch import Tensor

from mm_torch.evaluation import evaluate, summarize
from mm_torch.goal_evaluation import evaluate_goal, summarize_goal
from mm_torch.goal_task import GoalTask
from mm_torch.task import ImitationTask

#: Label, key of the summary and factor of the rows that compare evaluations.
ROWS: tuple[tuple[str, str, float], ...] = (
    ("return per reference step (1 = perfect)", "return_per_step", 1.0),
    ("mimic-site error (cm)", "error_site", 100.0),
    ("joint error (rad, independent joints)", "error_joint_pos", 1.0),
    ("reference frames covered (%)", "frame_coverage", 100.0),
    ("clips ended early (%)", "early_termination_rate", 100.0),
    ("success (% of episodes)", "success_rate", 100.0),
    ("distance from the goal at the end (m, m/s)", "distance", 1.0),
    ("falls (% of episodes)", "fall_rate", 100.0),
)


def assess(
    task: ImitationTask, policy: Callable[[Tensor], Tensor], config: DictConfig, to_end: bool
) -> tuple[dict[str, float], list[Any]]:
    """Evaluate a policy; return the summary and the results that it sums up.

    Args:
        task: made for evaluation.
        policy: observation (nworld, obs_dim) to raw action (nworld, nu).
        config: of the run.
        to_end: imitation plays on after a termination.
    """
    if isinstance(task, GoalTask):
        episodes = evaluate_goal(task, policy, config.task.episodes)
        return summarize_goal(episodes), episodes
    results = evaluate(task, policy, to_end)
    return summarize(results), results


def in_a_line(summary: dict[str, float]) -> str:
    """Return a summary in a line."""
    text = f"return {summary['return_per_step']:.3f} of 1, "
    if "success_rate" in summary:
        return text + (
            f"success {summary['success_rate'] * 100:.0f} %, "
            f"falls {summary['fall_rate'] * 100:.0f} %"
        )
    return text + (
        f"site error {summary['error_site'] * 100:.1f} cm, "
        f"frames covered {summary['frame_coverage'] * 100:.0f} %"
    )


def compared(evaluations: dict[str, dict[str, float]]) -> list[tuple[object, ...]]:
    """Return rows of (label, value, ...) that set evaluations side by side."""
    return [
        (label, *(values[key] * scale for values in evaluations.values()))
        for label, key, scale in ROWS
        if all(key in values for values in evaluations.values())
    ]


def as_records(results: list[Any]) -> list[dict[str, Any]]:
    """Return results as plain dictionaries."""
    return [asdict(result) for result in results]
