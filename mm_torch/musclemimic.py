"""MuscleMimic 0.1.0's own quantities (arXiv 2603.25544), quirks included, for `mdp=musclemimic`.

They are kept apart because they are not what one would write today: relative velocities mix frames,
joint terms count the followers of the joint equalities, look-ahead deltas stay in world axes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mm_torch.task_state import Kinematics
from sim.rotations import quat_angle, rotate


def relative_velocity(state: Kinematics) -> Tensor:
    """Relative site velocities (..., nsite-1, 6), angular then linear, as MuscleMimic forms them.

    angular_i = R_rel^T w_i - w_main (a local rotation applied to a world vector),
    linear_i = R_main (v_main - v_i) (main minus site, and not transposed).
    """
    main_rot = state.site_rot[..., :1, :, :]
    angular, linear = state.site_vel[..., :3], state.site_vel[..., 3:]
    relative = state.relative_rot.transpose(-1, -2)
    spin = rotate(relative, angular[..., 1:, :]) - angular[..., :1, :]
    drift = rotate(main_rot, linear[..., :1, :] - linear[..., 1:, :])
    return torch.cat((spin, drift), dim=-1)


def lookahead_fullbody(ahead: Kinematics) -> Tensor:
    """Concise full-body goal from (nworld, K) look-ahead frames.

    Relative sites of frame 0; then for each later frame the change of root position (3), the
    change of root velocity (6) and the relative sites; all in world axes.
    """
    sites = ahead.relative_pos.flatten(2)
    position = ahead.root_pos[:, 1:] - ahead.root_pos[:, :1]
    velocity = ahead.qvel[:, 1:, :6] - ahead.qvel[:, :1, :6]
    later = torch.cat((position, velocity, sites[:, 1:]), dim=-1)
    return torch.cat((sites[:, 0], later.flatten(1)), dim=-1)


def lookahead_bimanual(ahead: Kinematics) -> Tensor:
    """Bimanual goal from (nworld, K) frames, grouped by kind: qpos, qvel, and relative sites'
    positions, rotation vectors and velocities."""
    kinds = (
        ahead.qpos,
        ahead.qvel,
        ahead.relative_pos,
        ahead.relative_rotvec,
        relative_velocity(ahead),
    )
    return torch.cat([kind.flatten(1) for kind in kinds], dim=-1)


def qpos_distance(body: Kinematics, reference: Kinematics) -> Tensor:
    """Mean squared difference of all positions but the root quaternion, plus its angle (rad)."""
    difference = body.qpos - reference.qpos
    if not body.layout.root_nq:
        return difference.square().mean(-1)
    linear = torch.cat((difference[..., :3], difference[..., 7:]), dim=-1)
    angle = quat_angle(body.qpos[..., 3:7], reference.qpos[..., 3:7])
    return linear.square().mean(-1) + angle


def qvel_distance(body: Kinematics, reference: Kinematics) -> Tensor:
    """Mean squared difference of all velocities, root included."""
    return (body.qvel - reference.qvel).square().mean(-1)


def root_velocity_distance(body: Kinematics, reference: Kinematics) -> Tensor:
    """Mean squared difference of root velocities, linear parts each in their own root frame."""

    def local(state: Kinematics) -> Tensor:
        linear = rotate(state.root_rot.transpose(-1, -2), state.qvel[..., :3])
        return torch.cat((linear, state.qvel[..., 3:6]), dim=-1)

    return (local(body) - local(reference)).square().mean(-1)


def rotvec_distance(body: Kinematics, reference: Kinematics) -> Tensor:
    """Mean squared difference of relative rotation vectors (jumps where an angle passes pi)."""
    return (body.relative_rotvec - reference.relative_rotvec).square().mean((-1, -2))


def velocity_distances(body: Kinematics, reference: Kinematics) -> tuple[Tensor, Tensor]:
    """Mean squared differences of `relative_velocity`, angular and linear."""
    squares = (relative_velocity(body) - relative_velocity(reference)).square()
    return squares[..., :3].mean((-1, -2)), squares[..., 3:].mean((-1, -2))
