"""How close the legs come to each other, and how both legs' joints change that."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import mujoco
import numpy as np

from retarget.demo.gait_pose import LEG_JOINTS, leg_chain
from sim.embodiment import Embodiment

_LEG_BODIES = ("femur", "tibia", "talus", "calcn", "toes")


@dataclass(frozen=True)
class LegClearance:
    """Pairs of leg geoms that are closer than a margin, over T postures.

    Attributes:
        frame: (C,) the posture of each pair.
        distance: (C,) m, negative where they overlap.
        by_right, by_left: (C, 7) derivatives of the distance by the joints of either leg.
    """

    frame: np.ndarray
    distance: np.ndarray
    by_right: np.ndarray
    by_left: np.ndarray


class LegClearances:
    """Finds the pairs of leg geoms that are closer than `margin` (m)."""

    def __init__(self, embodiment: Embodiment, margin: float):
        self.embodiment = embodiment
        # A copy whose collision detection reports pairs before they touch.
        self.model = copy.copy(embodiment.model)
        self.model.pair_margin[:] = margin
        self.side = {
            self.model.body(f"{name}_{side}").id: side for side in "rl" for name in _LEG_BODIES
        }

    def __call__(self, qpos: np.ndarray) -> LegClearance:
        """Evaluate postures (T, nq)."""
        model, data = self.model, mujoco.MjData(self.model)
        slopes = self.embodiment.couplings.slopes(qpos)
        point = np.zeros((3, model.nv))
        frames, distances, gradients = [], [], {"r": [], "l": []}
        for frame, pose in enumerate(qpos):
            data.qpos[:] = pose
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
            mujoco.mj_collision(model, data)
            for contact in data.contact:
                bodies = model.geom_bodyid[contact.geom]
                if {self.side.get(body) for body in bodies} != {"r", "l"}:
                    continue
                frames.append(frame)
                distances.append(contact.dist)
                # The normal points from the first geom to the second.
                for body, sign in zip(bodies, (-1.0, 1.0), strict=True):
                    mujoco.mj_jac(model, data, point, None, contact.pos, body)
                    chain = leg_chain(self.embodiment, self.side[body], slopes[frame])
                    gradients[self.side[body]].append(sign * contact.frame[:3] @ point @ chain)
        shape = (len(frames), len(LEG_JOINTS))
        return LegClearance(
            frame=np.array(frames, dtype=int),
            distance=np.array(distances),
            by_right=np.array(gradients["r"]).reshape(shape),
            by_left=np.array(gradients["l"]).reshape(shape),
        )
