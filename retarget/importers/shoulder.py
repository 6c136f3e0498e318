"""The shoulder: OpenSim's three rotations of the upper arm as the body's three joints.

OpenSim's full-body models turn the humerus against the torso about z (arm_flex, forwards), x
(arm_add, towards the trunk) and y (arm_rot, inwards), body-fixed in this order; on the left, x and
y count the other way. This body's joints are a plane of elevation, an elevation and an axial
rotation:

    R = Rot(a, elv_angle) Rot(b, shoulder_elv) Rot(a, -elv_angle) Rot(a, shoulder_rot),

with a the long axis of the hanging humerus and b, orthogonal to it, the axis of abduction; what its
clavicle and scapula do to the humerus, its couplings undo. Hence R is a swing about an axis
orthogonal to a, after a twist about a: the swing-twist decomposition of R is the solution.

The two humeri have different axes: their elbows' joint axes differ by 10 degrees about the
humerus. What must agree is the anatomy, the direction of the upper arm and the plane in which the
elbow bends.
"""

from __future__ import annotations

import mujoco
import numpy as np

from sim.embodiment import Embodiment

#: The right elbow in the humerus of the models of Hamner et al. 2010 and Rajagopal et al. 2016:
#: the joint's centre (m) and axis. The left one is its mirror image about the x-y plane.
_ELBOW_CENTRE = np.array([0.013144, -0.286273, -0.009595])
_ELBOW_AXIS = np.array([0.226047, 0.022269, 0.973862])
JOINTS = ("elv_angle", "shoulder_elv", "shoulder_rot")
COORDINATES = ("arm_flex", "arm_add", "arm_rot")


def rotation(axis: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Return rotation matrices (T, 3, 3) about an axis (3,) by angles (T,) in rad (Rodrigues)."""
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    angle = np.asarray(angle)[:, None, None]
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)


def humerus_rotation(angles: np.ndarray, side: str) -> np.ndarray:
    """Return OpenSim's rotations (T, 3, 3) of the humerus against the torso.

    Args:
        angles: (T, 3) arm_flex, arm_add, arm_rot (rad).
        side: "r" or "l".
    """
    mirror = 1.0 if side == "r" else -1.0
    flexion = rotation(np.array([0.0, 0.0, 1.0]), angles[:, 0])
    adduction = rotation(np.array([mirror, 0.0, 0.0]), angles[:, 1])
    return flexion @ adduction @ rotation(np.array([0.0, mirror, 0.0]), angles[:, 2])


def shoulder_angles(embodiment: Embodiment, angles: np.ndarray, side: str) -> np.ndarray:
    """Return the body's elv_angle, shoulder_elv and shoulder_rot (T, 3) in rad.

    Args:
        embodiment: either body.
        angles: (T, 3) OpenSim's arm_flex, arm_add, arm_rot (rad).
        side: "r" or "l".
    """
    long_axis, abduction, elbow_centre, elbow_axis = _joint_axes(embodiment, side)
    mirror = np.array([1.0, 1.0, 1.0 if side == "r" else -1.0])
    # An axis of rotation mirrors with the opposite sign: that of elbow flexion keeps its z.
    source = _anatomy(_ELBOW_CENTRE * mirror, _ELBOW_AXIS * mirror * mirror[2])
    target = humerus_rotation(angles, side) @ source @ _anatomy(elbow_centre, elbow_axis).T
    # Quaternions, with the part along the long axis as the twist.
    quaternions = np.zeros((len(target), 4))
    for quaternion, matrix in zip(quaternions, target, strict=True):
        mujoco.mju_mat2Quat(quaternion, matrix.ravel())
    twist = 2 * np.arctan2(quaternions[:, 1:] @ long_axis, quaternions[:, 0])
    twist = (twist + np.pi) % (2 * np.pi) - np.pi
    swing = target @ rotation(long_axis, -twist)
    # The swing carries the long axis; its own axis is orthogonal to both positions of that.
    moved = swing @ long_axis
    elevation = np.arctan2(np.linalg.norm(np.cross(long_axis, moved), axis=1), moved @ long_axis)
    axis = np.cross(long_axis, moved)
    plane = np.arctan2(axis @ np.cross(long_axis, abduction), axis @ abduction)
    return np.stack([plane, elevation, twist], axis=1)


def _joint_axes(
    embodiment: Embodiment, side: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Axes and elbow (centre, axis) of the hanging arm, in the thorax' axes (X forwards, Y up)."""
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    data.qpos[:] = embodiment.couplings.complete_qpos(model.qpos0)
    mujoco.mj_kinematics(model, data)
    thorax = data.body("thorax").xmat.reshape(3, 3)
    axes = [data.joint(f"{joint}_{side}").xaxis @ thorax for joint in JOINTS[:2]]
    elbow = data.joint(f"elbow_flex_{side}")
    centre = (elbow.xanchor - data.body(f"humerus_{side}").xpos) @ thorax
    return axes[0], axes[1], centre, elbow.xaxis @ thorax


def _anatomy(elbow_centre: np.ndarray, elbow_axis: np.ndarray) -> np.ndarray:
    """Axes (3, 3, columns) of a humerus: y from the elbow to the shoulder, z the elbow's axis."""
    y = -elbow_centre / np.linalg.norm(elbow_centre)
    z = elbow_axis - (elbow_axis @ y) * y
    z /= np.linalg.norm(z)
    return np.stack([np.cross(y, z), y, z], axis=1)
