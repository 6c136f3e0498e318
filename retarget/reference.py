"""From joint positions to a complete motion: velocities, and mimic sites by kinematics."""

from __future__ import annotations

import mujoco
import numpy as np

from retarget.motion import Motion
from sim.embodiment import Embodiment


def differentiate(model: mujoco.MjModel, qpos: np.ndarray, fps: float) -> np.ndarray:
    """Return velocities (T, nv) by central differences, one-sided at the ends.

    MuJoCo's convention (`mj_differentiatePos`): free-joint angular velocity is in body axes.

    Args:
        model: the body.
        qpos: (T, nq) positions, T >= 2.
        fps: frames a second.
    """
    qvel = np.zeros((len(qpos), model.nv))
    for frame in range(len(qpos)):
        before, after = max(frame - 1, 0), min(frame + 1, len(qpos) - 1)
        mujoco.mj_differentiatePos(
            model, qvel[frame], (after - before) / fps, qpos[before], qpos[after]
        )
    return qvel


def make_motion(
    name: str,
    embodiment: Embodiment,
    qpos: np.ndarray,
    fps: float,
    source: str,
    qvel: np.ndarray | None = None,
) -> Motion:
    """Complete joint positions (T, nq) to a motion.

    Velocities are central differences of the positions unless `qvel` (T, nv) is given; mimic-site
    positions, orientations and velocities follow by MuJoCo's kinematics.
    """
    model = embodiment.model
    data = mujoco.MjData(model)
    qpos = np.asarray(qpos, dtype=np.float64)
    if qvel is None:
        qvel = differentiate(model, qpos, fps)
    frames, sites = len(qpos), len(embodiment.mimic_sites)
    site_pos, site_quat = np.zeros((frames, sites, 3)), np.zeros((frames, sites, 4))
    site_vel = np.zeros((frames, sites, 6))
    for frame in range(frames):
        data.qpos[:], data.qvel[:] = qpos[frame], qvel[frame]
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_comVel(model, data)
        for row, site in enumerate(embodiment.site_ids):
            site_pos[frame, row] = data.site_xpos[site]
            mujoco.mju_mat2Quat(site_quat[frame, row], data.site_xmat[site])
            # flg_local = 0: world axes, at the site; MuJoCo orders angular before linear.
            mujoco.mj_objectVelocity(
                model, data, mujoco.mjtObj.mjOBJ_SITE, site, site_vel[frame, row], 0
            )
    motion = Motion(
        name=name,
        embodiment=embodiment.name,
        model=embodiment.fingerprint,
        fps=float(fps),
        joint_names=embodiment.joint_names,
        site_names=embodiment.mimic_sites,
        qpos=qpos,
        qvel=np.asarray(qvel, dtype=np.float64),
        site_pos=site_pos,
        site_quat=site_quat,
        site_vel=site_vel,
        source=source,
    )
    motion.check(name, embodiment)
    return motion
