"""Train on some motions of a set, measure on the others as well, on both simulators.

    python -m benchmarks.held_out motions=SET held_out=CLIP[,CLIP] out=FOLDER [cfg=walk]
                                  [minutes=20] [starts=10] [simulators=warp,mujoco]
                                  [settings="key=value;..."]

Trains by the command that a user would type, for so many minutes of lesson and training (a lesson
is not cut short by them: set pretraining.minutes; minutes=0 ends with the lesson), on the clips of
SET that are not held out. Then
for every clip and simulator (both with a GPU, else MuJoCo C), untrained and trained: the seconds
before a termination from `starts` frames spread over the clip, and the return and errors from its
first frame. The last table says how fast each stage of the training was. A training that is done is
not repeated when the command is given again.
Writes the run, the two motion sets, record.json and tables.md into FOLDER.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import walking
from benchmarks.training import run_training, settings_of
from cfg import UserError, load_resolved, load_settings
from mm_torch.evaluation import evaluate
from mm_torch.policy_loading import load_policy, untrained
from mm_torch.table import format_table
from retarget.motion_set import read_index, write_index

_PLENTY = 1_000_000_000  # steps: the minutes end the training
_GROUPS = {"training": "trained on", "held_out": "held out"}


@dataclass
class Settings:
    motions: str = ""
    held_out: str = ""
    out: str = ""
    cfg: str = "walk"
    minutes: float = 20.0
    starts: int = 10
    simulators: str = ""
    settings: str = ""


def split(motions: Path, held_out: Sequence[str], out: Path) -> None:
    """Write motion sets `training` and `held_out` into `out`, which list the files of `motions`.

    Raises:
        UserError: a clip that the set does not have, or none that is left to train on.
    """
    embodiment, clips = read_index(motions)
    names = [clip["name"] for clip in clips]
    unknown = [name for name in held_out if name not in names]
    if unknown or not held_out:
        raise UserError(
            f"held_out={','.join(held_out)}: expected some of the clips of {motions}: "
            f"{', '.join(names)}"
        )
    if set(held_out) == set(names):
        raise UserError(f"held_out={','.join(held_out)}: leaves no clip of {motions} to train on")
    for group in _GROUPS:
        folder = out / group
        folder.mkdir(parents=True, exist_ok=True)
        chosen = [clip for clip in clips if (clip["name"] in held_out) == (group == "held_out")]
        files = [{**clip, "file": str((motions / clip["file"]).resolve())} for clip in chosen]
        write_index(folder, embodiment, files)


def train(settings: Settings, out: Path) -> None:
    """Train as a user would; raise on failure."""
    length = [f"run.minutes={settings.minutes}", f"total_steps={_PLENTY}"]
    run_training([
        f"cfg={settings.cfg}", f"motions={out}/training", f"run.dir={out}/run",
        *(length if settings.minutes else ["total_steps=0"]), *settings_of(settings.settings),
    ])  # fmt: skip


def measure(checkpoint: Path, motions: Path, backend: str, starts: int) -> list[dict[str, Any]]:
    """Return a record for every clip of a set, of the untrained and of the trained policy."""
    overrides = [f"motions={motions}", "evaluation.max_steps=1000000"]
    overrides += [f"sim.backend={backend}", f"sim.nworld={starts}"]
    loaded = load_policy(checkpoint, overrides, starts)
    records: list[dict[str, Any]] = []
    for which, policy in (("untrained", untrained(loaded)), ("trained", loaded.act)):
        for clip, result in enumerate(evaluate(loaded.task, policy)):
            chosen = walking.Settings(phases=starts, stride=0, clip=clip)
            seconds, failed = walking.seconds(loaded, policy, chosen)
            records.append({
                "clip": result.name, "simulator": type(loaded.task.simulator).__name__,
                "policy": which, "seconds": seconds, "terminated": failed,
                "return_per_step": result.return_per_step, "errors": result.errors,
            })  # fmt: skip
    loaded.task.simulator.close()
    return records


def stages(lines: Sequence[dict[str, float]], updates: int, images: int) -> list[list[object]]:
    """Return rows of stage, seconds that it took in all, how much a second, and of what.

    Of the iterations after a lesson the first third is left out: graphs are captured, and a model
    that is not trusted yet trains no policy.

    Args:
        lines: of metrics.jsonl.
        updates: of the policy, in a round of the lesson.
        images: states that the lesson keeps of every one that the teacher was asked about.
    """
    rows: list[list[object]] = []

    def row(stage: str, seconds: float, done: float, what: str) -> None:
        if seconds:
            rows.append([stage, seconds, done / seconds, what])

    lesson = [line for line in lines if "Lesson/round" in line]
    if lesson:
        acting, teacher, learning = (
            sum(line[f"Perf/{part}_time"] for line in lesson)
            for part in ("collection", "teacher", "learning")
        )
        steps, asked = lesson[-1]["steps"], lesson[-1]["Lesson/states"] / images
        row("lesson: acting and simulation", acting, steps, "control steps")
        row("lesson: teacher", teacher, asked, "states")
        row("lesson: updates", learning, updates * len(lesson), "updates")
        row("lesson: all", acting + teacher + learning, steps, "control steps")
    training = [line for line in lines if "Perf/collection_time" in line and line not in lesson]
    settled = training[len(training) // 3 :]
    if len(settled) > 1:
        steps = settled[-1]["steps"] - settled[0]["steps"]
        collecting, learning = (
            sum(line[f"Perf/{part}_time"] for line in settled[1:])
            for part in ("collection", "learning")
        )
        row("training: collecting", collecting, steps, "control steps")
        row("training: learning", learning, steps, "control steps")
        row("training: all", collecting + learning, steps, "control steps")
    return rows


def clip_table(records: Sequence[dict[str, Any]]) -> str:
    """Return a line for every clip, simulator and policy."""
    header = ["clip", "motion", "simulator", "policy", "min s", "median s", "max s", "to the end",
              "return", "site cm", "joint rad"]  # fmt: skip
    rows: list[list[object]] = [
        [
            r["clip"], _GROUPS[r["group"]], r["simulator"], r["policy"], min(r["seconds"]),
            statistics.median(r["seconds"]), max(r["seconds"]),
            f"{len(r['seconds']) - r['terminated']} of {len(r['seconds'])}", r["return_per_step"],
            100 * r["errors"]["site"], r["errors"]["joint_pos"],
        ]
        for r in records
    ]  # fmt: skip
    return format_table(header, rows)


def main(arguments: list[str]) -> int:
    """Train and measure; return the exit status."""
    settings = load_settings(Settings, arguments)
    for key in ("motions", "held_out", "out"):
        if not getattr(settings, key):
            raise UserError(f"{key}= is missing: see --help")
    if settings.starts < 2:
        raise UserError(f"starts={settings.starts}: expected 2 or more")
    if settings.minutes < 0.0:
        raise UserError(f"minutes={settings.minutes}: expected 0, the lesson alone, or more")
    out, done = Path(settings.out), Path(settings.out) / "run.done"
    split(Path(settings.motions), settings.held_out.split(","), out)
    if not done.exists():
        train(settings, out)
        done.touch()
    run, records = out / "run", []
    both = "warp,mujoco" if torch.cuda.is_available() else "mujoco"
    backends = (settings.simulators or both).split(",")
    for group in _GROUPS:
        for backend in backends:
            found = measure(run / "checkpoints/last.pt", out / group, backend, settings.starts)
            records += [{"group": group, **record} for record in found]
    lesson = load_resolved(run / "config.yaml").pretraining
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    speed = stages(lines, lesson.updates, 1 + lesson.mirror)
    (out / "record.json").write_text(json.dumps({"clips": records, "stages": speed}, indent=1))
    header = ["stage", "s", "a second", "of"]
    text = f"{clip_table(records)}\n\n{format_table(header, speed)}\n"
    (out / "tables.md").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    from mm_torch.command_line import run_command

    sys.exit(run_command(main, __doc__ or "", settings=False))
