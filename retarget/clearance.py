"""Keeps a motion above the floor, without jolts."""

from __future__ import annotations

import mujoco
import numpy as np

from sim.embodiment import Embodiment

_REACH = 0.08  # s before and after a penetration over which the body is raised
_ALLOWED = 2e-4  # m


def lowest_heights(embodiment: Embodiment, qpos: np.ndarray) -> np.ndarray:
    """Return the height (T,) of the lowest point of any colliding geom (m) at postures (T, nq)."""
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    colliding = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
    colliding[embodiment.floor_geom] = False
    geoms = np.flatnonzero(colliding & (model.geom_bodyid != 0))
    kind, size = model.geom_type[geoms], model.geom_size[geoms]
    capsule = kind == mujoco.mjtGeom.mjGEOM_CAPSULE
    sphere = kind == mujoco.mjtGeom.mjGEOM_SPHERE
    ellipsoid = kind == mujoco.mjtGeom.mjGEOM_ELLIPSOID
    other = ~(capsule | sphere | ellipsoid)
    heights = np.empty(len(qpos))
    for frame, pose in enumerate(qpos):
        data.qpos[:] = pose
        mujoco.mj_kinematics(model, data)
        down = data.geom_xmat[geoms, 6:]  # the world's vertical in each geom's axes
        # How far each shape reaches below its centre; a box stands for what has no formula.
        reach = np.where(capsule, size[:, 0] + size[:, 1] * np.abs(down[:, 2]), size[:, 0])
        reach = np.where(ellipsoid, np.sqrt(((size * down) ** 2).sum(1)), reach)
        reach = np.where(other, (size * np.abs(down)).sum(1), reach)
        heights[frame] = (data.geom_xpos[geoms, 2] - reach).min()
    return heights


def raise_above_floor(embodiment: Embodiment, qpos: np.ndarray, fps: float) -> np.ndarray:
    """Return qpos (T, nq) with the root raised wherever something is below the floor.

    The rise is the upper envelope of the depths, widened by `_REACH` and averaged over as much: a
    smooth curve that is nowhere less than the depth, unlike a lift of each frame by itself, whose
    jitter the velocities would carry.
    """
    depth = np.maximum(-lowest_heights(embodiment, qpos) - _ALLOWED, 0.0)
    if not depth.any():
        return qpos
    reach = max(round(_REACH * fps), 1)
    padded = np.pad(depth, 2 * reach, mode="edge")
    widest = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(axis=1)
    window = np.hanning(2 * reach + 3)[1:-1]
    lift = np.convolve(widest, window / window.sum(), mode="valid")
    raised = qpos.copy()
    raised[:, 2] += lift
    return raised
