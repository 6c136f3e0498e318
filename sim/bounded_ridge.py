"""Ridge regression within bounds, exactly and fast where unknowns are many and equations few."""

from __future__ import annotations

import numpy as np

_NEWTON, _TOLERANCE = 60, 1e-6


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
    The y sought is where a convex function is lowest, along every move of which it is followed
    to the lowest point.

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
    residual = np.zeros(len(target)) if residual is None else residual
    identity = np.eye(len(target))
    for _ in range(_NEWTON):
        free = center - matrix.T @ residual / effort
        x = np.clip(free, lowest, highest)
        error = residual + target - matrix @ x
        if np.linalg.norm(error) < _TOLERANCE:
            break
        inside = matrix[:, (free > lowest) & (free < highest)]
        move = -np.linalg.solve(identity + inside @ inside.T / effort, error)
        pace = -matrix.T @ move / effort
        slope, rise = move @ error, move @ move
        residual = residual + _root(slope, rise, free, pace, lowest, highest, effort) * move
    return x


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
