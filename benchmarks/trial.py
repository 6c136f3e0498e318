"""A person's gait cycle from the files of an OpenSim trial, as benchmarks.gait compares with.

    python -m benchmarks.trial forces=GRF.mot out=PREFIX [kinematics=IK.sto] [moments=ID.sto]
                               [emg=EMG.sto] [side=r] [forwards=x] [names="LABEL=Name;..."]

The strides of one leg are those from one landing of its foot on a force plate to the next (vertical
force past 5 % of body weight). Every quantity is read at the same phases of every stride that its
file covers, whole or in part: a stride is taken to last as long before and after as between the
landings, so that angles measured beside the plates may still give a whole cycle. Written are
PREFIX_grf.csv (% of body weight), PREFIX_kinematics.csv (deg), PREFIX_joint_torques.csv (Nm) and
PREFIX_emg.csv (the file's unit): mean and standard deviation over strides (zero where there is
one), in the signs of gait2392, whose flexed knees are negative. Body weight is what the plates bear
on average over a stride; it is printed, for mass=.

forwards= says along which axis of the ground the person walks (x, -x, z or -z). EMG must be
envelopes; names= gives muscles by the labels of the file where they are called otherwise.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cfg import UserError, load_settings
from cfg.option import opt
from mm_torch.force_plates import Strides, body_weight, forces_of
from mm_torch.gait_cycle import COMPARED, SAMPLES, landings
from retarget.importers.opensim import knee_sign
from retarget.importers.storage import read_columns, read_storage

Table = dict[str, np.ndarray]
_GRAVITY = 9.81
#: Muscles that laboratories call otherwise.
_ALIASES = {
    "biceps-femoris": "Hamstrings-lateralis",
    "lateral-hamstrings": "Hamstrings-lateralis",
    "medial-hamstrings": "Hamstrings-medialis",
    "semitendinosus": "Hamstrings-medialis",
    "semimembranosus": "Hamstrings-medialis",
    "vastus-medius": "Vastus-medialis",
    "gastrocnemius": "Gastrocnemius-medialis",
    "medial-gastrocnemius": "Gastrocnemius-medialis",
    "lateral-gastrocnemius": "Gastrocnemius-lateralis",
}


@dataclass
class Settings:
    forces: str = ""
    out: str = ""
    kinematics: str = ""
    moments: str = ""
    emg: str = ""
    side: str = opt("r", "whose strides", choices=("r", "l"))
    forwards: str = opt("x", "the laboratory's axis that way", choices=("x", "-x", "z", "-z"))
    names: str = ""


def measured(settings: Settings) -> tuple[dict[str, Table], float, Strides, list[str]]:
    """Return strides (n, 100) by table and column, the mass (kg), the strides, and labels left out.

    Raises:
        UserError: a file cannot be used.
    """
    side = settings.side
    time, forces = forces_of(Path(settings.forces), settings.forwards)
    weight, period = body_weight(time, {key: values[:, 1] for key, values in forces.items()})
    own = 100.0 * forces[side] / weight
    fps = (len(time) - 1) / (time[-1] - time[0])
    landed = landings(own[:, 1], fps)
    if not len(landed):
        raise UserError(f"side={side}: that foot never lands on a plate: take the other")
    strides = Strides(float(time[landed[0]]), period, max(len(landed) - 1, 1))
    outwards = 1.0 if side == "r" else -1.0
    columns = {"Fore-aft": own[:, 0], "Vertical": own[:, 1], "Lateral": outwards * own[:, 2]}
    # Before its first landing the foot may stand beside the plate.
    curves = {"grf": strides.curves(time, columns, strides.first, f"forces={settings.forces}")}
    braking = np.nanmean(curves["grf"]["Fore-aft"], axis=0)[: SAMPLES // 4].mean()
    if braking > 0:
        raise UserError(
            f"forwards={settings.forwards}: the landing foot pushes on, where it should brake: "
            f"the person walks the other way"
        )
    family = 1.0
    if settings.kinematics:
        (clip,) = read_storage(Path(settings.kinematics), "trial")
        clip.check(list(clip.columns))
        family = -knee_sign(clip) if any(n.startswith("knee_angle") for n in clip.columns) else 1.0
        table = _joints(clip.columns, side, "", family, COMPARED["kinematics"])
        table = {name: np.degrees(values) for name, values in table.items()}
        curves["kinematics"] = strides.curves(
            clip.time, _some(table, settings.kinematics), -np.inf, settings.kinematics
        )
    if settings.moments:
        clip = read_columns(Path(settings.moments))
        clip.check(list(clip.columns))
        table = _joints(clip.columns, side, "_moment", family, COMPARED["joint_torques"])
        curves["joint_torques"] = strides.curves(
            clip.time, _some(table, settings.moments), -np.inf, settings.moments
        )
    left_out: list[str] = []
    if settings.emg:
        clip = read_columns(Path(settings.emg))
        clip.check(list(clip.columns))
        values = np.stack(list(clip.columns.values()))
        # Filtered envelopes undershoot a little; EMG itself swings as far below zero as above.
        if -values.min() > 0.3 * values.max():
            raise UserError(f"emg={settings.emg}: values below zero: expected envelopes, not EMG")
        table, left_out = _muscles(clip.columns, side, _names(settings.names))
        curves["emg"] = strides.curves(clip.time, _some(table, settings.emg), -np.inf, settings.emg)
    return curves, weight / _GRAVITY, strides, left_out


def _joints(
    columns: Mapping[str, np.ndarray],
    side: str,
    end: str,
    family: float,
    wanted: Mapping[str, object],
) -> Table:
    return {
        name: columns[f"{name}_{side}{end}"] * (family if name == "knee_angle" else 1.0)
        for name in wanted
        if f"{name}_{side}{end}" in columns
    }


def _muscles(
    columns: Mapping[str, np.ndarray], side: str, names: Mapping[str, str]
) -> tuple[Table, list[str]]:
    known = {name.lower(): name for name in COMPARED["emg"]} | _ALIASES
    table, left_out = {}, []
    for label, row in columns.items():
        plain = re.sub(rf"[-_ ]({side})$", "", label.lower())
        name = names.get(label) or known.get(re.sub(r"[_ ]", "-", plain))
        if name is None or name in table:
            left_out.append(label)
        else:
            table[name] = row
    return table, left_out


def _names(text: str) -> dict[str, str]:
    pairs = {}
    for item in filter(None, text.split(";")):
        label, _, name = item.partition("=")
        if name not in COMPARED["emg"]:
            raise UserError(f"names: {item}: expected LABEL= one of {', '.join(COMPARED['emg'])}")
        pairs[label] = name
    return pairs


def _some(table: Table, where: str) -> Table:
    if not table:
        raise UserError(f"{where}: none of its columns is compared by benchmarks.gait")
    return table


def write(curves: Mapping[str, Table], prefix: str) -> list[Path]:
    """Write a table for each kind, and return the files."""
    written = []
    share = np.linspace(0.0, 100.0, SAMPLES)
    for kind, table in curves.items():
        path = Path(f"{prefix}_{kind}.csv")
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = {"pct_gait_cycle": share}
        columns |= {name: np.nanmean(strides, axis=0) for name, strides in table.items()}
        columns |= {f"{name}_sd": np.nanstd(strides, axis=0) for name, strides in table.items()}
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(
                [f"{value:.6g}" for value in row] for row in zip(*columns.values(), strict=True)
            )
        written.append(path)
    return written


def main(arguments: list[str]) -> int:
    """Write the tables; return the exit status."""
    settings = Settings(**load_settings(Settings, arguments))
    for key in ("forces", "out"):
        if not getattr(settings, key):
            raise UserError(f"{key}= is missing: see python -m benchmarks.trial --help")
    for key in ("forces", "kinematics", "moments", "emg"):
        path = getattr(settings, key)
        if path and not Path(path).is_file():
            raise UserError(f"{key}={path}: no such file")
    if settings.moments and not settings.kinematics:
        raise UserError(
            "moments= without kinematics=, which tell the sign of the knee's: give them"
        )
    curves, mass, strides, left_out = measured(settings)
    written = write(curves, settings.out)
    print(
        f"{strides.count} stride(s) of {strides.period:.3f} s from {strides.first:.3f} s on; "
        f"mean vertical force {mass * _GRAVITY:.0f} N: mass={mass:.1f}"
    )
    for label in left_out:
        print(f"left out: {label}")
    print("\n".join(f"wrote {path}" for path in written))
    return 0


if __name__ == "__main__":
    from mm_torch.command_line import run_command

    sys.exit(run_command(main, __doc__ or "", settings=False))
