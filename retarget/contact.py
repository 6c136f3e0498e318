"""Foot contact: which part of a foot stands when, and where it should stay.

A part of a foot (heel or toes) stands while its lowest point is near the ground and slow, by two
thresholds each (it must be clearly down to begin, clearly up to end). While it stands, its points
are held on the ground where they are on average: anchored, not frozen, so that a person who
shuffles on the spot may still do so.
"""

from __future__ import annotations

import numpy as np

_HEIGHT = (0.030, 0.045)  # m: begins below the first, ends above the second
_SPEED = (0.35, 0.60)  # m/s, likewise
_SHORTEST = 0.06  # s: shorter contacts and shorter gaps are noise
_RAMP = 0.05  # s: over which the hold sets in and lets go
_BIN = 0.1  # s: width of the means between which an anchor is linear
_SETTLE = 0.4  # s: time constant with which a long-standing part may creep


def ground_height(lowest: np.ndarray, speed: np.ndarray) -> float:
    """Height of the floor under a clip (m): the median of the lowest point's while it is slow.

    Args:
        lowest: (T,) height of the lowest point of both feet.
        speed: (T,) its horizontal speed (m/s).
    """
    slow = speed < _SPEED[0]
    # In a flight phase nothing slow is near the ground; keep what is near the clip's lower end.
    near = lowest < np.percentile(lowest, 10) + 0.05
    if (slow & near).sum() >= 5:
        return float(np.median(lowest[slow & near]))
    return float(np.percentile(lowest, 5))


def point_speed(points: np.ndarray, fps: float) -> np.ndarray:
    """Speed (T, K) of points (T, K, 3) in m/s, by central differences."""
    return np.linalg.norm(np.gradient(points, 1 / fps, axis=0), axis=-1)


def detect(height: np.ndarray, speed: np.ndarray, fps: float) -> np.ndarray:
    """Return when a part stands (T, P) bool, of its height (m) and speed (m/s), each (T, P)."""
    begins = (height < _HEIGHT[0]) & (speed < _SPEED[0])
    goes_on = (height < _HEIGHT[1]) & (speed < _SPEED[1])
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


def hold(standing: np.ndarray, fps: float) -> np.ndarray:
    """Return how firmly (T, P), 0 to 1, a part is held: raised-cosine ramps inside each contact."""
    ramp = max(round(_RAMP * fps), 1)
    firmness = np.zeros(standing.shape)
    for part in range(standing.shape[1]):
        for start, end in _runs(standing[:, part]):
            t = np.arange(end - start)
            # A contact that reaches the clip's end has no ramp there.
            rise = (t + 1) / ramp if start > 0 else np.ones(len(t))
            fall = (end - start - t) / ramp if end < len(standing) else np.ones(len(t))
            edge = np.clip(np.minimum(rise, fall), 0, 1)
            firmness[start:end, part] = 0.5 - 0.5 * np.cos(np.pi * edge)
    return firmness


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
