"""Detours: deviations from a motion that are smooth by themselves.

A leg that has to be led around the other could be pushed aside in the few frames in which they
would meet: it would be jerked, by forces that no ground gives. A deviation slower than the motion
itself sets in before and fades after.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sim.rotations import quat_conjugate, quat_multiply


@dataclass(frozen=True)
class Detour:
    """Deviations from postures that stay smooth by themselves.

    Attributes:
        joints, root: what is deviated from.
        stiffness: (n,) cost of the deviation's squared acceleration.
    """

    joints: Tensor
    root: Tensor | None
    stiffness: Tensor

    def deviation(self, joints: Tensor, root: Tensor | None) -> Tensor:
        """How far postures deviate, see :func:`deviation`."""
        return deviation(self.joints, self.root, joints, root)


def deviation(
    joints: Tensor, root: Tensor | None, other_joints: Tensor, other_root: Tensor | None
) -> Tensor:
    """From postures to others, as steps (T, n) of the independent coordinates."""
    parts = [other_joints - joints]
    if root is not None:
        turn = turn_between(root[:, 3:], other_root[:, 3:])
        parts = [other_root[:, :3] - root[:, :3], turn, *parts]
    return torch.cat(parts, dim=1)


def turn_between(before: Tensor, after: Tensor) -> Tensor:
    """Rotation vectors (T, 3) from quaternions to others (T, 4), for small turns."""
    relative = quat_multiply(quat_conjugate(before), after)
    return 2 * torch.where(relative[:, :1] < 0, -relative, relative)[:, 1:]
