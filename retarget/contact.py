"""Foot contact: which part of a foot stands when, and where it should stay.

A part of a foot (heel or toes) stands while its lowest point is near the ground and slow, by two
thresholds each (it must be clearly down to begin, clearly up to end). While it stands, its points
are held on the ground where they are on average: anchored, not frozen, so that a person who
shuffles on the spot may still do so.
"""

from __future__ import annotations

import numpy as np

from sim.gait_phases import STILL, standing_phases

_HEIGHT = (0.030, 0.045)  # m: begins below the first, ends above the second
#: Speed (m/s) below which a part begins to stand, and above which it does no more.
SPEED = (0.35, 0.60)
_ROUGH = 0.01  # m: how exactly standing feet lie in a plane
_SLOPE = 0.02  # usual slope of a captured floor
_STEEPEST = 0.05
_HELD_UP = 0.12  # m: slow feet higher than this above the lowest tenth are not on the floor
_FEWEST = 5  # slow frames that make a floor
#: Speed (m/s) of a body up to which its feet stand by `SPEED`, and faster ones by as much more.
_PACE = 1.5
_TRAVEL = 0.5  # s over which that speed is a mean
_SHORTEST = 0.06  # s: shorter contacts and shorter gaps are noise
_RAMP = 0.05  # s: over which the hold sets in and lets go, at a walk's pace
_BIN = 0.1  # s: width of the means between which an anchor is linear
_SETTLE = 0.4  # s: time constant with which a long-standing part may creep


def floor_plane(points: np.ndarray, speed: np.ndarray) -> np.ndarray:
    """Fit the floor under a clip: height = a + b x + c y, returned as (3,) a (m), b, c.

    The floor of a capture volume is often a degree off level, centimetres over a few steps. What is
    slow is taken to stand on it, robustly, since a foot that is held up is slow too (Cauchy's loss,
    1 cm). Slopes are believed as far as the clip goes: the prior has a deviation of 2 %, and a
    slope over 5 % is no error of a floor.

    Args:
        points: (T, F, 3) lowest point of each foot (m).
        speed: (T, F) its speed (m/s).
    """
    slow = (speed < SPEED[0]).ravel()
    spots = points.reshape(-1, 3)
    if slow.sum() < _FEWEST:
        return np.array([np.percentile(spots[:, 2], 5), 0.0, 0.0])
    spots = spots[slow]
    spots = spots[spots[:, 2] < np.percentile(spots[:, 2], 10) + _HELD_UP]
    centre = spots[:, :2].mean(axis=0)
    design = np.column_stack((np.ones(len(spots)), spots[:, :2] - centre))
    # Frames of one stance say the same: they count as one for every 0.3 s at 100 Hz.
    prior = np.diag([0.0, 1.0, 1.0]) * 30 * (_ROUGH / _SLOPE) ** 2
    height, plane = spots[:, 2], np.array([np.median(spots[:, 2]), 0.0, 0.0])
    for scale in (3, 3, 3, 2, 2, 1, 1, 1, 1, 1):
        weight = 1 / (1 + ((height - design @ plane) / (scale * _ROUGH)) ** 2)
        normal = design.T @ (weight[:, None] * design) + prior
        plane = np.linalg.solve(normal, design.T @ (weight * height))
    if np.hypot(*plane[1:]) > _STEEPEST:
        plane = np.array([np.median(height), 0.0, 0.0])
    return np.array([plane[0] - plane[1:] @ centre, *plane[1:]])


def floor_height(plane: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Height of a plane (3,) at horizontal positions (m)."""
    return plane[0] + plane[1] * x + plane[2] * y


def point_speed(points: np.ndarray, fps: float) -> np.ndarray:
    """Speed (T, K) of points (T, K, 3) in m/s, by central differences."""
    return np.linalg.norm(np.gradient(points, 1 / fps, axis=0), axis=-1)


def pace(root: np.ndarray, fps: float) -> np.ndarray:
    """How much faster than a walk (T,) a body travels, 1 for a walk: its feet come to rest faster.

    Args:
        root: (T, 2) its horizontal position (m).
        fps: frames a second.
    """
    width = min(round(_TRAVEL * fps), len(root) - 1)
    if width < 1:
        return np.ones(len(root))
    travel = np.linalg.norm(root[width:] - root[:-width], axis=1) * fps / width
    before = width // 2
    travel = np.pad(travel, (before, width - before), mode="edge")
    return np.maximum(travel / _PACE, 1.0)


def detect(
    height: np.ndarray, speed: np.ndarray, fps: float, limits: tuple[float, float] = SPEED
) -> np.ndarray:
    """Return when a part stands (T, P) bool.

    Args:
        height: (T, P) of parts (m).
        speed: (T, P) m/s, over the `pace`.
        fps: frames a second.
        limits: speeds (m/s) below which a part begins to stand, and above which it does no more.
    """
    begins = (height < _HEIGHT[0]) & (speed < limits[0])
    goes_on = (height < _HEIGHT[1]) & (speed < limits[1])
    standing = np.zeros_like(begins)
    shortest = max(round(_SHORTEST * fps), 1)
    for part in range(height.shape[1]):
        state = np.zeros(len(height), dtype=bool)
        # Every stretch in which contact may go on counts if contact begins somewhere in it.
        for start, end in _runs(goes_on[:, part]):
            begun = np.flatnonzero(begins[start:end, part])
            if len(begun):
                state[start + begun[0] : start + begun[-1] + 1] = True
        for start, end in _runs(~state):
            if start > 0 and end < len(state) and end - start < shortest:
                state[start:end] = True
        for start, end in _runs(state):
            inside = start > 0 and end < len(state)
            if inside and end - start < shortest:
                state[start:end] = False
        standing[:, part] = state
    return standing


def hold(standing: np.ndarray, fps: float, pace: np.ndarray | None = None) -> np.ndarray:
    """Return how firmly (T, P), 0 to 1, a part is held: raised-cosine ramps inside each contact.

    Args:
        standing: (T, P) bool.
        fps: frames a second.
        pace: (T,) of the body, a walk's where left out.
    """
    firmness = np.zeros(standing.shape)
    for part in range(standing.shape[1]):
        for start, end in _runs(standing[:, part]):
            t = np.arange(end - start)
            # A run's contacts are as much shorter, and begin and end as much harder.
            quick = 1.0 if pace is None else pace[start:end].mean()
            ramp = max(round(_RAMP * fps / quick**2), 1)
            # A contact that reaches the clip's end has no ramp there.
            rise = (t + 1) / ramp if start > 0 else np.ones(len(t))
            fall = (end - start - t) / ramp if end < len(standing) else np.ones(len(t))
            edge = np.clip(np.minimum(rise, fall), 0, 1)
            firmness[start:end, part] = 0.5 - 0.5 * np.cos(np.pi * edge)
    return firmness


def stillness(standing: np.ndarray, fps: float) -> np.ndarray:
    """Return how much (T,), 0 to 1, a body stands on the spot, with no step before or to come.

    Args:
        standing: (T, 4) bool, left heel, left toes, right heel, right toes.
        fps: frames a second.
    """
    lifted = ~(standing[:, :2].any(axis=1) & standing[:, 2:].any(axis=1))
    frames = round(STILL * fps)
    # The mean over as long sets in and fades while no foot is off the ground yet.
    half = frames // 2
    still = np.pad(standing_phases(lifted, frames).astype(float), half, mode="edge")
    return np.convolve(still, np.full(2 * half + 1, 1 / (2 * half + 1)), mode="valid")


def anchors(points: np.ndarray, weight: np.ndarray, fps: float) -> np.ndarray:
    """Where the points of one part should stay while it stands.

    Within each contact the anchor a minimises sum w |a - p|² + (settle fps)² sum |a' - a|²: the
    mean of a short contact, a slow drift in a long one. It is found for means over a tenth of a
    second, between which it is linear.

    Args:
        points: (T, K, 2) horizontal positions (m).
        weight: (T,) how firmly the part is held; contacts are runs of positive weight.

    Returns:
        (T, K, 2), equal to `points` outside contacts.
    """
    anchor = points.copy()
    width = max(round(_BIN * fps), 1)
    for start, end in _runs(weight > 0):
        frame = np.arange(end - start)
        count = max((end - start) // width, 1)
        share = np.minimum(frame * count // (end - start), count - 1)  # bin of each frame
        w = np.bincount(share, weight[start:end], count)
        total = np.zeros((count, *points.shape[1:]))
        np.add.at(total, share, weight[start:end, None, None] * points[start:end])
        bins = _drift(total, w, (_SETTLE / _BIN) ** 2 * width)
        centre = np.bincount(share, frame, count) / np.bincount(share, minlength=count)
        for k, axis in np.ndindex(points.shape[1:]):
            anchor[start:end, k, axis] = np.interp(frame, centre, bins[:, k, axis])
    return anchor


def _drift(total: np.ndarray, weight: np.ndarray, tie: float) -> np.ndarray:
    """Solve (diag(w) + tie D'D) a = total, D the first difference, by the Thomas algorithm."""
    count, a = len(total), total.copy()
    diagonal = weight + tie * np.array([(i > 0) + (i < count - 1) for i in range(count)])
    for i in range(1, count):
        factor = tie / diagonal[i - 1]
        diagonal[i] -= factor * tie
        a[i] += factor * a[i - 1]
    a[-1] /= diagonal[-1]
    for i in range(count - 2, -1, -1):
        a[i] = (a[i] + tie * a[i + 1]) / diagonal[i]
    return a


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Start and end (exclusive) of each run of true flags."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(int), [0]))))
    return list(zip(edges[::2], edges[1::2], strict=True))
