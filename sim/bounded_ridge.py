"""Ridge regression within bounds, exactly and fast where unknowns are many and equations few."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_NEWTON, _TOLERANCE = 60, 1e-6
_ENOUGH = 0.1  # of the decrease that a function of constant slope would show (Armijo's rule)


def bounded_ridge(
    matrix: np.ndarray,
    target: np.ndarray,
    center: np.ndarray,
    lowest: np.ndarray,
    highest: np.ndarray,
    effort: float,
    residual: np.ndarray | None = None,
) -> np.ndarray:
    """Minimise |A x - b|² + effort |x - c|² over lowest <= x <= highest, exactly.

    Newton's method on the residual y = A x - b, of which x = clip(c - Aᵀ y / effort) is a
    piecewise linear function: m unknowns in place of n (Qi and Sun 1993, Math. Program. 58:353).
    The y sought is where a convex function is lowest. Where a whole move takes it down well, the
    move is made; where not, it is followed to the lowest point along the move.

    Args:
        matrix: A (m, n).
        target: b (m,).
        center: c (n,).
        lowest, highest: bounds (n,).
        effort: above 0.
        residual: (m,) A x - b at the solution of a problem like this one, to start from.

    Returns:
        x (n,).
    """
    pull = matrix / effort

    def point(residual: np.ndarray) -> _Point:
        free = center - residual @ pull
        x = np.minimum(np.maximum(free, lowest), highest)
        reached, rise = matrix @ x, x - center
        height = residual @ (0.5 * residual + target - reached) - 0.5 * effort * (rise @ rise)
        return _Point(residual, free, x, residual + target - reached, height)

    identity = np.eye(len(target))
    at = point(np.zeros(len(target)) if residual is None else residual)
    for _ in range(_NEWTON):
        if at.error @ at.error < _TOLERANCE**2:
            break
        inside = (at.free > lowest) & (at.free < highest)
        move = -np.linalg.solve(identity + matrix[:, inside] @ pull[:, inside].T, at.error)
        slope, ahead = move @ at.error, point(at.residual + move)
        if ahead.height > at.height + _ENOUGH * slope:
            pace = -move @ pull
            part = _root(slope, move @ move, at.free, pace, lowest, highest, effort)
            ahead = point(at.residual + part * move)
        at = ahead
    return at.x


class _Point(NamedTuple):
    """A residual y, what follows from it, and the convex function's slope and height there."""

    residual: np.ndarray
    free: np.ndarray
    x: np.ndarray
    error: np.ndarray
    height: float


def _root(
    start: float,
    rise: float,
    free: np.ndarray,
    pace: np.ndarray,
    lowest: np.ndarray,
    highest: np.ndarray,
    effort: float,
) -> float:
    """Where along a move the convex function that Newton's method descends is lowest.

    Its slope, start at 0, is piecewise linear and rises: by `rise` at least, and by
    effort pace² more for every x = free + part * pace that is between its bounds.
    """
    moving = pace != 0
    pace, weight = pace[moving], effort * pace[moving] ** 2
    ends = (np.stack((lowest, highest))[:, moving] - free[moving]) / pace
    enter, leave = ends.min(0), ends.max(0)
    at = np.concatenate((enter, leave))
    change = np.concatenate((weight, -weight))
    later = at > 0
    order = np.argsort(at[later])
    at = np.concatenate(([0.0], at[later][order]))
    first = rise + weight[(enter <= 0) & (leave > 0)].sum()
    rises = first + np.concatenate(([0.0], np.cumsum(change[later][order])))
    slopes = start + np.concatenate(([0.0], np.cumsum(rises[:-1] * np.diff(at))))
    last = max(int(np.searchsorted(slopes, 0.0)) - 1, 0)
    return float(at[last] - slopes[last] / rises[last])
