"""The least displacement of a body that lets it fall in the air: a banded least-squares problem.

The displacement d (its upward part z) of each frame t is the least of

    sum_t  ease |d_t|² + weight_t |share d''_t - wanted_t|² / g² + short_t (z_t - reach_t)²

with d'' second differences. Its matrix has five diagonals, and is eliminated frame by frame.
"""

from __future__ import annotations

import numpy as np

#: m/s²
GRAVITY = 9.81
_EASE = 0.3  # per m²
_SHORT = 1e3  # per m², of a body higher or lower than it may be


def least_displacement(
    before: np.ndarray,
    wanted: np.ndarray,
    weight: np.ndarray,
    reach: np.ndarray,
    share: float,
    fps: float,
) -> np.ndarray:
    """Return the displacement (T, 3) of the module's docstring, level at both ends (m).

    Args:
        before: (T, 3) displacement with which `wanted` was found (m).
        wanted: (T, 3) accelerations of the centre of mass on top of what that gives (m/s²).
        weight: (T, 3).
        reach: (T, 2) how far down and up the body may go (m); held to where `before` was further.
        share: of a displacement, what the centre of mass moves by.
        fps: frames a second.
    """
    gain = share * fps**2 / GRAVITY
    middle = np.full((len(before), 1), -2.0)
    middle[[0, -1]] = -1.0

    def bent(values: np.ndarray) -> np.ndarray:
        result = middle * values
        result[1:] += values[:-1]
        result[:-1] += values[1:]
        return gain * result

    # The matrix of second differences is symmetric.
    rhs = bent(weight * (bent(before) + wanted / GRAVITY))
    heavy = gain**2 * weight
    diagonal = _EASE + middle**2 * heavy
    diagonal[1:] += heavy[:-1]
    diagonal[:-1] += heavy[1:]
    for limit, sign in zip(reach.T, (-1.0, 1.0), strict=True):
        further = sign * (before[:, 2] - limit) > 0
        diagonal[further, 2] += _SHORT
        rhs[further, 2] += _SHORT * limit[further]
    product = middle * heavy
    return solve_pentadiagonal(diagonal, product[:-1] + product[1:], heavy[1:-1], rhs)


def solve_pentadiagonal(
    diagonal: np.ndarray, first: np.ndarray, second: np.ndarray, rhs: np.ndarray
) -> np.ndarray:
    """Solve symmetric positive definite systems with five diagonals, n of them, by L D L'.

    Args:
        diagonal: (T, n).
        first, second: (T - 1, n) and (T - 2, n), the diagonals next to it.
        rhs: (T, n).

    Returns:
        (T, n).
    """
    count = len(diagonal)
    pivot, x = diagonal.copy(), rhs.copy()
    below, further = np.zeros_like(diagonal), np.zeros_like(diagonal)  # of L, row by row
    for t in range(1, count):
        coupling = first[t - 1].copy()
        if t > 1:
            further[t] = second[t - 2] / pivot[t - 2]
            coupling -= further[t] * below[t - 1] * pivot[t - 2]
            pivot[t] -= further[t] * second[t - 2]
            x[t] -= further[t] * x[t - 2]
        below[t] = coupling / pivot[t - 1]
        pivot[t] -= below[t] * coupling
        x[t] -= below[t] * x[t - 1]
    x /= pivot
    for t in range(count - 2, -1, -1):
        x[t] -= below[t + 1] * x[t + 1]
        if t < count - 2:
            x[t] -= further[t + 2] * x[t + 2]
    return x
