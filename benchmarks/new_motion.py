"""What a taught policy is worth to a motion that it was not taught.

    python -m benchmarks.new_motion checkpoint=FILE motions=NEW out=FOLDER [minutes=10] [rounds=100]
                                    [starts=20] [cfg=walk] [expert=true]
                                    [settings="key=value;..."]
                                    [onward="pretraining.led_rounds=0"]

The same lesson (`pretraining.*` of the cfg, for so many minutes or rounds) on NEW, a motion file or
a set, for the policy of a checkpoint and for an untrained one of its shape, by the commands that a
user would type; onward= has what is set for the first alone, which needs no teacher to lead it.
Then the seconds before a termination from `starts` frames spread over every clip: of NEW by the
policy as it came, taught on, and taught from nothing, with expert=true by its teacher as well; of
the clips that it came from by the policy as it came and taught on, which says what it forgot. A
training that is done is not repeated when the command is given again.
Writes both runs, record.json and table.md into FOLDER.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import walking
from benchmarks.training import run_training, settings_of
from cfg import UserError, load_settings
from mm_torch.checkpoint import load_checkpoint
from mm_torch.policy_loading import load_policy
from mm_torch.table import format_table
from mm_torch.warm_start import shape_settings


@dataclass
class Settings:
    checkpoint: str = ""
    motions: str = ""
    out: str = ""
    minutes: float = 10.0
    rounds: int = 100
    starts: int = 20
    cfg: str = "walk"
    expert: bool = False
    settings: str = ""
    onward: str = "pretraining.led_rounds=0"


def teach(settings: Settings, run: Path, more: Sequence[str]) -> Path:
    """Give the lesson as a user would, unless it was; return the policy's file."""
    done = run.with_suffix(".done")
    if not done.exists():
        run_training([
            f"cfg={settings.cfg}", f"motions={settings.motions}", f"run.dir={run}",
            f"pretraining.rounds={settings.rounds}", f"pretraining.minutes={settings.minutes}",
            *settings_of(settings.settings), *more,
        ])  # fmt: skip
        done.touch()
    return run / "checkpoints/last.pt"


def measure(
    name: str, checkpoint: Path, motions: str, starts: int, expert: bool = False
) -> list[dict[str, Any]]:
    """Return a record for every clip of a motion file or set.

    Args:
        name: of the policy.
        checkpoint: its file.
        motions: the motion file or set.
        starts: frames to start from, spread over every clip.
        expert: whether computed muscle control, as the policy's lesson had it, acts in its place.
    """
    overrides = [f"motions={motions}", f"sim.nworld={starts}", "evaluation.max_steps=1000000"]
    loaded = load_policy(checkpoint, overrides, starts)
    policy = walking.teacher(loaded) if expert else loaded.act
    records = []
    for clip, motion in enumerate(loaded.task.library.names):
        chosen = walking.Settings(phases=starts, stride=0, clip=clip)
        seconds, failed = walking.seconds(loaded, policy, chosen)
        records.append({"policy": name, "clip": motion, "seconds": seconds, "terminated": failed})
    loaded.task.simulator.close()
    return records


def survival_table(records: Sequence[dict[str, Any]]) -> str:
    """Return a line for every clip and policy."""
    header = ["clip", "motion", "policy", "min s", "median s", "max s", "mean s", "to the end"]
    rows: list[list[object]] = [
        [
            r["clip"], r["group"], r["policy"], min(r["seconds"]), statistics.median(r["seconds"]),
            max(r["seconds"]), statistics.fmean(r["seconds"]),
            f"{len(r['seconds']) - r['terminated']} of {len(r['seconds'])}",
        ]
        for r in records
    ]  # fmt: skip
    return format_table(header, rows)


def main(arguments: list[str]) -> int:
    """Teach and measure; return the exit status."""
    settings = load_settings(Settings, arguments)
    for key in ("checkpoint", "motions", "out"):
        if not getattr(settings, key):
            raise UserError(f"{key}= is missing: see --help")
    if settings.starts < 2:
        raise UserError(f"starts={settings.starts}: expected 2 or more")
    out, came = Path(settings.out), Path(settings.checkpoint)
    shape = shape_settings(came, settings_of(settings.settings))
    out.mkdir(parents=True, exist_ok=True)
    first = [f"warm_start={came}", *settings_of(settings.onward)]
    onward = teach(settings, out / "taught_on", first)
    anew = teach(settings, out / "from_nothing", shape)
    new, own, starts = settings.motions, load_checkpoint(came)["config"]["motions"], settings.starts
    found: dict[str, list[dict[str, Any]]] = {"new": [], "taught before": []}
    for name, policy in (("as it came", came), ("taught on", onward), ("from nothing", anew)):
        found["new"] += measure(name, policy, new, starts)
    if settings.expert:
        found["new"] += measure("its teacher", onward, new, starts, expert=True)
    for name, policy in (("as it came", came), ("taught on", onward)):
        found["taught before"] += measure(name, policy, own, starts)
    records = [{"group": group} | r for group, part in found.items() for r in part]
    (out / "record.json").write_text(json.dumps(records, indent=1))
    text = survival_table(records) + "\n"
    (out / "table.md").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    from mm_torch.command_line import run_command

    sys.exit(run_command(main, __doc__ or "", settings=False))
