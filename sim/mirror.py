"""The left/right mirror of a body: joints and muscles, about its sagittal plane (normal x).

Signs are derived from the model, never tabulated: a reflection M = diag(-1, 1, 1) maps a hinge
axis a (a pseudo-vector) to -M a and a slide axis to M a; the mirrored joint's sign is the agreement
of its own axis with that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from sim.muscle_groups import mirrored_muscle

if TYPE_CHECKING:  # a body is loaded without torch
    import torch

    Array = np.ndarray | torch.Tensor

_REFLECTION = np.array([-1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Mirror:
    """Index and sign maps: mirrored[..., i] = rest + sign[i] * (x[..., source[i]] - rest).

    Arrays, of NumPy or (`mm_torch.mirrored_task`) of torch.

    Attributes:
        has_root: whether entries 0..6 of qpos and 0..5 of qvel are a free joint.
        qpos_source: (nq,) entry that each mirrored qpos entry is read from.
        qpos_sign: (nq,) +1 or -1.
        qvel_source, qvel_sign: the same for the nv velocities.
        rest: (nq,) reference position about which joints are mirrored.
        muscle_source: (nu,) muscle that each mirrored muscle is read from.
    """

    has_root: bool
    qpos_source: Array
    qpos_sign: Array
    qvel_source: Array
    qvel_sign: Array
    rest: Array
    muscle_source: Array

    @classmethod
    def of(cls, model: mujoco.MjModel) -> Mirror:
        """Derive the mirror of a compiled model.

        Raises:
            ValueError: a joint's axis is no mirror image of its partner's.
        """
        data = mujoco.MjData(model)
        mujoco.mj_kinematics(model, data)
        qpos_source, qpos_sign = np.arange(model.nq), np.ones(model.nq)
        qvel_source, qvel_sign = np.arange(model.nv), np.ones(model.nv)
        has_root = bool(model.njnt and model.jnt_type[0] == mujoco.mjtJoint.mjJNT_FREE)
        if has_root:
            # Position and quaternion (w, x, y, z), linear (world) and angular (body) velocity.
            qpos_sign[:7] = [-1, 1, 1, 1, 1, -1, -1]
            qvel_sign[:6] = [-1, 1, 1, 1, -1, -1]
        for joint in range(int(has_root), model.njnt):
            partner = _partner(model, joint)
            image = _REFLECTION * data.xaxis[partner]
            if model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_HINGE:
                image = -image
            agreement = float(image @ data.xaxis[joint])
            if abs(agreement) < 0.9:
                raise ValueError(
                    f"joint {model.joint(joint).name!r} is no mirror image of "
                    f"{model.joint(partner).name!r}: axis agreement {agreement:.2f}"
                )
            qpos, qvel = model.jnt_qposadr[joint], model.jnt_dofadr[joint]
            qpos_source[qpos], qpos_sign[qpos] = model.jnt_qposadr[partner], np.sign(agreement)
            qvel_source[qvel], qvel_sign[qvel] = model.jnt_dofadr[partner], np.sign(agreement)
        muscles = [mirrored_muscle(model.actuator(i).name) for i in range(model.nu)]
        rest = model.qpos0.copy()
        rest[: 7 * has_root] = 0.0
        return cls(
            has_root=has_root,
            qpos_source=qpos_source,
            qpos_sign=qpos_sign,
            qvel_source=qvel_source,
            qvel_sign=qvel_sign,
            rest=rest,
            muscle_source=np.array([model.actuator(name).id for name in muscles]),
        )

    def qpos(self, qpos: Array) -> Array:
        """Return the mirror image of positions (..., nq)."""
        source = self.qpos_source
        return self.rest + self.qpos_sign * (qpos[..., source] - self.rest[source])

    def qvel(self, qvel: Array) -> Array:
        """Return the mirror image of velocities (..., nv)."""
        return self.qvel_sign * qvel[..., self.qvel_source]

    def muscles(self, values: Array) -> Array:
        """Return per-muscle values (..., nu) with left and right exchanged."""
        return values[..., self.muscle_source]


def _partner(model: mujoco.MjModel, joint: int) -> int:
    name = model.joint(joint).name
    for suffix, other in (("_r", "_l"), ("_l", "_r")):
        if name.endswith(suffix):
            return model.joint(name.removesuffix(suffix) + other).id
    return joint
