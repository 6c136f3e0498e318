"""Force plates of an OpenSim trial: when feet land, how long a stride takes, body weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cfg.errors import UserError
from mm_torch.gait_cycle import LANDED, SAMPLES, landings
from retarget.importers.storage import read_columns

_EDGE = 0.05  # s before landing and after leaving in which a foot bears a little
#: Labels of a force component of the right and the left plate, as OpenSim's examples have them.
_FORCES = {
    "r": (r"ground_force_r_v{}", r"r_ground_force_v{}", r"ground_force_v{}"),
    "l": (r"ground_force_l_v{}", r"l_ground_force_v{}", r"1_ground_force_v{}"),
}


@dataclass(frozen=True)
class Strides:
    """When the foot lands first (s), how long a stride takes (s), and how many are measured."""

    first: float
    period: float
    count: int

    def curves(
        self, time: np.ndarray, table: dict[str, np.ndarray], since: float, where: str
    ) -> dict[str, np.ndarray]:
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
    clip = read_columns(path)
    columns = {label.lower().split("/")[-1]: label for label in clip.columns}
    found = {}
    for side, patterns in _FORCES.items():
        for pattern in patterns:
            wanted = [pattern.format(axis) for axis in "xyz"]
            if all(label in columns for label in wanted):
                labels = [columns[label] for label in wanted]
                clip.check(labels)
                found[side] = np.stack([clip.columns[label] for label in labels], axis=1)
                break
        else:
            raise UserError(
                f"forces={path}: no columns {_FORCES[side][0].format('x')}, ...y and ...z"
            )
    sign = -1.0 if forwards.startswith("-") else 1.0
    ahead, right = ("xz", 1.0) if forwards[-1] == "x" else ("zx", -1.0)
    axes = [("xyz").index(axis) for axis in (ahead[0], "y", ahead[1])]
    signs = np.array([sign, 1.0, sign * right])
    return clip.time, {side: values[:, axes] * signs for side, values in found.items()}
