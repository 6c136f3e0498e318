"""How human a walk is: joint angles, ground forces, joint moments and muscles against people's.

    python -m benchmarks.gait checkpoint=FILE human=PREFIX mass=KG [phases=4] [stride=104] [first=0]
                              [clip=0] [expert=true] [json=FILE] [figure=FILE]
                              [settings="key=value;..."]

Plays a full body's policy from `phases` frames spread over `stride` frames from `first` on of a
clip, as benchmarks.walking does, cuts the walks where a foot lands, and compares the mean gait
cycle of both legs with the tables PREFIX_kinematics.csv, _grf.csv, _joint_torques.csv and _emg.csv,
those that there are (their format: mm_torch/gait_cycle.py), of a person of that mass. expert=true
measures computed muscle control in place of the policy. Of every quantity: the correlation of the
mean curves, what they are off by (root mean square), how much people's trials differ, how much
these strides do (standard deviation, root mean square), and the first two for the motion that is
followed, cut at the same landings. Activations and EMG are shares of their mean curve's peak.
figure= draws all of it (PNG or SVG) and needs matplotlib (pip install 'mm-torch[benchmark]').
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.walking import Starts, load, starts, teacher
from cfg import UserError, load_settings
from mm_torch.gait_cycle import (
    COMPARED,
    UNITS,
    Curve,
    agreement,
    curve_of,
    cycles,
    read_human,
)
from mm_torch.gait_recording import SIDES, Walk, record
from mm_torch.table import format_table

Curves = dict[str, dict[str, Curve]]


@dataclass
class Settings(Starts):
    checkpoint: str = ""
    human: str = ""
    mass: float = 0.0
    phases: int = 4
    expert: bool = False
    json: str = ""
    figure: str = ""


def walks(settings: Settings) -> list[Walk]:
    """Play and measure."""
    loaded = load(settings.checkpoint, settings)
    body = loaded.task.simulator.embodiment
    if not (body.has_root and body.foot_geoms):
        raise UserError(f"checkpoint={settings.checkpoint}: needs a body that walks: {body.name}")
    policy = teacher(loaded) if settings.expert else loaded.act
    return record(loaded.task, policy, *starts(loaded, settings))


def mean_cycles(recorded: Sequence[Walk]) -> Curves:
    """Return the body's curves by table and by the tables' columns, over all strides of both legs.

    One more table, "motion", has the joint angles of the motion that is followed.

    Raises:
        UserError: no whole stride.
    """
    landed = [[walk.landings(side) for side in range(len(SIDES))] for walk in recorded]
    if not any(len(samples) > 1 for sides in landed for samples in sides):
        raise UserError("no whole stride was walked: nothing to compare")
    curves: Curves = {}
    tables = COMPARED | {"motion": COMPARED["kinematics"]}
    for table, columns in tables.items():
        curves[table] = {}
        for column, (names, sign) in columns.items():
            strides = []
            for walk, sides in zip(recorded, landed, strict=True):
                source = walk.motion if table == "motion" else walk.quantities[table]
                values = sign * np.mean([source[name] for name in names], axis=0)
                strides += [cycles(values[:, side], samples) for side, samples in enumerate(sides)]
            curves[table][column] = curve_of(strides)
    return curves


def compared(body: Curves, human: Curves) -> list[tuple[str, str, Curve, Curve]]:
    """Return table, column, the body's and people's curve, in the same unit, of all there is."""
    pairs = []
    for table, columns in human.items():
        for column, theirs in columns.items():
            ours = body[table][column]
            if table == "emg":
                ours, theirs = ours.of_peak(), theirs.of_peak()
            pairs.append((table, column, ours, theirs))
    return pairs


def in_short(recorded: Sequence[Walk]) -> dict[str, float]:
    """Return how many strides there are, their time (s), share of stance, and the speed (m/s)."""
    sides = range(len(SIDES))
    stances = [stance for walk in recorded for side in sides for stance in walk.stance(side)]
    landed = [(walk.landings(side), walk.fps) for walk in recorded for side in sides]
    times = np.concatenate([np.diff(samples) / fps for samples, fps in landed])
    return {
        "strides": len(times),
        "stride_time": float(times.mean()),
        "stride_time_sd": float(times.std()),
        "stance": statistics.fmean(stances),
        "speed": statistics.fmean(walk.speed() for walk in recorded),
    }


def check_figure(path: str) -> None:
    """Refuse a figure that could not be drawn, before anything is measured."""
    if Path(path).suffix not in (".png", ".svg"):
        raise UserError(f"figure={path}: expected a name that ends in .png or .svg")
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("matplotlib is missing: pip install 'mm-torch[benchmark]'")


def draw(pairs: list[tuple[str, str, Curve, Curve]], path: str) -> None:
    """Draw every quantity over the gait cycle: people in grey, the body in blue."""
    from matplotlib.figure import Figure

    width = 4
    figure = Figure(figsize=(11, 2.1 * -(-len(pairs) // width)), layout="constrained")
    axes = figure.subplots(-(-len(pairs) // width), width, squeeze=False).flatten()
    share = np.linspace(0.0, 100.0, len(pairs[0][2].mean))
    for axis, (table, column, ours, theirs) in zip(axes, pairs, strict=False):
        for curve, colour in ((theirs, "0.5"), (ours, "tab:blue")):
            low, high = curve.mean - curve.deviation, curve.mean + curve.deviation
            axis.fill_between(share, low, high, color=colour, alpha=0.3, lw=0)
            axis.plot(share, curve.mean, color=colour, lw=1.3)
        kind = {"joint_torques": " moment", "grf": " force"}.get(table, "")
        title = f"{column.replace('_', ' ').replace('-', ' ')}{kind} ({UNITS[table]})"
        axis.set_title(title, fontsize=9)
        axis.tick_params(labelsize=8)
    for axis in axes[len(pairs) :]:
        axis.set_axis_off()
    figure.supxlabel("% of the gait cycle; grey: people, blue: the body; bands: one standard "
                     "deviation", fontsize=9)  # fmt: skip
    figure.savefig(path)


def main(arguments: list[str]) -> int:
    """Measure; return the exit status."""
    settings = load_settings(Settings, arguments)
    if not settings.checkpoint or not settings.human:
        raise UserError("checkpoint= and human= are needed: a policy, and people's tables")
    if not settings.mass > 0:
        raise UserError(f"mass={settings.mass:g}: expected the person's mass in kg")
    if settings.figure:
        check_figure(settings.figure)
    human = read_human(settings.human, settings.mass)
    recorded = walks(settings)
    body = mean_cycles(recorded)
    pairs = compared(body, human)
    summary = in_short(recorded)
    print(
        f"{summary['strides']} strides of {summary['stride_time']:.2f} s (standard deviation "
        f"{summary['stride_time_sd']:.2f}), on the ground for {100 * summary['stance']:.0f} % of "
        f"them, {summary['speed']:.2f} m/s"
    )
    rows, found = [], {}
    for table, column, ours, theirs in pairs:
        result = found[f"{table}/{column}"] = agreement(ours, theirs)
        motion: list[object] = ["", ""]
        if table == "kinematics":
            followed = agreement(body["motion"][column], theirs)
            motion = [followed.r, followed.error]
            found[f"motion/{column}"] = followed
        own = float(np.sqrt(np.square(ours.deviation).mean()))
        name = f"{table}: {column}"
        rows.append([name, UNITS[table], result.r, result.error, result.human, own, *motion])
    header = ["quantity", "unit", "r", "off by", "people's sd", "its own", "motion's r", "off by"]
    print(format_table(header, rows))
    for table in human:
        every = [result.r for name, result in found.items() if name.startswith(f"{table}/")]
        print(f"{table}: r {statistics.fmean(every):.2f} on average of {len(every)}")
    if settings.json:
        content = summary | {"agreement": {name: asdict(one) for name, one in found.items()}}
        Path(settings.json).write_text(json.dumps(content, indent=1) + "\n")
    if settings.figure:
        draw(pairs, settings.figure)
    return 0


if __name__ == "__main__":
    from mm_torch.command_line import run_command

    sys.exit(run_command(main, __doc__ or "", settings=False))
