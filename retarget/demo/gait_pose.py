"""The measured gait cycle as postures of the full body, the root's translation left out.

World axes: the body faces -y, its right side is at -x, z is up. The axes of the measured data
(OpenSim: X forwards, Y up, Z right) are therefore -y, z and -x. All signs were checked against the
model's joint axes.
"""

from __future__ import annotations

import mujoco
import numpy as np

from retarget.demo.gait_table import curve, symmetric_curve
from sim.embodiment import Embodiment

#: Joints of a leg without the side's suffix; all but the toes have a measured curve.
LEG_JOINTS = (
    "hip_flexion",
    "hip_adduction",
    "hip_rotation",
    "knee_angle",
    "ankle_angle",
    "subtalar_angle",
    "mtp_angle",
)
#: Curves that count the other way in the body: its knee flexes with a positive angle.
_SIGN = {"knee_angle": -1.0}
#: Trunk joint of each measured curve, what its steps have in common, and the rotation of the thorax
#: against the pelvis per unit of the joint: its couplings spread it over five vertebral levels.
_LUMBAR = {
    "lumbar_extension": ("flex_extension", "even", 1.83),
    "lumbar_bending": ("lat_bending", "odd", 1.82),
    "lumbar_rotation": ("axial_rotation", "odd", 1.13),
}
#: Axis of each pelvis rotation at the upright pose, in the order in which they are applied.
_PELVIS = {
    "pelvis_tilt": ((-1.0, 0.0, 0.0), "even"),
    "pelvis_list": ((0.0, -1.0, 0.0), "odd"),
    "pelvis_rotation": ((0.0, 0.0, 1.0), "odd"),
}
#: Pronation of the hanging forearms (rad); not measured.
_PRONATION = 0.25


def leg_angles(phase: np.ndarray) -> np.ndarray:
    """Return the right leg's measured angles (T, 7) in `LEG_JOINTS` order (rad), the toes' zero."""
    angles = np.zeros((len(phase), len(LEG_JOINTS)))
    for column, joint in enumerate(LEG_JOINTS[:-1]):
        angles[:, column] = np.radians(_SIGN.get(joint, 1.0) * curve(joint, phase))
    return angles


def arm_angles(phase: np.ndarray) -> dict[str, np.ndarray]:
    """Return the right arm's angles (T,) by joint (rad).

    The data's flexion, then adduction, give the direction of the upper arm; the body's joints are
    its elevation and the plane of that.
    """
    flexion, adduction = np.radians(curve("arm_flex", phase)), np.radians(curve("arm_add", phase))
    sideways = -np.sin(adduction)
    forwards, down = np.cos(adduction) * np.sin(flexion), np.cos(adduction) * np.cos(flexion)
    return {
        "elv_angle": np.arctan2(forwards, sideways),
        "shoulder_elv": np.arccos(down),
        "shoulder_rot": np.radians(curve("arm_rot", phase)),
        "elbow_flex": np.radians(curve("elbow_flex", phase)),
        "pro_sup": np.full(len(phase), _PRONATION),
    }


def pelvis_orientation(phase: np.ndarray) -> np.ndarray:
    """Return the pelvis' quaternions (T, 4)."""
    quaternions = np.tile([1.0, 0.0, 0.0, 0.0], (len(phase), 1))
    turn = np.zeros(4)
    for name, (axis, parity) in _PELVIS.items():
        angles = np.radians(symmetric_curve(name, phase, parity))
        for quaternion, angle in zip(quaternions, angles, strict=True):
            mujoco.mju_axisAngle2Quat(turn, np.array(axis), angle)
            mujoco.mju_mulQuat(quaternion, quaternion.copy(), turn)
    return quaternions


def gait_qpos(embodiment: Embodiment, phase: np.ndarray, legs: np.ndarray) -> np.ndarray:
    """Return postures (T, nq) with the root's translation at zero, equalities satisfied.

    Args:
        embodiment: the full body.
        phase: (T,) phases k / T of one cycle, T even: the left side is half a cycle later.
        legs: (T, 7) angles of the right leg (rad).
    """
    model = embodiment.model
    qpos = np.tile(model.qpos0, (len(phase), 1))
    qpos[:, :3] = 0.0
    qpos[:, 3:7] = pelvis_orientation(phase)
    for name, (joint, parity, gain) in _LUMBAR.items():
        angles = np.radians(symmetric_curve(name, phase, parity)) / gain
        qpos[:, model.joint(joint).qposadr[0]] = angles
    right = arm_angles(phase) | dict(zip(LEG_JOINTS, legs.T, strict=True))
    for joint, angles in right.items():
        qpos[:, model.joint(f"{joint}_r").qposadr[0]] = angles
        qpos[:, model.joint(f"{joint}_l").qposadr[0]] = np.roll(angles, -(len(phase) // 2))
    return embodiment.couplings.complete_qpos(qpos)


def leg_chain(embodiment: Embodiment, side: str, slopes: np.ndarray) -> np.ndarray:
    """Return (nv, 7) velocities of all joints per leg joint of `side` ("r" or "l").

    Args:
        embodiment: the full body.
        side: "r" or "l".
        slopes: (ndep,) slopes of the couplings at the posture: joints that follow the knee.
    """
    dofs = [embodiment.model.joint(f"{joint}_{side}").dofadr[0] for joint in LEG_JOINTS]
    chain = np.zeros((embodiment.model.nv, len(dofs)))
    chain[dofs, np.arange(len(dofs))] = 1.0
    couplings = embodiment.couplings
    followers = zip(couplings.dof_adr, couplings.driver_dof_adr, slopes, strict=True)
    for dependent, driver, slope in followers:
        if slope and driver in dofs:
            chain[dependent, dofs.index(driver)] = slope
    return chain
