"""How the difference between two simulators grows over control steps, from many states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sim.warp_parity import Parity

#: Excitations to compare under: those of an untrained policy, or anything at all.
EXCITATIONS = ("policy", "uniform")
# An untrained policy's Gaussian, through the sigmoid, and how long its noise lasts.
_MEAN, _STD, _CORRELATION = -2.5, 1.0, 0.8
#: Percentiles over states that are reported.
PERCENTILES = (50, 90, 99)


def excitation_sequence(
    kind: str, steps: int, count: int, nu: int, rng: np.random.Generator
) -> torch.Tensor:
    """Draw open-loop excitations (steps, count, nu), float32 in [0, 1], each state's own.

    Args:
        kind: "policy": sigmoid(-2.5 + x), x of unit variance with correlation 0.8 from step to
            step, as the configured policies explore before training; "uniform": independent
            uniform draws each step, which make every muscle pull half of the time.
        steps: number of control steps.
        count: number of states.
        nu: number of muscles.
        rng: of the draws.

    Raises:
        ValueError: unknown kind.
    """
    if kind not in EXCITATIONS:
        raise ValueError(f"excitations are {kind!r}: expected one of {', '.join(EXCITATIONS)}")
    if kind == "uniform":
        return torch.as_tensor(rng.random((steps, count, nu)), dtype=torch.float32)
    noise = rng.standard_normal((steps, count, nu))
    for step in range(1, steps):
        noise[step] = _CORRELATION * noise[step - 1] + np.sqrt(1 - _CORRELATION**2) * noise[step]
    return torch.as_tensor(_MEAN + _STD * noise, dtype=torch.float32).sigmoid()


@dataclass(frozen=True)
class Growth:
    """Largest difference within each state, by control step.

    Attributes:
        qpos: (steps, n) of any entry of qpos (rad, m, quaternion entries).
        act: (steps, n) of any activation.
        force: (steps, n) of any muscle force, as a share of the muscle's peak force.
        invalid: (steps, n) states that a simulator has declared invalid by then; zero above.
    """

    qpos: np.ndarray
    act: np.ndarray
    force: np.ndarray
    invalid: np.ndarray

    @classmethod
    def of(cls, parities: Sequence[Parity]) -> Growth:
        """Reduce what `compare_steps` returned."""
        parts = (
            [getattr(parity, name).max(1) for parity in parities]
            for name in ("qpos", "act", "force")
        )
        return cls(*(np.stack(part) for part in parts), np.stack([p.invalid for p in parities]))

    def percentiles(self, name: str) -> np.ndarray:
        """Return (steps, 3): median, 90th and 99th percentile over the valid states.

        Args:
            name: "qpos", "act" or "force". NaN where no state is valid.
        """
        values = np.where(self.invalid, np.nan, getattr(self, name))
        rows = [row[~np.isnan(row)] for row in values]
        nothing = np.full(len(PERCENTILES), np.nan)
        return np.stack([np.percentile(r, PERCENTILES) if len(r) else nothing for r in rows])

    def diverged_at(self, limit: float) -> np.ndarray:
        """Return (n,) the first control step (from 1) with a difference in qpos above `limit`.

        0 where there is none. A state that becomes invalid has diverged.
        """
        beyond = (self.qpos > limit) | self.invalid
        return np.where(beyond.any(0), beyond.argmax(0) + 1, 0)


def joint_differences(parities: Sequence[Parity], percent: float = 90.0) -> list[tuple[str, float]]:
    """Return each joint and a percentile over states of its difference at the last step.

    Sorted, the largest first; of a joint with several coordinates the largest counts.
    """
    last = parities[-1]
    values = np.percentile(last.qpos[~last.invalid], percent, axis=0)
    largest: dict[str, float] = {}
    for name, value in zip(last.joint_of, values, strict=True):
        largest[name] = max(largest.get(name, 0.0), float(value))
    return sorted(largest.items(), key=lambda item: -item[1])
