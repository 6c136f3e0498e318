"""PPO and the world-model agent side by side: return over wall-clock and over simulated steps.

    python -m benchmarks.agents out=FOLDER [sets=demo,FOLDER] [seeds=1,2,3] [minutes=5]
                                [agents=world_model,ppo]
                                [rarely=1] [settings=key=value]

Trains every agent on every motion set with every seed, one run after another, by the command that
a user would type (cfg=demo, so the arms), each for the same number of minutes of collecting and
learning. Every run is evaluated on the clips, from their first frames, about every 20 s (times
`rarely`: long clips take long); this does not count as training. A finished run is not repeated
when the command is given again. `minutes` may name one length for each agent: minutes=5,10.
Further settings of all runs are separated by semicolons (quote them).
Writes runs, curves.json, tables.md and, with matplotlib, curves.svg into FOLDER.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.training import settings_of
from cfg import UserError, load_settings
from mm_torch.table import format_table

# Iterations between evaluations: about 20 s on two cores.
_EVERY = {"world_model": 4, "ppo": 40}
_LABELS = {"world_model": "world model", "ppo": "PPO"}
# Total steps above what the minutes allow: the schedule follows the clock.
_PLENTY = 1_000_000_000


@dataclass
class Settings:
    out: str = ""
    sets: str = "demo"
    seeds: str = "1,2,3"
    minutes: str = "5"
    agents: str = "world_model,ppo"
    rarely: int = 1
    settings: str = ""


@dataclass(frozen=True)
class Curve:
    """Evaluations of one run: training seconds, simulated steps, return (max 1), site error (m)."""

    motions: str
    agent: str
    seed: int
    seconds: list[float]
    steps: list[int]
    returns: list[float]
    errors: list[float]

    def first(self, level: float) -> tuple[float, int] | None:
        """Seconds and steps at the first evaluation of at least this return."""
        for second, step, value in zip(self.seconds, self.steps, self.returns, strict=True):
            if value >= level:
                return second, step
        return None

    @property
    def best(self) -> int:
        """Index of the best evaluation."""
        return max(range(len(self.returns)), key=self.returns.__getitem__)


def train(
    folder: Path, motions: str, agent: str, seed: int, minutes: float, settings: Settings
) -> None:
    """Run one training as a user would; raise on failure."""
    command = [
        sys.executable, "-m", "mm_torch.train", "cfg=demo", f"agent={agent}", f"motions={motions}",
        f"seed={seed}", f"run.dir={folder}", f"run.minutes={minutes}", f"total_steps={_PLENTY}",
        f"run.evaluate_interval={_EVERY[agent] * settings.rarely}",
    ]  # fmt: skip
    command += settings_of(settings.settings)
    with (folder.parent / f"{folder.name}.log").open("w") as log:
        subprocess.run(command, check=True, stdout=log, stderr=subprocess.STDOUT)


def read_curve(folder: Path, motions: str, agent: str, seed: int) -> Curve:
    """Read the evaluations of a finished run."""
    columns: list[list[Any]] = [[], [], [], []]
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        if "Evaluation/return_per_step" not in record:
            continue
        entry = (record.get("Perf/elapsed"), record["steps"],
                 record["Evaluation/return_per_step"], record["Evaluation/error_site"])  # fmt: skip
        if columns[1] and columns[1][-1] == entry[1]:
            continue  # the closing evaluation has a line of its own
        if entry[0] is None:
            continue
        for column, value in zip(columns, entry, strict=True):
            column.append(value)
    return Curve(motions, agent, seed, *columns)


def tables(curves: list[Curve]) -> str:
    """Return a table of runs and one of medians, for each motion set."""
    text = []
    for motions in dict.fromkeys(curve.motions for curve in curves):
        rows: list[list[object]] = []
        for curve in (c for c in curves if c.motions == motions):
            reached = curve.first(0.9)
            best = curve.best
            rows.append([
                _LABELS[curve.agent], curve.seed, round(curve.seconds[-1]), curve.steps[-1],
                curve.returns[-1], 100 * curve.errors[-1], curve.returns[best], curve.steps[best],
                "-" if reached is None else f"{reached[0]:.0f} s, {reached[1]:,} steps",
            ])  # fmt: skip
        header = ["agent", "seed", "s", "steps", "last return", "site cm", "best return",
                  "at steps", "0.9 reached after"]  # fmt: skip
        text += [f"{motions}:", "", format_table(header, rows), "", *_ratios(curves, motions), ""]
    return "\n".join(text)


def _ratios(curves: list[Curve], motions: str) -> list[str]:
    """How many steps the world model needed for the best that PPO reached, seed by seed."""
    chosen = {(c.agent, c.seed): c for c in curves if c.motions == motions}
    ratios, lines = [], []
    for (agent, seed), curve in chosen.items():
        other = chosen.get(("world_model", seed))
        if agent != "ppo" or other is None:
            continue
        level = curve.returns[curve.best]
        reached = other.first(level)
        if reached is None:
            lines.append(f"seed {seed}: the world model did not reach PPO's best ({level:.3f})")
            continue
        ratios.append(curve.steps[curve.best] / reached[1])
        lines.append(
            f"seed {seed}: PPO's best, {level:.3f} at {curve.steps[curve.best]:,} steps, "
            f"took the world model {reached[1]:,} steps: {ratios[-1]:.1f} times fewer"
        )
    if ratios:
        lines.append(f"median ratio {statistics.median(ratios):.1f}")
    return lines


def plot(curves: list[Curve], path: Path) -> bool:
    """Draw return over seconds and over steps; False without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    names = list(dict.fromkeys(curve.motions for curve in curves))
    figure = Figure(figsize=(9, 3.4 * len(names)), layout="constrained")
    axes = figure.subplots(len(names), 2, squeeze=False)
    colors = {"world_model": "tab:blue", "ppo": "tab:orange"}
    for row, name in zip(axes, names, strict=True):
        for curve in (c for c in curves if c.motions == name):
            style = {"color": colors[curve.agent], "lw": 1.2}
            row[0].plot([s / 60 for s in curve.seconds], curve.returns, **style)
            row[1].plot(curve.steps, curve.returns, **style)
        row[1].set_xscale("log")
        row[1].xaxis.set_minor_formatter("")  # within one decade its labels run into each other
        for axis, label in zip(row, ("minutes of training", "simulated steps"), strict=True):
            axis.set(xlabel=label, ylabel="return (max 1)", title=name)
            axis.grid(alpha=0.3)
            for agent in dict.fromkeys(c.agent for c in curves):
                axis.plot([], [], color=colors[agent], label=_LABELS[agent])
            axis.legend(frameon=False)
    figure.savefig(path)
    return True


def main(arguments: list[str]) -> int:
    """Run the comparison; return the exit status."""
    settings = load_settings(Settings, arguments)
    if not settings.out:
        raise UserError("out= is missing: give the folder to write to")
    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    agents = settings.agents.split(",")
    unknown = [agent for agent in agents if agent not in _EVERY]
    if unknown:
        raise UserError(f"agents={settings.agents}: expected some of {', '.join(_EVERY)}")
    minutes = [float(part) for part in str(settings.minutes).split(",")]
    minutes = dict(zip(agents, minutes * (len(agents) // len(minutes)), strict=True))
    curves = []
    for motions in settings.sets.split(","):
        name = Path(motions).name
        for seed in map(int, str(settings.seeds).split(",")):
            for agent in agents:
                folder = out / f"{name}-{agent}-{seed}"
                done = out / f"{folder.name}.done"
                if not done.exists():
                    print(f"{name}, {_LABELS[agent]}, seed {seed}: {minutes[agent]:g} min",
                          flush=True)  # fmt: skip
                    train(folder, motions, agent, seed, minutes[agent], settings)
                    done.touch()
                curves.append(read_curve(folder, name, agent, seed))
                (out / "curves.json").write_text(
                    json.dumps([vars(curve) for curve in curves], indent=1) + "\n"
                )
    text = tables(curves)
    (out / "tables.md").write_text(text)
    print(text)
    if not plot(curves, out / "curves.svg"):
        print("no curves.svg: matplotlib is not installed (pip install 'mm-torch[benchmark]')")
    return 0


if __name__ == "__main__":
    from mm_torch.command_line import run_command

    sys.exit(run_command(main, __doc__ or "", settings=False))
