"""Puts a clip on the floor by one constant shift of its root, and bends toes that nobody measured.

Measured on another person, the height of the pelvis fits other legs. Heel and sole are then
somewhere near the floor while a foot bears the body, and well above it only in flight. Frames of
stance are those in which their lowest point is less than 5 cm above its 5th percentile; the shift
brings its median over these frames to the floor. The toes do not count: few sources know their
joint, and stiff toes reach through the floor whenever the heel is raised. Bent no further than that
they stay above it, they lie on the floor while the heel rises, and leave it last.
"""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np

from retarget.demo.foot_contact import lowest_points
from sim.embodiment import Embodiment

#: How far above the lowest frames the feet may be in stance (m).
STANCE_HEIGHT = 0.05
_BISECTIONS = 10  # of a joint's range


def foot_heights(embodiment: Embodiment, qpos: np.ndarray, toes: bool = True) -> np.ndarray:
    """Return the lowest point of the left and of the right foot (T, 2) in m.

    Args:
        embodiment: the full body.
        qpos: (T, nq) postures.
        toes: whether the toes count, or heel and sole only.
    """
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    feet = [embodiment.foot_geoms[side] for side in ("left", "right")]
    if not toes:
        # A body comes before its children: the toes' geoms have the higher body.
        owners = [model.geom_bodyid[geoms] for geoms in feet]
        feet = [geoms[owner == owner.min()] for geoms, owner in zip(feet, owners, strict=True)]
    heights = np.zeros((len(qpos), 2))
    for row, posture in zip(heights, qpos, strict=True):
        data.qpos[:] = posture
        mujoco.mj_kinematics(model, data)
        row[:] = [lowest_points(model, data, geoms)[:, 2].min() for geoms in feet]
    return heights


def ground_shift(embodiment: Embodiment, qpos: np.ndarray) -> float:
    """Return what must be added to the root's height (m) for the feet to stand on the floor."""
    lowest = foot_heights(embodiment, qpos, toes=False).min(axis=1)
    stance = lowest < np.percentile(lowest, 5) + STANCE_HEIGHT
    return -float(np.median(lowest[stance]))


def bend_toes(
    embodiment: Embodiment, qpos: np.ndarray, sides: Sequence[str], floor: float
) -> np.ndarray:
    """Return postures whose toes are bent upwards by the least that keeps them above the floor.

    Args:
        embodiment: the full body.
        qpos: (T, nq) postures.
        sides: the feet whose toes are meant, of "left" and "right".
        floor: its height (m).
    """
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    bent = qpos.copy()
    for side in sides:
        geoms = embodiment.foot_geoms[side]
        owner = model.geom_bodyid[geoms]
        toes = geoms[owner == owner.max()]
        joint = model.joint(f"mtp_angle_{side[0]}")
        neutral, (lower, upper) = model.qpos0[joint.qposadr[0]], joint.range

        def height(posture: np.ndarray, toes: np.ndarray = toes) -> float:
            data.qpos[:] = posture
            mujoco.mj_kinematics(model, data)
            return float(lowest_points(model, data, toes)[:, 2].min())

        for posture in bent:
            if height(posture) >= floor:
                continue
            ends = []
            for end in (lower, upper):
                posture[joint.qposadr[0]] = end
                ends.append(height(posture))
            least, most = neutral, (lower, upper)[int(np.argmax(ends))]
            if max(ends) >= floor:
                for _ in range(_BISECTIONS):
                    posture[joint.qposadr[0]] = middle = (least + most) / 2
                    least, most = (least, middle) if height(posture) >= floor else (middle, most)
            posture[joint.qposadr[0]] = most
    return embodiment.couplings.complete_qpos(bent)
