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
        feet = [_without_and_toes(model, geoms)[0] for geoms in feet]
    return np.array([_lowest(model, data, posture, feet) for posture in qpos])


def _without_and_toes(model: mujoco.MjModel, geoms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the geoms of heel and sole, and those of the toes, of a foot's."""
    # A body comes before its children: the toes' geoms have the higher body.
    owner = model.geom_bodyid[geoms]
    return geoms[owner == owner.min()], geoms[owner == owner.max()]


def _lowest(
    model: mujoco.MjModel, data: mujoco.MjData, posture: np.ndarray, parts: Sequence[np.ndarray]
) -> list[float]:
    """Return the height (m) of the lowest point of each set of geoms at a posture (nq,)."""
    data.qpos[:] = posture
    mujoco.mj_kinematics(model, data)
    return [float(lowest_points(model, data, geoms)[:, 2].min()) for geoms in parts]


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
        _, toes = _without_and_toes(model, embodiment.foot_geoms[side])
        joint = model.joint(f"mtp_angle_{side[0]}")
        column, upwards = joint.qposadr[0], joint.range[0]  # extension is negative
        for posture in bent:
            if _lowest(model, data, posture, [toes])[0] >= floor:
                continue
            least, most = posture[column], upwards
            # Where even the end of the range is too little, this goes there.
            for _ in range(_BISECTIONS):
                posture[column] = middle = (least + most) / 2
                above = _lowest(model, data, posture, [toes])[0] >= floor
                least, most = (least, middle) if above else (middle, most)
            posture[column] = most
    return embodiment.couplings.complete_qpos(bent)
