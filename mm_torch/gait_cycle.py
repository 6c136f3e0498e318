"""A walk cut into gait cycles, and how near its mean cycle comes to people's.

Curves over a gait cycle have 100 samples from one landing of a foot to the next, 0 to 100 %.
People's are read from tables with the columns ``pct_gait_cycle``, NAME and NAME_sd (standard
deviation over trials), in files PREFIX_kinematics.csv (deg), PREFIX_grf.csv (% of body weight),
PREFIX_joint_torques.csv (Nm) and PREFIX_emg.csv (any unit), in the names and signs of OpenSim's
gait models: those of Falisse et al. (2019, J R Soc Interface 16:20190402), for one.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from cfg.errors import UserError

SAMPLES = 100
LANDED = 5.0  # % of body weight, from which a foot is on the ground
_REST = 0.1  # s, that a foot is off the ground before it lands

#: What can be compared: table to its column to the body's quantities (their mean) and the sign.
COMPARED: dict[str, dict[str, tuple[tuple[str, ...], float]]] = {
    "kinematics": {
        "hip_flexion": (("hip_flexion",), 1.0),
        "hip_adduction": (("hip_adduction",), 1.0),
        "hip_rotation": (("hip_rotation",), 1.0),
        "knee_angle": (("knee_angle",), -1.0),
        "ankle_angle": (("ankle_angle",), 1.0),
        "subtalar_angle": (("subtalar_angle",), 1.0),
    },
    "grf": {
        "Vertical": (("up",), 1.0),
        "Fore-aft": (("forwards",), 1.0),
        "Lateral": (("outwards",), 1.0),
    },
    "joint_torques": {
        "hip_flexion": (("hip_flexion",), 1.0),
        "hip_adduction": (("hip_adduction",), 1.0),
        "knee_angle": (("knee_angle",), -1.0),
        "ankle_angle": (("ankle_angle",), 1.0),
    },
    "emg": {
        "Gluteus-medius": (("glmed1", "glmed2", "glmed3"), 1.0),
        "Gluteus-medialis": (("glmed1", "glmed2", "glmed3"), 1.0),  # as Falisse et al. call it
        "Tensor-fasciae-latae": (("tfl",), 1.0),
        "Adductor-longus": (("addlong",), 1.0),
        "Rectus-femoris": (("recfem",), 1.0),
        "Vastus-lateralis": (("vaslat",), 1.0),
        "Vastus-medialis": (("vasmed",), 1.0),
        "Hamstrings-lateralis": (("bflh", "bfsh"), 1.0),
        "Hamstrings-medialis": (("semimem", "semiten"), 1.0),
        "Tibialis-anterior": (("tibant",), 1.0),
        "Soleus": (("soleus",), 1.0),
        "Gastrocnemius-lateralis": (("gaslat",), 1.0),
        "Gastrocnemius-medialis": (("gasmed",), 1.0),
        "Peroneus-longus": (("perlong",), 1.0),
        "Peroneus-brevis": (("perbrev",), 1.0),
    },
}
UNITS = {"kinematics": "deg", "grf": "% BW", "joint_torques": "Nm/kg", "emg": "of peak"}


@dataclass(frozen=True)
class Curve:
    """A quantity over the gait cycle: mean and standard deviation, (100,) each."""

    mean: np.ndarray
    deviation: np.ndarray

    def scaled(self, factor: float) -> Curve:
        """Return the curve in other units."""
        return Curve(self.mean * factor, self.deviation * abs(factor))

    def of_peak(self) -> Curve:
        """Return the curve as shares of its mean's peak; zero if that is."""
        peak = float(self.mean.max())
        return self.scaled(1.0 / peak if peak > 0 else 0.0)


@dataclass(frozen=True)
class Agreement:
    """How near a curve comes to people's.

    Attributes:
        r: Pearson's correlation over the cycle; NaN where either is constant.
        error: root mean square difference.
        human: root mean square of people's standard deviation.
    """

    r: float
    error: float
    human: float


def agreement(curve: Curve, human: Curve) -> Agreement:
    """Compare the means of two curves in the same unit."""
    spread = curve.mean.std() * human.mean.std()
    r = np.nan
    if spread > 0:
        product = (curve.mean - curve.mean.mean()) * (human.mean - human.mean.mean())
        r = float(product.mean() / spread)
    error = float(np.sqrt(np.square(curve.mean - human.mean).mean()))
    return Agreement(r, error, float(np.sqrt(np.square(human.deviation).mean())))


def landings(vertical: np.ndarray, fps: float) -> np.ndarray:
    """Return the samples at which a foot lands.

    Args:
        vertical: (T,) vertical ground force (% of body weight).
        fps: samples a second.
    """
    found, off = [], 0
    for sample, on in enumerate(vertical > LANDED):
        if on and off >= round(_REST * fps):
            found.append(sample)
        off = 0 if on else off + 1
    return np.array(found, dtype=int)


def cycles(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return the strides (n, 100) of a quantity (T,) between one start and the next, linearly."""
    samples = np.arange(len(values))
    share = np.linspace(0.0, 1.0, SAMPLES)
    strides = [
        np.interp(first + share * (last - first), samples, values)
        for first, last in pairwise(starts)
    ]
    return np.array(strides).reshape(-1, SAMPLES)


def curve_of(strides: Iterable[np.ndarray]) -> Curve:
    """Return mean and standard deviation over all strides, (n, 100) each; at least one."""
    every = np.concatenate(list(strides))
    return Curve(every.mean(0), every.std(0))


def read_human(prefix: str, mass: float) -> dict[str, dict[str, Curve]]:
    """Read the tables that there are: table to column to curve, joint torques per mass.

    Args:
        prefix: path and beginning of the files' names.
        mass: of the person (kg).

    Raises:
        UserError: no table, or one that cannot be read.
    """
    tables = {}
    for table, columns in COMPARED.items():
        path = Path(f"{prefix}_{table}.csv")
        if path.is_file():
            scale = 1.0 / mass if table == "joint_torques" else 1.0
            curves = _read(path, columns)
            tables[table] = {name: curve.scaled(scale) for name, curve in curves.items()}
    if not tables:
        raise UserError(
            f"human={prefix}: no table there, expected {prefix}_kinematics.csv or one of "
            f"{', '.join(f'_{table}.csv' for table in COMPARED)}"
        )
    return tables


def _read(path: Path, columns: Mapping[str, object]) -> dict[str, Curve]:
    try:
        with path.open(newline="") as file:
            header, *rows = list(csv.reader(file))
        values = np.array(rows, dtype=float)
        share = values[:, header.index("pct_gait_cycle")]
        found = {}
        for name in columns:
            if name in header:
                both = (values[:, header.index(column)] for column in (name, f"{name}_sd"))
                grid = np.linspace(0.0, 100.0, SAMPLES)
                found[name] = Curve(*(np.interp(grid, share, column) for column in both))
    except (ValueError, IndexError) as error:
        raise UserError(
            f"{path}: not a table of gait cycles (pct_gait_cycle, NAME, NAME_sd): {error}"
        ) from error
    if not found:
        raise UserError(f"{path}: none of its columns is compared: expected {', '.join(columns)}")
    if not (share[0] == 0 and share[-1] == 100 and (np.diff(share) > 0).all()):
        raise UserError(f"{path}: pct_gait_cycle should rise from 0 to 100")
    if not all(np.isfinite((curve.mean, curve.deviation)).all() for curve in found.values()):
        raise UserError(f"{path}: values are missing or not finite")
    return found
