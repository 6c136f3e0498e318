"""How far the parts of a body are from each other, and which way lies apart."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import mujoco
import numpy as np

from sim.embodiment import Embodiment


@dataclass(frozen=True)
class NearPairs:
    """Pairs of geoms that are closer than a margin, over T postures.

    Attributes:
        frame: (C,) the posture of each pair.
        geoms: (C, 2) ids.
        distance: (C,) m, negative where they overlap.
        slope: (C, nv) its derivative by each degree of freedom (m/s per unit of velocity).
    """

    frame: np.ndarray
    geoms: np.ndarray
    distance: np.ndarray
    slope: np.ndarray


class PairDistances:
    """Finds pairs of a body's own geoms that are closer than a margin.

    Only the pairs that the model lets collide are looked at.
    """

    def __init__(self, embodiment: Embodiment, margin: float) -> None:
        """Args: ``margin`` is the largest distance reported (m)."""
        # A copy whose collision detection reports pairs before they touch, and no floor.
        self._model = copy.copy(embodiment.model)
        self._model.pair_margin[:] = margin
        self._model.geom_contype[:] = self._model.geom_conaffinity[:] = 0

    def __call__(self, qpos: np.ndarray) -> NearPairs:
        """Evaluate postures (T, nq)."""
        model, data = self._model, mujoco.MjData(self._model)
        first, second = np.zeros((3, model.nv)), np.zeros((3, model.nv))
        frames, geoms, distances, slopes = [], [], [], []
        for frame, pose in enumerate(qpos):
            data.qpos[:] = pose
            mujoco.mj_kinematics(model, data)
            mujoco.mj_collision(model, data)
            if not data.ncon:
                continue
            mujoco.mj_comPos(model, data)  # which the Jacobians need
            for contact in data.contact:
                one, other = model.geom_bodyid[contact.geom]
                mujoco.mj_jac(model, data, first, None, contact.pos, one)
                mujoco.mj_jac(model, data, second, None, contact.pos, other)
                frames.append(frame)
                geoms.append(contact.geom.copy())
                distances.append(contact.dist)
                # The normal points from the first geom to the second.
                slopes.append(contact.frame[:3] @ (second - first))
        return NearPairs(
            frame=np.array(frames, dtype=int),
            geoms=np.array(geoms, dtype=int).reshape(-1, 2),
            distance=np.array(distances),
            slope=np.array(slopes).reshape(-1, model.nv),
        )
