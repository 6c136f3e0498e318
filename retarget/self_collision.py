"""Keeps the parts of a body out of each other.

Captured legs pass each other with less room than the model's collision geoms need, hands that touch
thighs end up inside them, and arms that hang are inside the chest, as in the neutral posture. No
simulated body can follow that: it stumbles over its own leg, and arms are thrown out of the chest.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from retarget.pair_distances import NearPairs, PairDistances
from sim.embodiment import Embodiment
from sim.independent import IndependentCoordinates

# m beyond the clearance over which a pair is kept where it is, less and less: a pair that the last
# step has parted would else be pushed together again by this one.
_MARGIN = 0.005


class SelfCollision:
    """What it costs a posture that parts of the body are inside each other, or nearly so.

    With d the distance of a pair and c the clearance, weight * min(d - c, 0)². Limbs whose axes
    cross (some 6 cm deep) may be parted either way, and frame by frame it is not told which.
    """

    def __init__(
        self,
        embodiment: Embodiment,
        coordinates: IndependentCoordinates,
        weight: float = 100.0,
        clearance: float = 0.005,
    ) -> None:
        """Prepare a body.

        Args:
            embodiment: the body.
            coordinates: those of the normal equations.
            weight: cost per m² of what is missing to the clearance.
            clearance: distance that a pair should keep (m).
        """
        self._coordinates, self._weight, self._clearance = coordinates, weight, clearance
        self._distances = PairDistances(embodiment, clearance + _MARGIN)

    def frames(self, joints: Tensor, root: Tensor | None) -> np.ndarray:
        """Whether postures (T, m), (T, 7) have a pair closer than the clearance, (T,) bool."""
        near = self._near(self._coordinates.qpos(*self._cast(joints, root)))
        found = np.zeros(len(joints), dtype=bool)
        found[near.frame[near.distance < self._clearance]] = True
        return found

    def add(self, hessian: Tensor, gradient: Tensor, joints: Tensor, root: Tensor | None) -> None:
        """Add the cost's Gauss-Newton model.

        Args:
            hessian, gradient: (T, n, n) and (T, n), changed in place.
            joints, root: the postures, (T, m) and (T, 7).
        """
        coordinates = self._coordinates
        qpos = coordinates.qpos(*self._cast(joints, root))
        near = self._near(qpos)
        if not len(near.frame):
            return
        lack = self._clearance - near.distance
        share = np.clip(1.0 + lack / _MARGIN, 0.0, 1.0)
        frame = torch.from_numpy(near.frame).to(hessian.device)
        lack, share, slope = (
            torch.from_numpy(part).to(hessian) for part in (lack.clip(0.0), share, near.slope)
        )
        slope = slope * coordinates.slopes(qpos[frame])
        moved = coordinates.column_of_dof >= 0
        rows = slope.new_zeros(len(slope), coordinates.width)
        rows.index_add_(1, coordinates.column_of_dof[moved], slope[:, moved])
        weighted = rows * (self._weight * share)[:, None]
        gradient.index_add_(0, frame, -weighted * lack[:, None])
        hessian.index_add_(0, frame, weighted[:, :, None] * rows[:, None, :])

    def _near(self, qpos: Tensor) -> NearPairs:
        return self._distances(qpos.double().cpu().numpy())

    def _cast(self, joints: Tensor, root: Tensor | None) -> tuple[Tensor, Tensor | None]:
        dtype = self._coordinates.lower.dtype
        return joints.to(dtype), None if root is None else root.to(dtype)
