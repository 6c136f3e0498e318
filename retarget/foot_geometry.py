"""The soles: points of the feet that can touch the ground, in torch.

The points are the lower ends of each capsule and the lowest point of each ellipsoid of the heel,
sole and toes, in the order of `Embodiment.foot_geoms` (left, then right).
"""

from __future__ import annotations

import mujoco
import numpy as np
import torch
from torch import Tensor

from sim.embodiment import Embodiment
from sim.kinematics import BodyFrame

#: Parts of a foot that come down and lift off on their own.
GROUPS = ("heel", "toes")


class FootGeometry:
    """Lowest points of the feet as functions of the feet's frames.

    Attributes:
        bodies: ids of the bodies that the points belong to (heel and toes of each foot).
        point_body: (K,) index into `bodies` of each point.
        side: (K,) 0 left, 1 right.
        group: (2, 2, K) bool, points that touch when a part [side, heel or toes] is on the ground.
        sole: (2, K) bool, points under the arch and ball, which touch when the foot is flat.
    """

    def __init__(
        self,
        embodiment: Embodiment,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        """Read the foot geoms of a body."""
        model = embodiment.model
        geoms = [int(g) for side in embodiment.foot_geoms.values() for g in side]
        self.bodies = list(dict.fromkeys(int(model.geom_bodyid[g]) for g in geoms))
        bodies, sides, centres, radii, axes = [], [], [], [], []
        for side, ids in enumerate(embodiment.foot_geoms.values()):
            for geom in ids:
                rotation = np.zeros(9)
                mujoco.mju_quat2Mat(rotation, model.geom_quat[geom])
                rotation = rotation.reshape(3, 3)
                size = model.geom_size[geom]
                capsule = model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_CAPSULE
                for sign in (1.0, -1.0) if capsule else (0.0,):
                    bodies.append(self.bodies.index(int(model.geom_bodyid[geom])))
                    sides.append(side)
                    centres.append(model.geom_pos[geom] + sign * size[1] * rotation[:, 2])
                    # A sphere at a capsule's end is an ellipsoid with three equal axes.
                    radii.append(np.full(3, size[0]) if capsule else size)
                    axes.append(rotation)
        self.point_body = torch.as_tensor(bodies, device=device)
        self.side = torch.as_tensor(sides, device=device)
        self._centre = torch.as_tensor(np.array(centres), dtype=dtype, device=device)
        shape = np.array(axes) * np.array(radii)[:, None]
        self._shape = torch.as_tensor(shape, dtype=dtype, device=device)
        self.group, self.sole = (g.to(device) for g in self._groups(model))

    def _groups(self, model: mujoco.MjModel) -> tuple[Tensor, Tensor]:
        """Split the points by where they lie along the foot (the body's x axis points forward)."""
        round_ = (self._shape.norm(dim=1).std(dim=1) < 1e-6).cpu()
        forward, body, side = self._centre[:, 0].cpu(), self.point_body.cpu(), self.side.cpu()
        group = torch.zeros(2, 2, len(body), dtype=torch.bool)
        sole = torch.zeros(2, len(body), dtype=torch.bool)
        for s in (0, 1):
            own = side == s
            hind = own & (body == body[own].min()) & round_
            middle = (forward[hind].min() + forward[hind].max()) / 2
            group[s, 0] = hind & (forward < middle)
            group[s, 1] = own & (body == body[own].max())
            sole[s] = hind & (forward >= middle)
        return group, sole

    def frames(self) -> list[BodyFrame]:
        """The frames of `bodies`, for a `Kinematics`."""
        return [BodyFrame(body, np.zeros(3), np.eye(3)) for body in self.bodies]

    def points(self, position: Tensor, rotation: Tensor) -> tuple[Tensor, Tensor]:
        """Return the lowest points and their arms from their bodies' origins.

        Args:
            position: (B, 3, T) origins of `bodies`.
            rotation: (B, 3, 3, T) their axes.

        Returns:
            (K, 3, T) points (m, world) and (K, 3, T) their offsets from the bodies' origins.
        """
        axes = rotation[self.point_body]
        centre = torch.einsum("kijt,kj->kit", axes, self._centre)
        shape = torch.einsum("kijt,kjl->kilt", axes, self._shape)  # half-axes as columns
        # Support point of an ellipsoid in direction -z.
        spread = torch.einsum("kilt,klt->kit", shape, shape[:, 2])
        arm = centre - spread / spread[:, 2:].sqrt()
        return position[self.point_body] + arm, arm
