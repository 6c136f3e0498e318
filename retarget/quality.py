"""The quality of a retargeted clip, in numbers: how near it is to its targets, and how possible.

MuscleMimic's metrics by MuscleMimic's definitions (so that numbers compare), and others on contact,
motion and dynamics. One pass over the frames; what each number means is said where it is measured.

Cost on one core, for a frame of fullbody: about 0.1 ms for kinematics, contacts and the rest,
0.3 ms for the tendons, 0.1 ms for the dynamics.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from retarget.quality_contact import collision_metrics, foot_points, ground_metrics
from retarget.quality_dynamics import dynamics_metrics
from retarget.quality_joints import limit_metrics, motion_metrics
from retarget.quality_record import Quality, QualityError
from retarget.quality_replay import replay
from sim.embodiment import Embodiment
from sim.rotations import matrix_to_quat, quat_angle

__all__ = ["Quality", "QualityError", "check_quality"]


def check_quality(
    embodiment: Embodiment,
    qpos: np.ndarray,
    qvel: np.ndarray,
    fps: float,
    target_pos: np.ndarray | None = None,
    target_quat: np.ndarray | None = None,
    contact: np.ndarray | None = None,
    tendons: bool = True,
    dynamics: bool = True,
) -> Quality:
    """Measure a clip.

    A body without a root or feet has None where a check needs them.

    Args:
        embodiment: the body.
        qpos: (T, nq) positions, T >= 2.
        qvel: (T, nv) velocities in MuJoCo's convention.
        fps: frames a second.
        target_pos: (T, nsite, 3) where the mimic sites should be (m, world), NaN without a target.
        target_quat: (T, nsite, 4) their orientations (w first), NaN without a target.
        contact: (T, P) bool, which points of the feet are planned to stand; the points are those of
            `quality_contact.foot_points`.
        tendons: look for tendon jumps.
        dynamics: compare the forces that the motion needs with what the ground can give.

    Raises:
        QualityError: arrays of wrong shapes, positions or velocities that are not finite.
    """
    model = embodiment.model
    qpos, qvel = np.asarray(qpos, dtype=np.float64), np.asarray(qvel, dtype=np.float64)
    frames, sites = len(qpos), len(embodiment.mimic_sites)
    _check("qpos", qpos, (frames, model.nq))
    _check("qvel", qvel, (frames, model.nv))
    for name, target, width in (("target_pos", target_pos, 3), ("target_quat", target_quat, 4)):
        if target is not None:
            _check(name, target, (frames, sites, width), finite=False)
    if frames < 2:
        raise QualityError(f"a clip of {frames} frame(s), expected at least 2: leave it out")
    if not (np.isfinite(fps) and fps > 0):
        raise QualityError(f"fps is {fps}, expected a positive number: check the clip's frame rate")
    qacc = np.gradient(qvel, 1.0 / fps, axis=0)
    record = replay(embodiment, qpos, qvel, qacc if dynamics else None, tendons)
    points, owner = foot_points(embodiment, record.foot_pos, record.foot_mat)
    if contact is not None:
        contact = np.asarray(contact, dtype=bool)
        _check("contact", contact, (frames, points.shape[1]))
    metrics: dict[str, Any] = {}
    if target_pos is not None:
        metrics |= _position_metrics(embodiment, record.site_pos, target_pos)
    if target_quat is not None:
        metrics |= _orientation_metrics(embodiment, record.site_mat, target_quat)
    metrics |= limit_metrics(embodiment, qpos)
    metrics |= ground_metrics(embodiment, record, points, owner, contact, fps)
    metrics |= collision_metrics(embodiment, record.contacts, frames)
    metrics |= motion_metrics(embodiment, qpos, qvel, qacc, fps)
    if record.tendons is not None:
        metrics |= record.tendons.metrics()
    if record.wrench is not None:
        # A free root's origin is its position in qpos.
        weight = float(model.body_subtreemass[0] * np.linalg.norm(model.opt.gravity))
        metrics |= dynamics_metrics(record.wrench, qpos[:, :3], record.com, points, weight)
    return Quality(frames=frames, **metrics)


def _check(name: str, array: np.ndarray, shape: tuple[int, ...], finite: bool = True) -> None:
    if np.shape(array) != shape:
        raise QualityError(
            f"{name} has shape {np.shape(array)}, expected {shape}: give arrays of one clip and "
            f"this embodiment"
        )
    if finite and not np.isfinite(array).all():
        bad = ~np.isfinite(array).reshape(len(array), -1).all(axis=1)
        raise QualityError(
            f"{name} is not finite in {bad.sum()} of {len(array)} frames, the first is frame "
            f"{int(bad.argmax())}: the clip was not solved"
        )


def _position_metrics(
    embodiment: Embodiment, position: np.ndarray, target: np.ndarray
) -> dict[str, Any]:
    """Distances (cm) of sites (T, nsite, 3) from targets; overall numbers pool sites and frames.

    RMSE is MuscleMimic's: the root of the mean squared distance.
    """
    error = 1e2 * np.linalg.norm(position - target, axis=-1)
    known = np.isfinite(error)
    if not known.any():
        return {}
    every = error[known]
    by_site = _by_site(embodiment, error)
    return {
        "site_error_mean_cm": float(every.mean()),
        "site_error_p95_cm": float(np.percentile(every, 95)),
        "site_error_max_cm": float(every.max()),
        "site_error_rmse_cm": float(np.sqrt((every**2).mean())),
        "site_error_mean_cm_by_site": {site: float(e.mean()) for site, e in by_site.items()},
        "site_error_p95_cm_by_site": {
            site: float(np.percentile(e, 95)) for site, e in by_site.items()
        },
        "site_error_max_cm_by_site": {site: float(e.max()) for site, e in by_site.items()},
    }


def _orientation_metrics(
    embodiment: Embodiment, rotation: np.ndarray, target: np.ndarray
) -> dict[str, Any]:
    """Angles (deg) between site axes (T, nsite, 3, 3) and target orientations (T, nsite, 4)."""
    goal = torch.as_tensor(target, dtype=torch.float64)
    goal = goal / goal.norm(dim=-1, keepdim=True)
    angle = quat_angle(matrix_to_quat(torch.from_numpy(rotation)), goal)
    error = np.degrees(angle.numpy())
    if not np.isfinite(error).any():
        return {}
    return {
        "orientation_error_mean_deg": float(np.nanmean(error)),
        "orientation_error_mean_deg_by_site": {
            site: float(e.mean()) for site, e in _by_site(embodiment, error).items()
        },
    }


def _by_site(embodiment: Embodiment, error: np.ndarray) -> dict[str, np.ndarray]:
    """Return each site's known errors; sites without any target are left out."""
    columns = zip(embodiment.mimic_sites, error.T, strict=True)
    known = {site: column[np.isfinite(column)] for site, column in columns}
    return {site: column for site, column in known.items() if len(column)}
