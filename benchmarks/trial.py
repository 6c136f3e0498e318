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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cfg import UserError, load_settings
from mm_torch.gait_cycle import COMPARED, LANDED, SAMPLES, landings
from retarget.importers.opensim import knee_sign
from retarget.importers.storage import read_storage, read_table

Table = dict[str, np.ndarray]
_GRAVITY = 9.81
_EDGE = 0.05  # s before landing and after leaving in which a foot bears a little
#: Labels of a force component of the right and the left plate, as OpenSim's examples have them.
_FORCES = {
    "r": (r"ground_force_r_v{}", r"r_ground_force_v{}", r"ground_force_v{}"),
    "l": (r"ground_force_l_v{}", r"l_ground_force_v{}", r"1_ground_force_v{}"),
}
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
    side: str = "r"
    forwards: str = "x"
    names: str = ""


@dataclass(frozen=True)
class Strides:
    """When the foot lands first (s), how long a stride takes (s), and how many are measured."""

    first: float
    period: float
    count: int

    def curves(self, time: np.ndarray, table: Table, since: float, where: str) -> Table:
        """Return (n, 100) strides of each quantity (T,), not measured where it is NaN.

        Args:
            time: (T,) of the samples (s).
            table: quantities by name.
            since: samples before (s) are left out.
            where: what to call the table in an error.

        Raises:
            UserError: some phase of the cycle was not measured.
        """
        begin, end = max(time[0], since), time[-1]
        phase = np.linspace(0.0, 1.0, SAMPLES)
        numbers = np.arange(
            np.floor((begin - self.first) / self.period),
            np.ceil((end - self.first) / self.period) + 1,
        )
        at = self.first + (numbers[:, None] + phase) * self.period
        at[(at < begin) | (at > end)] = np.nan
        missing = np.isnan(at).all(axis=0)
        if missing.any():
            raise UserError(
                f"{where}: {missing.sum()} % of the gait cycle is not in it: expected at least "
                f"{self.period:.2f} s, it has {end - begin:.2f} s"
            )
        return {name: np.interp(at, time, values) for name, values in table.items()}


def body_weight(time: np.ndarray, vertical: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """Return body weight (N) and the time of a stride (s).

    Args:
        time: (T,) s.
        vertical: (T,) vertical force on each foot (N); a foot may miss its plate.

    Raises:
        UserError: no foot lands twice, or one has no whole stance.
    """
    fps = (len(time) - 1) / (time[-1] - time[0])
    # A first guess is enough to see landings: no foot bears less than half in the middle of stance.
    guess = 0.8 * max(values.max() for values in vertical.values())
    periods, bearing = [], 0.0
    for side, values in vertical.items():
        on = values > LANDED / 100 * guess
        edges = np.flatnonzero(np.diff(on.astype(int)))
        starts = [edge + 1 for edge in edges if not on[edge]]
        periods += list(np.diff(landings(100 * values / guess, fps)) / fps)
        stances = [(s, min(e for e in edges if e > s)) for s in starts if (edges > s).any()]
        if not stances:
            raise UserError(f"forces: no whole stance of side {side!r} on a plate")
        # What is below the threshold before and after counts as well.
        more = round(_EDGE * fps)
        impulses = [values[max(s - more, 0) : e + more].sum() / fps for s, e in stances]
        bearing += float(np.mean(impulses))
    if not periods:
        raise UserError("forces: no foot lands twice on a plate: a stride cannot be told")
    period = float(np.mean(periods))
    return bearing / period, period


def forces_of(path: Path, forwards: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Read times (T,) and the force (T, 3) on each foot, forwards, up and to the right (N).

    Raises:
        UserError: no such columns.
    """
    _, labels, table = read_table(path)
    lower = [label.lower().split("/")[-1] for label in labels]
    found = {}
    for side, patterns in _FORCES.items():
        for pattern in patterns:
            wanted = [pattern.format(axis) for axis in "xyz"]
            if all(label in lower for label in wanted):
                found[side] = np.stack([table[:, lower.index(label)] for label in wanted], axis=1)
                break
        else:
            raise UserError(
                f"forces={path}: no columns {_FORCES[side][0].format('x')}, ...y and ...z"
            )
    sign = -1.0 if forwards.startswith("-") else 1.0
    ahead, right = ("xz", 1.0) if forwards[-1] == "x" else ("zx", -1.0)
    axes = [("xyz").index(axis) for axis in (ahead[0], "y", ahead[1])]
    signs = np.array([sign, 1.0, sign * right])
    return table[:, 0], {side: values[:, axes] * signs for side, values in found.items()}


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
        family = -knee_sign(clip) if any(n.startswith("knee_angle") for n in clip.columns) else 1.0
        table = _joints(clip.columns, side, "", family, COMPARED["kinematics"])
        table = {name: np.degrees(values) for name, values in table.items()}
        curves["kinematics"] = strides.curves(
            clip.time, _some(table, settings.kinematics), -np.inf, settings.kinematics
        )
    if settings.moments:
        _, labels, values = read_table(Path(settings.moments))
        table = dict(zip(labels[1:], values.T[1:], strict=True))
        table = _joints(table, side, "_moment", family, COMPARED["joint_torques"])
        curves["joint_torques"] = strides.curves(
            values[:, 0], _some(table, settings.moments), -np.inf, settings.moments
        )
    left_out: list[str] = []
    if settings.emg:
        _, labels, values = read_table(Path(settings.emg))
        # Filtered envelopes undershoot a little; EMG itself swings as far below zero as above.
        if -values[:, 1:].min() > 0.3 * values[:, 1:].max():
            raise UserError(f"emg={settings.emg}: values below zero: expected envelopes, not EMG")
        table, left_out = _muscles(labels[1:], values.T[1:], side, _names(settings.names))
        curves["emg"] = strides.curves(
            values[:, 0], _some(table, settings.emg), -np.inf, settings.emg
        )
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
    labels: Sequence[str], values: np.ndarray, side: str, names: Mapping[str, str]
) -> tuple[Table, list[str]]:
    known = {name.lower(): name for name in COMPARED["emg"]} | _ALIASES
    table, left_out = {}, []
    for label, row in zip(labels, values, strict=True):
        plain = re.sub(rf"[-_ ]({side})$", "", label.lower())
        name = names.get(label) or known.get(re.sub(r"[_ ]", "-", plain))
        if name is None or name in table:
            left_out.append(label)
        else:
            table[name] = row
    return table, left_out


def _names(text: str) -> dict[str, str]:
    pairs = dict(item.split("=", 1) for item in text.split(";") if "=" in item)
    for label, name in pairs.items():
        if name not in COMPARED["emg"]:
            raise UserError(f"names: {label}={name}: expected one of {', '.join(COMPARED['emg'])}")
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
    choices = {"side": ("r", "l"), "forwards": ("x", "-x", "z", "-z")}
    settings = Settings(**load_settings(Settings, arguments, choices))
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
