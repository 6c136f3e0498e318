"""A body in its independent coordinates: what a learned model of its dynamics works on.

Position: the root's pose (xyz and quaternion, where there is a root) and the independent joints.
Velocity: the root's linear (world axes) and angular (body axes) velocity and the independent joint
rates, as in qvel. Dependent joints follow exactly, activations by MuJoCo's own filter. What is left
to learn is the change of velocity over a control step, in coordinates that know neither where in
the world the body is nor which way it faces.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sim.activation_filter import ActivationFilter
from sim.embodiment import Embodiment
from sim.independent import IndependentCoordinates
from sim.kinematics import BodyFrame, Kinematics
from sim.rotations import (
    quat_multiply,
    quat_to_matrix,
    quat_yaw,
    rotate,
    two_columns,
    yaw_matrix,
)
from sim.site_motion import FrameMotion


class ReducedBody:
    """The known part of a body's dynamics, batched over states and differentiable.

    Attributes:
        position_dim: 7 for a root, plus the independent joints.
        velocity_dim: 6 for a root, plus the independent joints.
        feature_dim: width of `features`.
        control_dim: muscles.
    """

    def __init__(
        self,
        embodiment: Embodiment,
        timestep: float,
        substeps: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        """Read a body.

        Args:
            embodiment: the body.
            timestep: of the physics (s).
            substeps: physics steps of a control step.
            dtype, device: of all tensors.
        """
        self.has_root, self.control_dim = embodiment.has_root, embodiment.model.nu
        self._coordinates = IndependentCoordinates(embodiment, dtype, device)
        self._filter = ActivationFilter(embodiment, timestep, substeps, dtype, device)
        self._dt = timestep * substeps
        # Positions advance by the velocity after each of n physics steps. If it changes evenly,
        # their mean is the first plus (n + 1) / 2n of the change.
        self._share = (substeps + 1) / (2 * substeps)
        joints = torch.as_tensor(embodiment.independent_dofs, device=device)
        root = torch.arange(6 * self.has_root, device=device)
        self._dofs = torch.cat((root, joints))
        joint_qpos = self._coordinates.joint_qpos
        self._qpos = torch.cat((torch.arange(7 * self.has_root, device=device), joint_qpos))
        self.position_dim, self.velocity_dim = len(self._qpos), len(self._dofs)
        self._feet = None
        if len(embodiment.touch_sensors):
            model = embodiment.model
            sites = [model.sensor(name).objid[0] for name in embodiment.touch_sensors]
            frames = [BodyFrame.of_site(model, site) for site in sites]
            self._feet = FrameMotion(Kinematics(model, frames, dtype, device))
        width = self.position_dim + self.velocity_dim
        self.feature_dim = width + 4 * len(embodiment.touch_sensors) * (self._feet is not None)

    def reduce(self, qpos: Tensor, qvel: Tensor) -> tuple[Tensor, Tensor]:
        """Return position (..., position_dim) and velocity (..., velocity_dim) of full states."""
        return qpos[..., self._qpos], qvel[..., self._dofs]

    def complete(self, position: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor]:
        """Return qpos (..., nq) and qvel (..., nv), dependent joints on their couplings."""
        if self.has_root:
            qpos = self._coordinates.qpos(position[..., 7:], position[..., :7])
        else:
            qpos = self._coordinates.qpos(position)
        column = self._coordinates.column_of_dof
        moved = velocity[..., column.clamp_min(0)] * (column >= 0)
        return qpos, moved * self._coordinates.slopes(qpos)

    def features(self, position: Tensor, velocity: Tensor) -> Tensor:
        """Return (..., feature_dim) what the change of velocity is a function of.

        Joint positions and rates; with a root also its height (m), its orientation without the
        heading (two columns, 6) and its velocity (linear in the heading frame, angular in body
        axes); for each touch sensor of the feet its height (m) and velocity (heading frame).
        """
        if not self.has_root:
            return torch.cat((position, velocity), dim=-1)
        to_heading = yaw_matrix(-quat_yaw(position[..., 3:7]))
        tilt = to_heading @ quat_to_matrix(position[..., 3:7])
        parts = [
            position[..., 2:3],
            two_columns(tilt),
            position[..., 7:],
            rotate(to_heading, velocity[..., :3]),
            velocity[..., 3:],
        ]
        if self._feet is not None:
            place, _, motion = self._feet(*self.complete(position, velocity))
            parts.append(place[..., 2])
            parts.append(rotate(to_heading.unsqueeze(-3), motion[..., 3:]).flatten(-2))
        return torch.cat(parts, dim=-1)

    def activate(self, act: Tensor, excitation: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean activation over a control step and the one after it, (..., nu) each."""
        return self._filter(act, excitation)

    def change(self, position: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Return the change (..., velocity_dim) between two velocities, seen from `position`.

        The root's linear part is in the heading frame of `position`, all else as in the velocity.
        """
        return self._turned(position, after - before, to_heading=True)

    def integrate(
        self, position: Tensor, velocity: Tensor, change: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return position and velocity one control step later, after a `change` of velocity."""
        change = self._turned(position, change, to_heading=False)
        step = self._dt * (velocity + self._share * change)
        if self.has_root:
            turn = quat_multiply(position[..., 3:7], _quat_of(step[..., 3:6]))
            turn = turn / turn.norm(dim=-1, keepdim=True)
            moved = (position[..., :3] + step[..., :3], turn, position[..., 7:] + step[..., 6:])
            return torch.cat(moved, dim=-1), velocity + change
        return position + step, velocity + change

    def _turned(self, position: Tensor, change: Tensor, to_heading: bool) -> Tensor:
        if not self.has_root:
            return change
        yaw = quat_yaw(position[..., 3:7])
        linear = rotate(yaw_matrix(-yaw if to_heading else yaw), change[..., :3])
        return torch.cat((linear, change[..., 3:]), dim=-1)


def _quat_of(rotvec: Tensor) -> Tensor:
    """Return quaternions (..., 4) of small rotation vectors (..., 3), smooth at zero."""
    half = rotvec.square().sum(-1, keepdim=True) / 4  # square of half the angle
    # cos and sin(x)/x as series: exact to rounding below 0.5 rad, and turns of a step are smaller.
    cosine = 1 - half / 2 * (1 - half / 12 * (1 - half / 30 * (1 - half / 56)))
    sinc = 1 - half / 6 * (1 - half / 20 * (1 - half / 42 * (1 - half / 72)))
    return torch.cat((cosine, rotvec / 2 * sinc), dim=-1)
