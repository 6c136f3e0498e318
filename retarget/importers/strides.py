"""Walks longer than they were measured: a belt's travel added, one gait cycle repeated.

A laboratory's volume holds a stride or two; a controller that is to walk needs more. The gait cycle
is the shortest time after which the whole posture and its velocity come back. Where the clip goes
on beyond one cycle, its first frames fade from those a cycle later, so that the end runs into the
beginning; otherwise what the ends differ by is spread over the cycle.
"""

from __future__ import annotations

import mujoco
import numpy as np

from retarget.importers.source import SourceError
from sim.embodiment import Embodiment

_SHORTEST = 0.5  # s: no person's stride is shorter, even of a sprint
_RETURNED = 0.2  # share of the clip's own variance within which a posture has come back
_FADE = 0.2  # s over which one cycle fades into the next, at most
_FEWEST = 0.1  # s of overlap below which there is no fading
_STILL = 1e-6  # rad², m²: variance of a clip in which nothing moves
_LEAD = 0.1  # s: weight of velocities against positions


def add_belt(qpos: np.ndarray, fps: float, speed: float) -> np.ndarray:
    """Return postures (T, nq) that travel with the belt of a treadmill, at `speed` (m/s).

    The belt runs against where the pelvis faces on average.
    """
    facing = np.mean([_axes(quat)[:2] @ [0.0, -1.0, 0.0] for quat in qpos[:, 3:7]], axis=0)
    moved = qpos.copy()
    way = speed / fps * np.arange(len(qpos))
    moved[:, :2] += way[:, None] * facing / np.linalg.norm(facing)
    return moved


def repeat_cycle(
    embodiment: Embodiment, qpos: np.ndarray, fps: float, strides: int, where: str
) -> tuple[np.ndarray, str]:
    """Return the gait cycle of a clip, repeated, and a sentence on it.

    Args:
        embodiment: a body with a free root.
        qpos: (T, nq) postures.
        fps: frames a second.
        strides: how often the cycle is played.
        where: what to call the clip in an error.

    Returns:
        (strides * P + 1, nq) postures, P the frames of a cycle.

    Raises:
        SourceError: no posture of the clip comes back.
    """
    values, mean = _flat(embodiment, qpos)
    start, period = find_cycle(values, fps, where)
    cycle, travel = _periodic(values, start, period, fps)
    done, phase = np.divmod(np.arange(strides * period + 1), period)
    repeated = cycle[phase]
    repeated[:, :2] += done[:, None] * travel
    note = (
        f"gait cycle of {period / fps:.2f} s from {start / fps:.2f} s on, "
        f"{np.linalg.norm(travel):.2f} m long, repeated {strides} times"
    )
    return _postures(embodiment, repeated, mean), note


def find_cycle(values: np.ndarray, fps: float, where: str) -> tuple[int, int]:
    """Return the first frame and the number of frames of the clip's gait cycle.

    Args:
        values: (T, n) postures, horizontal position first.
        fps: frames a second.
        where: what to call the clip in an error.

    Raises:
        SourceError: no posture comes back.
    """
    frames, shortest = len(values), round(_SHORTEST * fps)
    speed = np.gradient(values, 1 / fps, axis=0)
    features = np.concatenate((values[:, 2:], _LEAD * speed), axis=1)
    spread = 2 * features.var(axis=0).sum()
    periods = np.arange(shortest, frames)
    if not len(periods) or spread < _STILL:
        raise SourceError(f"{where}: no gait cycle: expected more than {_SHORTEST:g} s of motion")
    apart = [((features[p:] - features[:-p]) ** 2).sum(axis=1) / spread for p in periods]
    mean = np.array([row.mean() for row in apart])
    lowest = (mean <= np.append(mean[1:], np.inf)) & (mean <= np.append(np.inf, mean[:-1]))
    found = np.flatnonzero(lowest & (mean < _RETURNED))
    if not len(found):
        best = int(mean.argmin())
        raise SourceError(
            f"{where}: no gait cycle: no posture comes back (nearest after "
            f"{periods[best] / fps:.2f} s, {100 * mean[best]:.0f} % of the clip's variance off, "
            f"expected less than {100 * _RETURNED:.0f} %): leave out strides="
        )
    period = int(periods[found[0]])
    fade = _fade(frames, period, fps)
    seam = np.convolve(apart[found[0]], np.ones(fade) / fade, mode="valid")
    return int(seam.argmin()), period


def _fade(frames: int, period: int, fps: float) -> int:
    """How many frames of a cycle's beginning the clip also has a cycle later, at most `_FADE`."""
    return min(round(_FADE * fps), frames - period)


def _periodic(
    values: np.ndarray, start: int, period: int, fps: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return one cycle (P, n) whose end runs into its beginning, and the way (2,) it travels."""
    fade = _fade(len(values), period, fps)
    cycle = values[start : start + period].copy()
    later = values[start + period : start + period + fade].copy()
    travel = (later[:, :2] - cycle[:fade, :2]).mean(axis=0)
    later[:, :2] -= travel
    if fade >= round(_FEWEST * fps):
        share = (np.arange(fade) + 1) / (fade + 1)
        share = (3 * share**2 - 2 * share**3)[:, None]
        cycle[:fade] = share * cycle[:fade] + (1 - share) * later
    else:
        cycle -= (np.arange(period)[:, None] / period - 0.5) * (later[0] - cycle[0])
    return cycle, travel


def _axes(quat: np.ndarray) -> np.ndarray:
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, quat)
    return matrix.reshape(3, 3)


def _flat(embodiment: Embodiment, qpos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return postures as vectors (T, 6 + n), which can be averaged, and their mean orientation.

    They are the root's position, the rotation vector from the mean orientation, and the joints that
    follow no other.
    """
    signs = np.where(qpos[:, 3:7] @ qpos[0, 3:7] < 0, -1.0, 1.0)
    mean = (signs[:, None] * qpos[:, 3:7]).mean(axis=0)
    mean /= np.linalg.norm(mean)
    turn = np.zeros((len(qpos), 3))
    for row, quat in zip(turn, qpos[:, 3:7], strict=True):
        mujoco.mju_subQuat(row, quat, mean)
    return np.hstack((qpos[:, :3], turn, qpos[:, embodiment.independent_qpos])), mean


def _postures(embodiment: Embodiment, values: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return the postures (T, nq) of vectors."""
    qpos = np.tile(embodiment.model.qpos0, (len(values), 1))
    qpos[:, :3], qpos[:, 3:7] = values[:, :3], mean
    qpos[:, embodiment.independent_qpos] = values[:, 6:]
    for posture, turn in zip(qpos, values[:, 3:6], strict=True):
        mujoco.mju_quatIntegrate(posture[3:7], turn, 1.0)
    return embodiment.couplings.complete_qpos(qpos)
