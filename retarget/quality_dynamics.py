"""Inverse dynamics of a clip: external forces the motion needs that the ground cannot give.

A free body's acceleration fixes the force F and moment that its surroundings exert. The ground
supplies them at points of the feet near the floor, inside friction pyramids; what is left is the
residual, the hand that would have to hold the body up. At each frame

    minimise |A f - b|^2 + eps |f|^2   subject to f >= 0,

where b is force over moment about the centre of mass and A f that of forces along the pyramids'
edges. Its dual is smooth and has six unknowns however many points touch: f = max(0, A'y), where y
minimises phi(y) = 1/2 |max(0, A'y)|^2 + eps/2 |y|^2 - b'y. Newton's method with a line search finds
it in a few steps (Mangasarian 2004, Optimization Methods and Software 17:913, "A Newton method for
linear programming"), for all frames together; the residual is b - A f = eps y.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from retarget.zero_moment import pressure

_FRICTION = 0.8
GROUND_GAP = 0.015  # m: points of the feet below this height may carry force
#: Edges of a friction pyramid per unit of normal force (a point on the floor pushes up).
_EDGES = np.array(
    [[_FRICTION, 0, 1], [-_FRICTION, 0, 1], [0, _FRICTION, 1], [0, -_FRICTION, 1]], dtype=float
)
_REGULARISATION = (1e-2, 1e-4, 1e-6)  # each solution starts the next
_ITERATIONS = 40
_CONVERGED = 1e-6  # gradient of the dual (body weights): the force error that is left
_BATCH = 256  # frames whose matrices stay in the processor's cache


def dynamics_metrics(
    wrench: np.ndarray, root: np.ndarray, com: np.ndarray, points: np.ndarray, weight: float
) -> dict[str, Any]:
    """Return the fields of `Quality` about the forces that a motion needs.

    Residual forces are in percent of body weight, moments about the centre of mass in percent of
    body weight times one metre; force and moment weigh alike in these units. The mean vertical
    force is what the motion needs, not what the ground gives: 100 % over a clip that ends as fast
    as it began. Tipping is how far the zero-moment point is outside what the soles on the ground
    enclose (`retarget.zero_moment`), 0 without any. Only feet are supported: hands on the floor,
    chairs and stairs show up as residual.

    Args:
        wrench: (T, 6) force (N) and moment (Nm) about `root` that the motion needs, world axes.
        root: (T, 3) origin of the root body (m, world).
        com: (T, 3) centre of mass (m, world).
        points: (T, P, 3) lowest points of the feet (m, world).
        weight: body weight (N).
    """
    force = wrench[:, :3]
    moment = wrench[:, 3:] + np.cross(root - com, force)
    needed = np.concatenate((force, moment), axis=1) / weight
    near = points[..., 2] < GROUND_GAP
    residual = needed - ground_wrench(needed, com, points, near)
    pressed, areas = pressure(wrench, root, points, near, weight)
    tipping = 100 * np.linalg.norm(areas.way_back(pressed), axis=1)
    metrics: dict[str, Any] = {
        "tipping_mean_cm": float(tipping.mean()),
        "tipping_p95_cm": float(np.percentile(tipping, 95)),
        "vertical_force_mean_pct_bw": float(100 * needed[:, 2].mean()),
        "airborne_frames_pct": float(100 * (~near.any(axis=1)).mean()),
    }
    for kind, unit, part in (
        ("force", "bw", residual[:, :3]),
        ("moment", "bw_m", residual[:, 3:]),
    ):
        size = 100 * np.linalg.norm(part, axis=1)
        metrics[f"residual_{kind}_mean_pct_{unit}"] = float(size.mean())
        metrics[f"residual_{kind}_p95_pct_{unit}"] = float(np.percentile(size, 95))
        metrics[f"residual_{kind}_max_pct_{unit}"] = float(size.max())
    return metrics


def ground_wrench(
    needed: np.ndarray, com: np.ndarray, points: np.ndarray, near: np.ndarray
) -> np.ndarray:
    """Return the ground's force and moment (T, 6) that come nearest to those needed.

    Args:
        needed: (T, 6) force over moment about the centre of mass (any one unit of force, m).
        com: (T, 3) centre of mass (m).
        points: (T, P, 3) where the ground may push (m).
        near: (T, P) bool, whether it does.
    """
    supplied = np.zeros_like(needed)
    count = near.sum(axis=1)
    # Frames with as many points go together; those without any have no ground force.
    order = np.argsort(count, kind="stable")[np.searchsorted(np.sort(count), 1) :]
    for start in range(0, len(order), _BATCH):
        frames = order[start : start + _BATCH]
        width = count[frames].max()
        chosen = np.argsort(~near[frames], axis=1, kind="stable")[:, :width]
        arms = np.take_along_axis(points[frames], chosen[..., None], axis=1)
        arms = arms - com[frames, None]
        active = np.take_along_axis(near[frames], chosen, axis=1)
        edges = np.broadcast_to(_EDGES, (len(frames), width, 4, 3))
        columns = np.concatenate((edges, np.cross(arms[:, :, None], edges)), axis=-1)
        columns = (columns * active[..., None, None]).reshape(len(frames), -1, 6)
        supplied[frames] = project(columns, needed[frames])
    return supplied


def project(columns: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the points (B, 6) of cones that are nearest to targets (B, 6).

    Args:
        columns: (B, K, 6) generators of each cone, of order one; zero rows generate nothing.
        target: (B, 6).
    """
    dual = np.zeros_like(target)
    before = _REGULARISATION[0]
    for regularisation in _REGULARISATION:
        # The residual eps y hardly changes between levels.
        dual *= before / regularisation
        before = regularisation
        dual = _minimise(columns, target, regularisation, dual)
    return target - before * dual


def _minimise(
    columns: np.ndarray, target: np.ndarray, regularisation: float, start: np.ndarray
) -> np.ndarray:
    """Minimise the dual function of the module's docstring for a batch; return y (B, 6)."""
    solution = start.copy()
    todo = np.arange(len(target))
    for _ in range(_ITERATIONS):
        a, b, y = columns[todo], target[todo], solution[todo]
        force = np.maximum(_apply(a, y), 0)
        gradient = (force[:, None] @ a)[:, 0] + regularisation * y - b
        open_ = np.linalg.norm(gradient, axis=1) > _CONVERGED
        if not open_.any():
            break
        todo, a, b, y = todo[open_], a[open_], b[open_], y[open_]
        force, gradient = force[open_], gradient[open_]
        active = a * (force > 0)[..., None]
        hessian = np.swapaxes(active, 1, 2) @ active + regularisation * np.eye(6)
        step = -np.linalg.solve(hessian, gradient[..., None])[..., 0]
        solution[todo] = y + _line_search(a, b, regularisation, y, step)[:, None] * step
    return solution


def _line_search(
    a: np.ndarray, b: np.ndarray, regularisation: float, y: np.ndarray, step: np.ndarray
) -> np.ndarray:
    """Return step lengths (B,) that minimise the dual along `step`, by bisection of its slope.

    The slope along a line is increasing and piecewise linear, so that the longest step with a
    negative slope is within reach of bisection; a full Newton step is tried first.
    """
    along, rate = _apply(a, y), _apply(a, step)

    def slope(length: np.ndarray) -> np.ndarray:
        force = np.maximum(along + length[:, None] * rate, 0)
        ridge = ((y + length[:, None] * step) * step).sum(axis=1)
        return (force * rate).sum(axis=1) + regularisation * ridge - (b * step).sum(axis=1)

    low, high = np.zeros(len(b)), np.ones(len(b))
    overshoots = slope(high) > 0
    if not overshoots.any():
        return high
    for _ in range(12):
        middle = (low + high) / 2
        past = slope(middle) > 0
        low, high = np.where(past, low, middle), np.where(past, middle, high)
    return np.where(overshoots, (low + high) / 2, 1.0)


def _apply(a: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return A'y, (B, K), of generators (B, K, 6) and dual vectors (B, 6)."""
    return (a @ y[..., None])[..., 0]
