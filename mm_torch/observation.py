"""Observation terms: small pure functions of the task state, one for each switch of observation.*.

Every term returns (nworld, size). Their order in the observation is the order of the switches in
`ObservationConfig`. Heading frame: origin at the root, z up, turned with the body's yaw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import torch
from torch import Tensor

from cfg.schema import ObservationConfig
from mm_torch import musclemimic
from mm_torch.task_state import TaskState
from sim.rotations import matrix_to_rotvec, rotate, two_columns

Term = Callable[[TaskState], Tensor]


def root_height(state: TaskState) -> Tensor:
    """Root height above the ground (m), 1."""
    return state.body.qpos[:, 2:3]


def root_quaternion(state: TaskState) -> Tensor:
    """Root orientation in the world, quaternion with w first, 4."""
    return state.body.qpos[:, 3:7]


def root_tilt(state: TaskState) -> Tensor:
    """Root orientation in the heading frame, first two matrix columns, 6."""
    return two_columns(state.body.to_heading @ state.body.root_rot)


def joint_pos_all(state: TaskState) -> Tensor:
    """Positions of all joints but the root, followers included (rad, m)."""
    return state.body.qpos[:, state.body.layout.root_nq :]


def joint_pos(state: TaskState) -> Tensor:
    """Independent joint positions (rad)."""
    return state.body.joint_pos


def root_velocity_world(state: TaskState) -> Tensor:
    """Root velocity as MuJoCo keeps it: linear in the world, angular in the body, 6."""
    return state.body.qvel[:, :6]


def root_velocity(state: TaskState) -> Tensor:
    """Root velocity in the heading frame, linear (m/s) then angular (rad/s), 6."""
    return _both_rotated(state.body.to_heading, state.body.root_velocity_world)


def joint_vel_all(state: TaskState) -> Tensor:
    """Velocities of all joints but the root, followers included."""
    return state.body.qvel[:, state.body.layout.root_nv :]


def joint_vel(state: TaskState) -> Tensor:
    """Independent joint velocities (rad/s)."""
    return state.body.joint_vel


def root_acceleration(state: TaskState) -> Tensor:
    """Root acceleration over the last control step, heading frame, linear then angular, 6."""
    return _both_rotated(state.body.to_heading, state.body.root_acceleration_world)


def joint_acceleration(state: TaskState) -> Tensor:
    """Accelerations of the independent joints over the last control step (rad/s²)."""
    return state.body.joint_acceleration


def touch(state: TaskState) -> Tensor:
    """Foot touch sensors (N)."""
    return state.body.touch


def site_pos_world(state: TaskState) -> Tensor:
    """Mimic sites relative to the main one, world axes (m)."""
    return state.body.relative_pos.flatten(1)


def site_pos(state: TaskState) -> Tensor:
    """Mimic sites relative to the main one, heading frame (m)."""
    return rotate(state.body.to_heading.unsqueeze(1), state.body.relative_pos).flatten(1)


def site_rot(state: TaskState) -> Tensor:
    """Rotation vectors from the main site to the others, in its axes (rad)."""
    return state.body.relative_rotvec.flatten(1)


def site_vel_musclemimic(state: TaskState) -> Tensor:
    """Relative site velocities in MuscleMimic's frames (see mm_torch.musclemimic)."""
    return musclemimic.relative_velocity(state.body).flatten(1)


def site_vel(state: TaskState) -> Tensor:
    """Site velocities relative to the main one, heading frame, angular then linear."""
    return state.body.relative_vel.flatten(1)


def root_pos_error(state: TaskState) -> Tensor:
    """Reference minus body root position, body's heading frame (m), 3."""
    return rotate(state.body.to_heading, state.reference.root_pos - state.body.root_pos)


def root_rot_error(state: TaskState) -> Tensor:
    """Rotation vector that turns the body's root into the reference's, body axes (rad), 3."""
    return matrix_to_rotvec(state.body.root_rot.transpose(-1, -2) @ state.reference.root_rot)


def joint_pos_error(state: TaskState) -> Tensor:
    """Reference minus body, independent joint positions (rad)."""
    return state.reference.joint_pos - state.body.joint_pos


def joint_vel_error(state: TaskState) -> Tensor:
    """Reference minus body, independent joint velocities (rad/s)."""
    return state.reference.joint_vel - state.body.joint_vel


def ahead_root_pos(state: TaskState) -> Tensor:
    """Reference root at the look-ahead frames, from the body's root, its heading frame (m).

    Frame 0 is left out: it is `root_pos_error`.
    """
    offset = state.ahead.root_pos[:, 1:] - state.body.root_pos.unsqueeze(1)
    return rotate(state.body.to_heading.unsqueeze(1), offset).flatten(1)


def ahead_root_rot(state: TaskState) -> Tensor:
    """Reference root orientation in the body's heading frame, two columns, frame 0 left out."""
    return two_columns(state.body.to_heading.unsqueeze(1) @ state.ahead.root_rot[:, 1:]).flatten(1)


def ahead_root_vel(state: TaskState) -> Tensor:
    """Reference root velocity in the body's heading frame, linear then angular."""
    to_heading = state.body.to_heading.unsqueeze(1)
    return _both_rotated(to_heading, state.ahead.root_velocity_world).flatten(1)


def ahead_joint_pos(state: TaskState) -> Tensor:
    """Reference minus current independent joint positions (rad), frame 0 left out."""
    return (state.ahead.joint_pos[:, 1:] - state.body.joint_pos.unsqueeze(1)).flatten(1)


def ahead_joint_vel(state: TaskState) -> Tensor:
    """Reference independent joint velocities (rad/s)."""
    return state.ahead.joint_vel.flatten(1)


def ahead_site_pos(state: TaskState) -> Tensor:
    """Reference sites relative to the reference's main one, in the body's heading frame (m)."""
    to_heading = state.body.to_heading[:, None, None]
    return rotate(to_heading, state.ahead.relative_pos).flatten(1)


def ahead_musclemimic_fullbody(state: TaskState) -> Tensor:
    """MuscleMimic's concise look-ahead (see mm_torch.musclemimic)."""
    return musclemimic.lookahead_fullbody(state.ahead)


def ahead_musclemimic_bimanual(state: TaskState) -> Tensor:
    """MuscleMimic's look-ahead of the arms (see mm_torch.musclemimic)."""
    return musclemimic.lookahead_bimanual(state.ahead)


def ahead_activation(state: TaskState) -> Tensor:
    """Activations that static optimisation finds for the reference's next frame, nu."""
    return state.next_activation


def phase(state: TaskState) -> Tensor:
    """Frame over clip length, 1."""
    return state.phase.unsqueeze(1)


_MUSCLE_FIELDS = {
    "muscle_length": "muscle_length",
    "muscle_velocity": "muscle_velocity",
    "muscle_force": "muscle_force",
    "muscle_excitation": "ctrl",
    "muscle_activation": "act",
}
_ROOT_TERMS = {
    "root_height", "root_quaternion", "root_tilt", "root_velocity_world", "root_velocity",
    "root_acceleration", "root_pos_error", "root_rot_error", "ahead_musclemimic_fullbody",
    "ahead_root_pos", "ahead_root_rot", "ahead_root_vel", "touch",
}  # fmt: skip


class Observation:
    """The terms that a configuration switches on, concatenated.

    Muscle quantities are interleaved by muscle: all that is observed of the first, then of the
    second.
    """

    def __init__(self, config: ObservationConfig, has_root: bool) -> None:
        """Collect the terms.

        Raises:
            ValueError: no term is on, or one that needs a free root for a body without one.
        """
        self.terms: list[tuple[str, Term]] = []
        muscles = tuple(key for key in _MUSCLE_FIELDS if getattr(config, key))
        for item in fields(ObservationConfig):
            if item.name.startswith("lookahead_") or not getattr(config, item.name):
                continue
            if item.name in _ROOT_TERMS and not has_root:
                raise ValueError(f"observation.{item.name}=true needs a body with a free root")
            if item.name not in _MUSCLE_FIELDS:
                self.terms.append((item.name, globals()[item.name]))
            elif item.name == muscles[0]:
                self.terms.append(("muscles", _interleaved(muscles)))
        if not self.terms:
            raise ValueError("observation: no term is switched on")

    def __call__(self, state: TaskState) -> Tensor:
        """Return the observation (nworld, size)."""
        return torch.cat([term(state) for _, term in self.terms], dim=-1)

    def sizes(self, state: TaskState) -> dict[str, int]:
        """Return the number of entries of each term, in order."""
        return {name: term(state).shape[-1] for name, term in self.terms}


def _interleaved(names: tuple[str, ...]) -> Term:
    def muscles(state: TaskState) -> Tensor:
        values = [getattr(state.body, _MUSCLE_FIELDS[name]) for name in names]
        return torch.stack(values, dim=-1).flatten(1)

    return muscles


def _both_rotated(matrix: Tensor, velocity: Tensor) -> Tensor:
    """Rotate the two halves of (..., 6) velocities."""
    parts = (rotate(matrix, velocity[..., :3]), rotate(matrix, velocity[..., 3:]))
    return torch.cat(parts, dim=-1)
