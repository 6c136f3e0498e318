"""`python -m mm_torch.evaluate`: tracking metrics of a trained policy, clip by clip."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from cfg import UserError
from mm_torch.assessment import as_records, assess, compared
from mm_torch.command_line import flag, run_command, split_arguments
from mm_torch.evaluation import ClipResult
from mm_torch.goal_task import GoalTask
from mm_torch.policy_loading import load_policy
from mm_torch.table import format_table

USAGE = """
usage: python -m mm_torch.evaluate checkpoint=FILE [motions=SET] [out=FILE.json] [key=value ...]

Plays every clip from its first frame with the policy's mean excitation and prints tracking metrics.
  checkpoint=FILE   a checkpoint written by training
  motions=SET       motion set; the training set if left out
  out=FILE.json     also write the table as JSON
  to_end=BOOL       play on after a termination, so that errors are over whole clips; the
                    checkpoint's run.evaluate_to_end if left out
  stochastic=false  sample actions in place of the mean excitation
Other key=value settings override the checkpoint's, such as sim.backend=warp.
"""


def main(arguments: Sequence[str]) -> int:
    """Evaluate; return the exit status."""
    own, settings = split_arguments(arguments, ("checkpoint", "out", "to_end", "stochastic"))
    if "checkpoint" not in own:
        raise UserError("checkpoint= is missing: give a file written by training")
    out = Path(own["out"]) if "out" in own else None
    if out is not None and not out.resolve().parent.is_dir():
        raise UserError(f"out={out}: its folder does not exist")
    stochastic = flag(own.get("stochastic", "false"), "stochastic")
    loaded = load_policy(own["checkpoint"], settings)
    to_end = loaded.config.run.evaluate_to_end
    if "to_end" in own:
        to_end = flag(own["to_end"], "to_end")
    policy = loaded.act
    if stochastic:
        generator = torch.Generator(loaded.task.simulator.device).manual_seed(loaded.config.seed)

        def policy(obs: torch.Tensor) -> torch.Tensor:
            return loaded.policy.act(obs, generator)[0]

    summary, results = assess(loaded.task, policy, loaded.config, to_end)
    goal = isinstance(loaded.task, GoalTask)
    if goal:
        title = f"{len(results)} episodes of {loaded.config.task.name}"
        print(format_table((title, "policy"), compared({"policy": summary})))
    else:
        print(results_table(results, summary))
    if out is not None:
        record = {
            "checkpoint": own["checkpoint"],
            "motions": loaded.config.motions,
            "simulator": type(loaded.task.simulator).__name__,
            "to_end": to_end,
            "stochastic": stochastic,
            "overall": summary,
            "episodes" if goal else "clips": as_records(results),
        }
        temporary = out.with_name(out.name + ".tmp")
        temporary.write_text(json.dumps(record, indent=1) + "\n")
        os.replace(temporary, out)
    return 0


def results_table(results: list[ClipResult], summary: dict[str, float]) -> str:
    """Return the table of clips with a line for all of them."""
    header = ["clip", "steps", "of", "ended early", "return (max 1)", "site cm", "joint rad",
              "joint rad/s"]  # fmt: skip
    rows: list[list[object]] = [
        [
            r.name, r.steps, r.reference_steps, "yes" if r.terminated else "no", r.return_per_step,
            r.errors["site"] * 100, r.errors["joint_pos"], r.errors["joint_vel"],
        ]
        for r in results
    ]  # fmt: skip
    rows.append(
        [
            "all",
            sum(r.steps for r in results),
            sum(r.reference_steps for r in results),
            f"{sum(r.terminated for r in results)} of {len(results)}",
            summary["return_per_step"],
            summary["error_site"] * 100,
            summary["error_joint_pos"],
            summary["error_joint_vel"],
        ]
    )
    return format_table(header, rows)


if __name__ == "__main__":
    sys.exit(run_command(main, USAGE, settings=False))
