"""Positions and velocities of frames in torch, as simulators report them for the mimic sites."""

from __future__ import annotations

import torch
from torch import Tensor

from sim.kinematics import Kinematics


class FrameMotion:
    """Where frames are and how they move, batched over postures and differentiable.

    The velocity of a frame is the sum of what the joints above it add (their twists, expressed at
    one point of space), so that it needs no Jacobian.
    """

    def __init__(self, kinematics: Kinematics) -> None:
        """Args: ``kinematics`` of the frames."""
        self._kinematics = kinematics
        frame, node = kinematics.pairs
        moves = kinematics.hinge.new_zeros(len(kinematics.frames), len(kinematics.node_dof))
        moves[frame, node] = 1.0
        self._moves = moves  # (F, N): whether a joint moves a frame

    def __call__(self, qpos: Tensor, qvel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Evaluate postures (..., nq) and velocities (..., nv).

        Returns:
            Positions (..., F, 3) in m, rotations (..., F, 3, 3), and velocities (..., F, 6),
            angular (rad/s) then linear (m/s), world axes, at the frames.
        """
        kinematics, lead = self._kinematics, qpos.shape[:-1]
        pose = kinematics.pose(qpos.reshape(-1, qpos.shape[-1]).T)
        rate = qvel.reshape(-1, qvel.shape[-1]).T
        position, anchor = pose.position, pose.anchor
        if pose.origin is not None:
            # Twists about the root, not the world's origin, from which bodies walk far away.
            position, anchor = position - pose.origin, anchor - pose.origin
        turn = pose.axis * rate[kinematics.node_dof].unsqueeze(1)  # (N, 3, T)
        angular = turn * kinematics.hinge
        linear = torch.linalg.cross(anchor, angular, dim=1) + turn * (1 - kinematics.hinge)
        twist = torch.stack((angular, linear), dim=1)
        nodes, count = twist.shape[0], twist.shape[-1]
        twist = (self._moves @ twist.reshape(nodes, -1)).view(-1, 2, 3, count)
        if pose.root is not None:
            spin = (pose.root * rate[3:6]).sum(1)
            twist = twist + torch.stack((spin, rate[:3]))
        angular, linear = twist.unbind(1)
        linear = linear + torch.linalg.cross(angular, position, dim=1)
        velocity = torch.cat((angular, linear), dim=1)  # (F, 6, T)
        frames = len(kinematics.frames)
        return (
            pose.position.permute(2, 0, 1).reshape(*lead, frames, 3),
            pose.rotation.permute(3, 0, 1, 2).reshape(*lead, frames, 3, 3),
            velocity.permute(2, 0, 1).reshape(*lead, frames, 6),
        )
