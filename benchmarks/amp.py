"""Success and style of policies that were trained on a goal: AMP against PPO alone.

    python -m benchmarks.amp checkpoints=FILE[,FILE] [episodes=64] [json=FILE]

Every policy plays the same episodes (success: the goal held for `task.hold`), and then 5 s in
eight worlds with commands that change. A discriminator is trained afresh for every policy on pairs
of its moments and of the motions', and judged by those it has not seen
(agents/amp/style_score.py): a style score of 1 is a policy that cannot be told from the motions, 0
one that is always told.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from agents.amp import StyleScore, style_score
from cfg import UserError, load_settings
from mm_torch.goal_evaluation import evaluate_goal, summarize_goal
from mm_torch.goal_task import GoalTask
from mm_torch.policy_loading import LoadedPolicy, load_policy
from mm_torch.style import StylePairs
from mm_torch.table import format_table

_SEED = 4321
_WORLDS = 8
_PLAYED = 500  # control steps a world of which the style is judged


@dataclass
class Settings:
    checkpoints: str = ""
    episodes: int = 64
    json: str = ""


@torch.no_grad()
def policy_pairs(loaded: LoadedPolicy, judge: StylePairs) -> Tensor:
    """Pairs (N, dim) of the policy's moments, one world after the other, in order of time."""
    task = loaded.task
    device, worlds = task.simulator.device, task.simulator.nworld
    generator = torch.Generator(device).manual_seed(_SEED)
    task.seed(_SEED)
    task.renew = True

    def start(mask: Tensor) -> None:
        clip = task.library.sample_clips(worlds, generator)
        task.place(mask, clip, task.library.sample_frames(clip, generator))

    start(torch.ones(worlds, dtype=torch.bool, device=device))
    rows = []
    for _ in range(_PLAYED):
        judge.before()
        outcome = task.step(loaded.act(task.observe()))
        rows.append(judge.after())
        if bool(outcome.terminated.any()):
            start(outcome.terminated)
    task.renew = False
    return torch.stack(rows, dim=1)[:_WORLDS].flatten(0, 1)


def measure(path: str, episodes: int) -> tuple[dict[str, float], StyleScore]:
    """Success and style of a checkpoint.

    Raises:
        UserError: it is not of a task with a goal.
    """
    loaded = load_policy(path)
    task = loaded.task
    if not isinstance(task, GoalTask):
        raise UserError(f"checkpoints={path}: trained on imitation, expected a task with a goal")
    summary = summarize_goal(evaluate_goal(task, loaded.act, episodes))
    judge = StylePairs(task)
    moved = policy_pairs(loaded, judge)
    score = style_score(judge.every(), moved, block=100, seed=_SEED)
    task.simulator.close()
    return summary, score


def main(arguments: list[str]) -> int:
    """Measure; return the exit status."""
    settings = load_settings(Settings, arguments)
    if not settings.checkpoints:
        raise UserError("checkpoints= is missing: give files written by training")
    rows: list[list[object]] = []
    record = []
    for path in settings.checkpoints.split(","):
        summary, score = measure(path, settings.episodes)
        rows.append([
            path, 100 * summary["success_rate"], summary["seconds_to_success"],
            100 * summary["distance"], summary["return_per_step"], score.score, score.auc,
            score.reward,
        ])  # fmt: skip
        record.append({"policy": path, **summary, **score._asdict()})
    header = ["policy", "success %", "s to it", "distance (1/100)", "reward", "style score", "AUC",
              "style reward"]  # fmt: skip
    print(format_table(header, rows))
    if settings.json:
        Path(settings.json).write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    from mm_torch.command_line import run_command

    sys.exit(run_command(main, __doc__ or "", settings=False))
