"""How close the legs come to each other, and how both legs' joints change that."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from retarget.demo.gait_pose import LEG_JOINTS, leg_chain
from retarget.pair_distances import PairDistances
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
        self.distances = PairDistances(embodiment, margin)
        self.side = {
            embodiment.model.body(f"{name}_{side}").id: side
            for side in "rl"
            for name in _LEG_BODIES
        }

    def __call__(self, qpos: np.ndarray) -> LegClearance:
        """Evaluate postures (T, nq)."""
        near = self.distances(qpos)
        bodies = self.embodiment.model.geom_bodyid[near.geoms]
        sides = [{self.side.get(int(body)) for body in pair} for pair in bodies]
        legs = np.flatnonzero([pair == {"r", "l"} for pair in sides])
        frame = near.frame[legs]
        slopes = self.embodiment.couplings.slopes(qpos)[frame]
        by = {"r": [], "l": []}
        for side, gradients in by.items():
            for own, slope in zip(slopes, near.slope[legs], strict=True):
                gradients.append(slope @ leg_chain(self.embodiment, side, own))
        shape = (len(legs), len(LEG_JOINTS))
        return LegClearance(
            frame=frame,
            distance=near.distance[legs],
            by_right=np.array(by["r"]).reshape(shape),
            by_left=np.array(by["l"]).reshape(shape),
        )
