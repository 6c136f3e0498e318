"""What the terms of the task are functions of: the body's state beside the reference's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sim.embodiment import CONTROL_HZ, Embodiment
from sim.rotations import matrix_to_rotvec, quat_to_matrix, quat_yaw, rotate, yaw_matrix
from sim.simulator import Simulator


@dataclass(frozen=True)
class Layout:
    """Where an embodiment keeps what, as index tensors on the device.

    Attributes:
        root_nq, root_nv: size of the free root in qpos and qvel (7 and 6, or 0).
        joint_qpos, joint_dofs: (nind,) addresses of the independent joints, root left out.
    """

    root_nq: int
    root_nv: int
    joint_qpos: Tensor
    joint_dofs: Tensor

    @classmethod
    def of(cls, embodiment: Embodiment, device: torch.device) -> Layout:
        """Read the layout off an embodiment."""
        return cls(
            root_nq=7 * embodiment.has_root,
            root_nv=6 * embodiment.has_root,
            joint_qpos=torch.as_tensor(embodiment.independent_qpos, device=device),
            joint_dofs=torch.as_tensor(embodiment.independent_dofs, device=device),
        )


@dataclass(frozen=True)
class Kinematics:
    """Positions and velocities of bodies, batched over any leading dimensions (...).

    Attributes:
        layout: where the joints are.
        qpos: (..., nq), qvel: (..., nv), in MuJoCo's conventions.
        site_pos: (..., nsite, 3) m, site_rot: (..., nsite, 3, 3), site_vel: (..., nsite, 6)
            angular then linear; world axes; the main site first.
    """

    layout: Layout
    qpos: Tensor
    qvel: Tensor
    site_pos: Tensor
    site_rot: Tensor
    site_vel: Tensor

    @property
    def joint_pos(self) -> Tensor:
        """(..., nind) independent joint positions (rad)."""
        return self.qpos[..., self.layout.joint_qpos]

    @property
    def joint_vel(self) -> Tensor:
        """(..., nind) independent joint velocities (rad/s)."""
        return self.qvel[..., self.layout.joint_dofs]

    @property
    def root_pos(self) -> Tensor:
        """(..., 3) root position (m)."""
        return self.qpos[..., :3]

    @cached_property
    def root_rot(self) -> Tensor:
        """(..., 3, 3) root orientation."""
        return quat_to_matrix(self.qpos[..., 3:7])

    @cached_property
    def to_heading(self) -> Tensor:
        """(..., 3, 3) rotation from world axes to the body's heading frame (z up).

        Identity for a body without a root, whose base does not turn.
        """
        if not self.layout.root_nq:
            eye = torch.eye(3, dtype=self.qpos.dtype, device=self.qpos.device)
            return eye.expand(*self.qpos.shape[:-1], 3, 3)
        return yaw_matrix(-quat_yaw(self.qpos[..., 3:7]))

    @cached_property
    def relative_pos(self) -> Tensor:
        """(..., nsite-1, 3) sites minus the main site, world axes (m)."""
        return self.site_pos[..., 1:, :] - self.site_pos[..., :1, :]

    @cached_property
    def relative_rot(self) -> Tensor:
        """(..., nsite-1, 3, 3) R_main^T R_site."""
        return self.site_rot[..., :1, :, :].transpose(-1, -2) @ self.site_rot[..., 1:, :, :]

    @cached_property
    def relative_rotvec(self) -> Tensor:
        """(..., nsite-1, 3) rotation vectors of `relative_rot` (rad)."""
        return matrix_to_rotvec(self.relative_rot)

    @cached_property
    def relative_vel(self) -> Tensor:
        """(..., nsite-1, 6) site velocities minus the main site's, in the heading frame.

        Angular (rad/s) then linear (m/s); both differences of world vectors, then rotated.
        """
        difference = self.site_vel[..., 1:, :] - self.site_vel[..., :1, :]
        to_heading = self.to_heading.unsqueeze(-3)
        parts = (rotate(to_heading, difference[..., :3]), rotate(to_heading, difference[..., 3:]))
        return torch.cat(parts, dim=-1)

    @cached_property
    def root_velocity_world(self) -> Tensor:
        """(..., 6) linear then angular root velocity, both in world axes."""
        angular = rotate(self.root_rot, self.qvel[..., 3:6])
        return torch.cat((self.qvel[..., :3], angular), dim=-1)


@dataclass(frozen=True)
class Body(Kinematics):
    """The simulated body: kinematics and muscles; see :class:`sim.simulator.Simulator`."""

    act: Tensor
    ctrl: Tensor
    muscle_length: Tensor
    muscle_velocity: Tensor
    muscle_force: Tensor
    touch: Tensor
    last_qvel: Tensor | None = None

    @cached_property
    def acceleration(self) -> Tensor:
        """(..., nv) mean over the last control step, in qvel's coordinates; 0 after a reset."""
        return (self.qvel - self.last_qvel) * CONTROL_HZ

    @property
    def root_acceleration_world(self) -> Tensor:
        """(..., 6) the root's, linear then angular, both in world axes."""
        linear, angular = self.acceleration[..., :3], self.acceleration[..., 3:6]
        return torch.cat((linear, rotate(self.root_rot, angular)), dim=-1)

    @property
    def joint_acceleration(self) -> Tensor:
        """(..., nind) those of the independent joints (rad/s²)."""
        return self.acceleration[..., self.layout.joint_dofs]

    @classmethod
    def of(cls, simulator: Simulator, layout: Layout) -> Body:
        """Wrap a simulator's tensors; valid until its next step."""
        s = simulator
        return cls(layout, s.qpos, s.qvel, s.site_pos, s.site_rot, s.site_vel, s.act, s.ctrl,
                   s.muscle_length, s.muscle_velocity, s.muscle_force, s.touch,
                   s.last_qvel)  # fmt: skip


@dataclass(frozen=True)
class TaskState:
    """One moment of the imitation task in every world.

    Attributes:
        body: the simulated body, leading dimension (nworld,).
        reference: where it should be now, (nworld,).
        ahead: look-ahead frames of the reference, (nworld, K); frame 0 is now.
        phase: (nworld,) frame over clip length.
        next_activation: (nworld, nu) of the reference's next frame, by static optimisation; None
            where motions have none, or nothing shows it.
    """

    body: Body
    reference: Kinematics
    ahead: Kinematics
    phase: Tensor
    next_activation: Tensor | None = None
