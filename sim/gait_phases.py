"""When the feet of a motion are off the ground, and what follows from that for every frame."""

from __future__ import annotations

import mujoco
import numpy as np

from sim.embodiment import Embodiment

_CLEAR = 0.004  # m, from which a foot is off the ground
_FAST = 0.8  # m/s, with which no foot moves that bears weight
_CLEARANCE = 0.05, 0.1  # m, up to which a swinging foot is lifted, and from which it is not
#: Time (s) before and after a frame in which no foot is off the ground where a body stands.
STILL = 0.5


def swing_phases(
    embodiment: Embodiment, qpos: np.ndarray, fps: float, short: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return when each foot is off the ground, (T,) bool, in no short runs, and how high it is.

    A captured foot may graze the ground in mid-swing: its lowest part is fast then, and it counts
    as off. Heights are of the lowest part, (T,) (m).
    """
    model, floor = embodiment.model, embodiment.floor_geom
    data = mujoco.MjData(model)
    gap, speed = {}, {}
    for foot, geoms in embodiment.foot_geoms.items():
        gaps, places = np.zeros((len(qpos), len(geoms))), np.zeros((len(qpos), len(geoms), 2))
        for frame, pose in enumerate(qpos):
            data.qpos[:] = pose
            mujoco.mj_kinematics(model, data)
            places[frame] = data.geom_xpos[geoms, :2]
            gaps[frame] = [
                mujoco.mj_geomDistance(model, data, floor, int(geom), 0.5, None) for geom in geoms
            ]
        gap[foot] = gaps.min(1)
        velocity = np.gradient(places, 1 / fps, axis=0)[np.arange(len(qpos)), gaps.argmin(1)]
        speed[foot] = np.linalg.norm(velocity, axis=-1)
    swing = {}
    for foot, values in gap.items():
        off = (values > _CLEAR) | (speed[foot] > _FAST)
        for start, end in runs(off):
            if end - start < short:
                off[start:end] = False
        swing[foot] = off
    return swing, gap


def standing_phases(off: np.ndarray, still: int) -> np.ndarray:
    """Frames (T,) with no foot off the ground in any of so many before and after them."""
    total = np.concatenate(([0], np.cumsum(off)))
    frame = np.arange(len(off))
    last = np.minimum(frame + still + 1, len(off))
    return total[last] == total[np.maximum(frame - still, 0)]


def running_phases(off: np.ndarray, about: int, alone: int) -> np.ndarray:
    """Frames (T,) within so many of a flight that one foot pushed off to, as in a run.

    Args:
        off: (feet, T) bool, when each is off the ground.
        about: frames before and after a flight.
        alone: frames before it in which some foot, but not all, is off. In a jump none is.
    """
    running = np.zeros(off.shape[1], bool)
    for start, end in runs(off.all(0)):
        before = off[:, max(start - alone, 0) : start].any(0)
        if len(before) and before.all():
            running[max(start - about, 0) : end + about] = True
    return running


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Starts and ends of the runs of true."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(int)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def correction_share(off: np.ndarray, blend: int, release: int) -> np.ndarray:
    """Part (T,) of a step's correction that is asked for: all of it in swing, then less and less.

    The hip of a foot put further ahead would else pull the trunk after it as soon as it has landed.
    """
    share = np.zeros(len(off))
    for start, end in runs(off):
        share[start:end] = np.minimum((np.arange(end - start) + 1) / blend, 1.0)
        fading = share[end : end + release]
        fading[:] = np.maximum(fading, 1.0 - (np.arange(len(fading)) + 1) / (release + 1))
    return share


def lift_share(off: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Part (T,) of a lift that a swinging foot takes: none where it clears the ground by far.

    Args:
        off: (T,) bool, when it swings.
        height: (T,) of its lowest part (m).
    """
    share = np.zeros(len(off))
    for start, end in runs(off):
        phase = (np.arange(end - start) + 0.5) / (end - start)
        low = np.interp(height[start:end].max(), _CLEARANCE, (1.0, 0.0))
        share[start:end] = low * np.sin(np.pi * phase) ** 2
    return share


def grip(off: np.ndarray, yielding: float) -> np.ndarray:
    """Part (T,) of a swinging leg's weight that it is held with; 1 where the foot does not swing.

    Within `yielding` frames of landing it falls evenly, and is nothing in the last quarter of them:
    a leg that is held firmly to its motion to the last kicks its knee straight where a person's
    brakes it.
    """
    share = np.ones(len(off))
    for start, end in runs(off) if yielding > 0 else ():
        left = end - np.arange(start, end)
        share[start:end] = np.clip((left - yielding / 4) / (0.75 * yielding), 0.0, 1.0)
    return share


def about_landing(off: np.ndarray, reach: float) -> np.ndarray:
    """How much a frame is about a landing, (T,): 1 within a third of `reach` frames, then less."""
    frame, share = np.arange(len(off)), np.zeros(len(off))
    for _, end in runs(off):
        share = np.maximum(share, np.clip(1.5 * (1.0 - np.abs(frame - end) / reach), 0.0, 1.0))
    return share


def landings(off: np.ndarray) -> np.ndarray:
    """First frame of the swing that a frame is in, and of the stance after it, (T, 2); else -1."""
    landing = np.full((len(off), 2), -1)
    for start, end in runs(off):
        landing[start:end] = start, min(end, len(off) - 1)
    return landing
