"""Figures of runs side by side: a logged value over minutes of training and over simulated steps.

    python -m benchmarks.curves runs=FOLDER[,FOLDER] out=FILE.svg [labels=NAME[,NAME]]
                                [value=Evaluation/return_per_step]

`value` is a name in the runs' metrics.jsonl; iterations that do not have it are left out. Needs
matplotlib (pip install 'mm-torch[benchmark]').
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from cfg import UserError, load_settings


@dataclass
class Settings:
    runs: str = ""
    out: str = ""
    labels: str = ""
    value: str = "Evaluation/return_per_step"


def series(folder: Path, value: str) -> tuple[list[float], list[int], list[float]]:
    """Return minutes of training, simulated steps and the value of a run.

    Raises:
        UserError: no run there, or one that never logged the value.
    """
    path = folder / "metrics.jsonl"
    if not path.is_file():
        raise UserError(f"runs={folder}: no run there (metrics.jsonl)")
    minutes, steps, values = [], [], []
    for line in path.read_text().splitlines():
        record = json.loads(line)
        if value in record:
            minutes.append(record["Perf/elapsed"] / 60.0)
            steps.append(record["steps"])
            values.append(record[value])
    if not values:
        raise UserError(f"value={value}: {path} has no such figure")
    return minutes, steps, values


def main(arguments: list[str]) -> int:
    """Draw; return the exit status."""
    settings = load_settings(Settings, arguments)
    if not settings.runs or not settings.out:
        raise UserError("runs= and out= are needed: folders of runs, and the figure to write")
    folders = [Path(part) for part in settings.runs.split(",")]
    labels = settings.labels.split(",") if settings.labels else [f.name for f in folders]
    if len(labels) != len(folders):
        raise UserError(f"labels={settings.labels}: expected {len(folders)} names, one a run")
    runs = [series(folder, settings.value) for folder in folders]
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("matplotlib is missing: pip install 'mm-torch[benchmark]'") from error
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    by_time, by_steps = figure.subplots(1, 2)
    for label, (minutes, steps, values) in zip(labels, runs, strict=True):
        by_time.plot(minutes, values, label=label, lw=1.2)
        by_steps.plot(steps, values, label=label, lw=1.2)
    name = settings.value.split("/")[-1].replace("_", " ")
    for axis, label in ((by_time, "minutes of training"), (by_steps, "simulated steps")):
        axis.set(xlabel=label, ylabel=name)
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    figure.savefig(settings.out)
    return 0


if __name__ == "__main__":
    from mm_torch.command_line import run_command

    sys.exit(run_command(main, __doc__ or "", settings=False))
