"""Tracking errors for people to read, in rad, rad/s and m; no part of the reward."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mm_torch.task_state import Kinematics
from sim.rotations import quat_yaw


def tracking_errors(body: Kinematics, reference: Kinematics) -> dict[str, Tensor]:
    """Return the errors of every world.

    joint_pos, joint_vel: RMS over the independent joints. joint_pos_all, joint_vel_all: RMS over
    all joints but the root, followers included (MuscleMimic's figures). site: mean distance of
    mimic sites in the world. site_relative: the same, relative to the main site. rpos: RMS over
    the components of the relative sites (MuscleMimic's err_rpos). With a root also root_pos:
    distance of the main site, root_xyz: RMS over the root's coordinates, root_yaw: rad.
    """
    root_nq, root_nv = body.layout.root_nq, body.layout.root_nv

    def rms(difference: Tensor) -> Tensor:
        return difference.square().flatten(1).mean(-1).sqrt()

    relative = body.relative_pos - reference.relative_pos
    sites = (body.site_pos - reference.site_pos).norm(dim=-1)
    errors = {
        "joint_pos": rms(body.joint_pos - reference.joint_pos),
        "joint_vel": rms(body.joint_vel - reference.joint_vel),
        "joint_pos_all": rms(body.qpos[:, root_nq:] - reference.qpos[:, root_nq:]),
        "joint_vel_all": rms(body.qvel[:, root_nv:] - reference.qvel[:, root_nv:]),
        "site": sites.mean(-1),
        "site_relative": relative.norm(dim=-1).mean(-1),
        "rpos": rms(relative),
    }
    if root_nq:
        turn = quat_yaw(body.qpos[:, 3:7]) - quat_yaw(reference.qpos[:, 3:7])
        errors["root_pos"] = sites[:, 0]
        errors["root_xyz"] = rms(body.root_pos - reference.root_pos)
        errors["root_yaw"] = (torch.remainder(turn + math.pi, 2 * math.pi) - math.pi).abs()
    return errors
