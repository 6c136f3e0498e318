"""The right foot over a gait cycle: where its lowest points are and how the leg moves them."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from retarget.demo.gait_pose import LEG_JOINTS, leg_chain
from sim.embodiment import Embodiment


def lowest_points(model: mujoco.MjModel, data: mujoco.MjData, geoms: np.ndarray) -> np.ndarray:
    """Return the lowest points (P, 3) of capsules (one at each end) and ellipsoids (m, world)."""
    points = []
    for geom in geoms:
        centre, rotation = data.geom_xpos[geom], data.geom_xmat[geom].reshape(3, 3)
        size = model.geom_size[geom]
        if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_CAPSULE:
            half = size[1] * rotation[:, 2]
            down = np.array([0.0, 0.0, -size[0]])
            points += [centre + half + down, centre - half + down]
        else:
            # Support point of the ellipsoid in direction -z.
            spread = rotation @ (size**2 * rotation[2])
            points.append(centre - spread / np.sqrt(spread[2]))
    return np.array(points)


@dataclass(frozen=True)
class FootCycle:
    """The right foot at T postures.

    Attributes:
        points: (T, P, 3) lowest points (m, world).
        segment: (P,) 0 for points of the heel and sole, 1 for those of the toes.
        position, rotation: (T, 2, 3) and (T, 2, 3, 3) frames of the two segments.
        jacobian: (T, 2, 6, 7) rotation over translation of each segment's origin per leg joint,
            with what the knee's couplings add.
    """

    points: np.ndarray
    segment: np.ndarray
    position: np.ndarray
    rotation: np.ndarray
    jacobian: np.ndarray

    @classmethod
    def of(cls, embodiment: Embodiment, qpos: np.ndarray) -> FootCycle:
        """Evaluate the foot at postures (T, nq)."""
        model, data = embodiment.model, mujoco.MjData(embodiment.model)
        geoms = embodiment.foot_geoms["right"]
        bodies = [model.body("calcn_r").id, model.body("toes_r").id]
        capsule = model.geom_type[geoms] == mujoco.mjtGeom.mjGEOM_CAPSULE
        owner = np.repeat(model.geom_bodyid[geoms], np.where(capsule, 2, 1))
        slopes = embodiment.couplings.slopes(qpos)
        points, position, rotation = [], [], []
        jacobian = np.zeros((len(qpos), 2, 6, len(LEG_JOINTS)))
        full = np.zeros((6, model.nv))
        for frame, pose in enumerate(qpos):
            data.qpos[:] = pose
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
            points.append(lowest_points(model, data, geoms))
            position.append(data.xpos[bodies])
            rotation.append(data.xmat[bodies].reshape(2, 3, 3))
            chain = leg_chain(embodiment, "r", slopes[frame])
            for index, body in enumerate(bodies):
                mujoco.mj_jacBody(model, data, full[3:], full[:3], body)
                jacobian[frame, index] = full @ chain
        return cls(
            points=np.array(points),
            segment=(owner == bodies[1]).astype(int),
            position=np.array(position),
            rotation=np.array(rotation),
            jacobian=jacobian,
        )

    def local_points(self) -> np.ndarray:
        """Return the material points (T, P, 3) that are lowest, in their segments' frames."""
        offset = self.points - self.position[:, self.segment]
        return np.einsum("tpji,tpj->tpi", self.rotation[:, self.segment], offset)

    def follow(self, local: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Where material points are `step` frames later, the cycle closing on itself.

        Args:
            local: (T, P, 3) points in their segments' frames.
            step: frames, negative for earlier ones.

        Returns:
            (T, P, 3) positions, and (T, P, 3, 7) their derivatives by the leg joints of that frame.
        """
        rotation = np.roll(self.rotation, -step, axis=0)[:, self.segment]
        origin = np.roll(self.position, -step, axis=0)[:, self.segment]
        jacobian = np.roll(self.jacobian, -step, axis=0)[:, self.segment]
        arm = np.einsum("tpij,tpj->tpi", rotation, local)
        turning = np.cross(jacobian[:, :, :3], arm[..., None], axis=2)
        return origin + arm, jacobian[:, :, 3:] + turning
