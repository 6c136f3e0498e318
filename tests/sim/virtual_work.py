"""Moments by virtual work: what forces do along a small step of one joint."""

from __future__ import annotations

import mujoco
import numpy as np

from sim.embodiment import Embodiment


def moment_of(
    body: Embodiment,
    model: mujoco.MjModel,
    qpos: np.ndarray,
    address: int,
    force: np.ndarray,
    passive: np.ndarray,
    step: float = 1e-5,
) -> float:
    """Moment (Nm) about a joint of actuator forces (nu,) and generalised ones (nv,) at a posture.

    Args:
        body: whose couplings take dependent joints along.
        model: of the body.
        qpos: (nq,) posture.
        address: of the joint in it.
        force, passive: forces of actuators, as MuJoCo signs them, and of passive tissue.
        step: half of the step (rad).
    """
    other, lengths, poses = mujoco.MjData(model), [], []
    for sign in (1, -1):
        moved = qpos.copy()
        moved[address] += sign * step
        moved = body.couplings.complete_qpos(moved)
        other.qpos[:] = moved
        mujoco.mj_fwdPosition(model, other)
        lengths.append(other.actuator_length.copy())
        poses.append(moved)
    change = np.zeros(model.nv)
    mujoco.mj_differentiatePos(model, change, 2 * step, poses[1], poses[0])
    return float(force @ (lengths[0] - lengths[1]) / (2 * step) + passive @ change)
