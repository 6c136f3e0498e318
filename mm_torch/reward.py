"""The imitation reward: a weighted sum of kernels exp(-b d) of tracking errors d, less penalties.

DeepMimic's form (Peng et al. 2018, arXiv 1804.02717) with MuscleMimic's terms (arXiv 2603.25544).
Each distance is a pure function of body and reference and returns (nworld,).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import torch
from torch import Tensor

from cfg.schema import RewardConfig
from mm_torch import musclemimic
from mm_torch.task_state import Body, Kinematics
from sim.rotations import matrix_to_rotvec, quat_angle

Distance = Callable[[Kinematics, Kinematics], Tensor]


def joint_pos(body: Kinematics, reference: Kinematics) -> Tensor:
    """Mean squared error of the independent joint positions (rad²)."""
    return (body.joint_pos - reference.joint_pos).square().mean(-1)


def joint_vel(body: Kinematics, reference: Kinematics) -> Tensor:
    """Mean squared error of the independent joint velocities (rad²/s²)."""
    return (body.joint_vel - reference.joint_vel).square().mean(-1)


def root_pos(body: Kinematics, reference: Kinematics) -> Tensor:
    """Mean squared error of the root position (m²)."""
    return (body.root_pos - reference.root_pos).square().mean(-1)


def root_rot(body: Kinematics, reference: Kinematics) -> Tensor:
    """Squared geodesic angle between root orientations (rad²)."""
    return quat_angle(body.qpos[..., 3:7], reference.qpos[..., 3:7]).square()


def root_vel(body: Kinematics, reference: Kinematics) -> Tensor:
    """Mean squared error of the root's linear and angular velocity, both in world axes."""
    return (body.root_velocity_world - reference.root_velocity_world).square().mean(-1)


def site_pos(body: Kinematics, reference: Kinematics) -> Tensor:
    """Mean squared error of the relative site positions (m²)."""
    return (body.relative_pos - reference.relative_pos).square().mean((-1, -2))


def site_rot(body: Kinematics, reference: Kinematics) -> Tensor:
    """Mean squared geodesic error of the relative site orientations, a third of angle² (rad²).

    The third makes it equal, for small errors, to the mean over the three components of a
    difference of rotation vectors.
    """
    error = matrix_to_rotvec(body.relative_rot.transpose(-1, -2) @ reference.relative_rot)
    return error.square().mean((-1, -2))


def site_vel_ang(body: Kinematics, reference: Kinematics) -> Tensor:
    """Mean squared error of relative angular site velocities, each in its heading frame."""
    return (body.relative_vel - reference.relative_vel)[..., :3].square().mean((-1, -2))


def site_vel_lin(body: Kinematics, reference: Kinematics) -> Tensor:
    """Mean squared error of relative linear site velocities, each in its heading frame."""
    return (body.relative_vel - reference.relative_vel)[..., 3:].square().mean((-1, -2))


#: Distance of each kernel in `RewardConfig`.
DISTANCES: dict[str, Distance] = {
    "joint_pos": joint_pos,
    "joint_vel": joint_vel,
    "root_pos": root_pos,
    "root_rot": root_rot,
    "root_vel": root_vel,
    "site_pos": site_pos,
    "site_rot": site_rot,
    "site_vel_ang": site_vel_ang,
    "site_vel_lin": site_vel_lin,
    "mm_qpos": musclemimic.qpos_distance,
    "mm_qvel": musclemimic.qvel_distance,
    "mm_root_vel": musclemimic.root_velocity_distance,
    "mm_rquat": musclemimic.rotvec_distance,
    "mm_rvel_rot": lambda body, reference: musclemimic.velocity_distances(body, reference)[0],
    "mm_rvel_lin": lambda body, reference: musclemimic.velocity_distances(body, reference)[1],
}
_NEEDS_ROOT = {"root_pos", "root_rot", "root_vel", "mm_root_vel"}


class Reward:
    """The kernels and penalties that a configuration switches on."""

    def __init__(self, config: RewardConfig, has_root: bool, control_dt: float) -> None:
        """Collect the terms.

        Raises:
            ValueError: no kernel is on, or one that needs a free root for a body without one.
        """
        self.config = config
        self.control_dt = control_dt
        self.kernels = {
            name: getattr(config, name)
            for name in (item.name for item in fields(RewardConfig))
            if name in DISTANCES and getattr(config, name).weight != 0.0
        }
        if not self.kernels:
            raise ValueError("reward: every weight is zero")
        for name in self.kernels:
            if name in _NEEDS_ROOT and not has_root:
                raise ValueError(f"reward.{name}.weight needs a body with a free root: set it to 0")

    @property
    def maximum(self) -> float:
        """Reward of a step without any error."""
        return sum(kernel.weight for kernel in self.kernels.values())

    def distances(self, body: Kinematics, reference: Kinematics) -> dict[str, Tensor]:
        """Return each kernel's b d, (nworld,): its distance times its sharpness."""
        return {
            name: kernel.sharpness * DISTANCES[name](body, reference)
            for name, kernel in self.kernels.items()
        }

    def terms(self, body: Kinematics, reference: Kinematics) -> dict[str, Tensor]:
        """Return each kernel's value exp(-b d), (nworld,), without its weight."""
        return {name: (-d).exp() for name, d in self.distances(body, reference).items()}

    def penalty(self, action: Tensor, body: Body, last_ctrl: Tensor, last_qvel: Tensor) -> Tensor:
        """Return the sum of penalties (nworld,), at most 0.

        Args:
            action: (nworld, nu) raw action of the step.
            body: the body after the step.
            last_ctrl: (nworld, nu) excitations of the step before.
            last_qvel: (nworld, nv) velocities before the step.
        """
        c = self.config
        total = torch.zeros_like(action[:, 0])
        if c.action_bounds:
            excess = (action.abs() - 1).clamp_min(0)
            total = total - c.action_bounds * excess.square().mean(-1)
        if c.action_rate:
            total = total - c.action_rate * (body.ctrl - last_ctrl).square().mean(-1)
        if c.activation_energy:
            total = total - c.activation_energy * body.act.square().mean(-1)
        if c.joint_acceleration:
            change = (body.qvel - last_qvel).square().sum(-1) / self.control_dt
            total = total - c.joint_acceleration * change
        return total.clamp_min(c.penalty_floor)

    def total(
        self, terms: dict[str, Tensor], penalty: Tensor, lowest: float | None = 0.0
    ) -> Tensor:
        """Return the reward (nworld,), never below `lowest`; zero where it is not finite."""
        kernels = sum(kernel.weight * terms[name] for name, kernel in self.kernels.items())
        total = kernels + penalty
        if lowest is not None:
            total = total.clamp_min(lowest)
        return total.nan_to_num(0.0, 0.0, 0.0)
