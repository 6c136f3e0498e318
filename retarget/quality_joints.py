"""Joints of a clip: limits, couplings, peaks of the motion, and velocities that fit positions."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

from retarget.reference import differentiate
from sim.embodiment import Embodiment

_TOLERANCE = 1e-5  # rad or m, MuscleMimic's
_ROUNDING_HINGE = np.radians(0.1)
_ROUNDING_SLIDE = 1e-4  # m
_GRID = 2001


def joint_ranges(embodiment: Embodiment) -> np.ndarray:
    """Return the range (njnt, 2) that each joint is held to (rad or m), infinite where unlimited.

    The model's own ranges, with one allowance: a few dependent joints (`knee_angle_rotation2` and
    the patella's `knee_angle_beta`) leave their stated range by hundredths of a degree while their
    driver stays inside its own, which no posture that keeps the couplings can avoid. A dependent
    joint's range is therefore widened to what its coupling makes of the driver's range, where that
    is less than 0.1 degrees (0.1 mm for slides) beyond it. A larger excess, such as that of
    `L4_L5_FE`, comes from the driver's posture and counts as a violation.
    """
    model, couplings = embodiment.model, embodiment.couplings
    limited = model.jnt_limited.astype(bool)
    ranges = np.where(limited[:, None], model.jnt_range, [-np.inf, np.inf])
    # Every driver sweeps its range at once: each coupling has one driver.
    qpos = np.tile(model.qpos0, (_GRID, 1))
    drivers = np.unique(model.eq_obj2id[couplings.has_driver])
    for joint in drivers[limited[drivers]]:
        qpos[:, model.jnt_qposadr[joint]] = np.linspace(*model.jnt_range[joint], _GRID)
    image = couplings.positions(qpos)
    dependent = model.eq_obj1id
    slide = model.jnt_type[dependent] == mujoco.mjtJoint.mjJNT_SLIDE
    rounding = np.where(slide, _ROUNDING_SLIDE, _ROUNDING_HINGE)
    low, high = image.min(axis=0), image.max(axis=0)
    lower, upper = ranges[dependent].T
    ranges[dependent, 0] = np.where(lower - low < rounding, np.minimum(lower, low), lower)
    ranges[dependent, 1] = np.where(high - upper < rounding, np.maximum(upper, high), upper)
    return ranges


def limit_metrics(embodiment: Embodiment, qpos: np.ndarray) -> dict[str, Any]:
    """Return the fields of `Quality` about joint limits and couplings of postures (T, nq).

    The percentage is MuscleMimic's: (joint, frame) pairs more than 1e-5 rad or m outside the range,
    of all pairs of limited joints (`joint_ranges`) and frames.
    """
    model = embodiment.model
    joints = np.flatnonzero(model.jnt_limited)
    slide = model.jnt_type[joints] == mujoco.mjtJoint.mjJNT_SLIDE
    lower, upper = joint_ranges(embodiment)[joints].T
    values = qpos[:, model.jnt_qposadr[joints]]
    excess = np.maximum(lower - values, values - upper)
    outside = excess > _TOLERANCE
    worst = np.where(outside, excess, 0.0).max(axis=0)
    share = 100 * outside.mean(axis=0)
    names = [embodiment.joint_names[joint] for joint in joints]
    hinge_name, hinge_excess = _largest(names, np.where(slide, 0.0, worst))
    slide_name, slide_excess = _largest(names, np.where(slide, worst, 0.0))
    residual = np.abs(embodiment.couplings.residual(qpos))
    return {
        "joint_limit_violation_pct": float(100 * outside.mean()),
        "joint_limit_frames": int(outside.any(axis=1).sum()),
        "joint_limit_worst_deg": float(np.degrees(hinge_excess)),
        "joint_limit_worst_joint": hinge_name,
        "joint_limit_worst_slide_mm": 1e3 * slide_excess,
        "joint_limit_worst_slide": slide_name,
        "joint_limit_violation_pct_by_joint": {
            name: float(value) for name, value in zip(names, share, strict=True) if value > 0
        },
        "equality_residual_max": float(residual.max()) if residual.size else 0.0,
    }


def motion_metrics(
    embodiment: Embodiment, qpos: np.ndarray, qvel: np.ndarray, qacc: np.ndarray, fps: float
) -> dict[str, Any]:
    """Return the fields of `Quality` about speed, acceleration and consistency.

    Peaks are over all hinges, dependent ones too; jerk is the RMS over independent hinges and all
    frames. The velocity mismatch compares `qvel` with central differences of `qpos` in all frames
    but the first and last, which have none; it is None for fewer than three frames.

    Args:
        embodiment: the body.
        qpos, qvel, qacc: (T, nq), (T, nv), (T, nv).
        fps: frames a second.
    """
    model = embodiment.model
    hinges = np.flatnonzero(model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE)
    names, dofs = [embodiment.joint_names[j] for j in hinges], model.jnt_dofadr[hinges]
    fastest, velocity = _largest(names, np.abs(qvel[:, dofs]).max(axis=0))
    jerkiest, acceleration = _largest(names, np.abs(qacc[:, dofs]).max(axis=0))
    jerk = np.gradient(qacc[:, np.intersect1d(dofs, embodiment.independent_dofs)], axis=0) * fps
    root = mismatch = None
    if embodiment.has_root:
        root = float(np.linalg.norm(qacc[:, :3], axis=1).max())
    if len(qpos) > 2:
        mismatch = float(np.abs(qvel - differentiate(model, qpos, fps))[1:-1].max())
    return {
        "joint_velocity_max_rad_s": velocity,
        "joint_velocity_joint": fastest,
        "joint_acceleration_max_rad_s2": acceleration,
        "joint_acceleration_joint": jerkiest,
        "joint_jerk_rms_rad_s3": float(np.sqrt((jerk**2).mean())),
        "root_acceleration_max_m_s2": root,
        "velocity_mismatch_max": mismatch,
    }


def _largest(names: list[str], values: np.ndarray) -> tuple[str | None, float]:
    """Return the largest of non-negative `values` and its name, None where all are zero."""
    index = int(values.argmax())
    value = float(values[index])
    return (names[index] if value > 0 else None), value
