"""Walk in a commanded direction at a commanded speed."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from mm_torch.goals.goal import Goal, Marker, uniform
from mm_torch.task_state import Body
from sim.rotations import rotate


class Steer(Goal):
    """A direction in the world and a speed along it (Peng et al. 2021, target heading).

    The direction is drawn within `turn` of the way the body moves or, where it stands, faces.
    Reward: exp(-4 (v* - d·v)²), v the root's velocity in the plane. Distance: |v* d - v| (m/s).
    """

    embodiments = ("fullbody",)
    tolerance = 0.3

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.command = torch.zeros(self.worlds, 3, device=self.device)

    def draw(self, body: Body, generator: torch.Generator) -> Tensor:
        """(nworld, 3) direction in the plane (2) and speed (m/s)."""
        velocity = body.qvel[:, :2]
        moving = torch.atan2(velocity[:, 1], velocity[:, 0])
        # The bodies face along -y of their root frame.
        facing = -body.to_heading.transpose(-1, -2)[..., 1]
        facing = torch.atan2(facing[:, 1], facing[:, 0])
        angle = torch.where(velocity.norm(dim=-1) > 0.3, moving, facing)
        turn = math.radians(self.config.turn)
        angle = angle + uniform(-turn, turn, (self.worlds,), generator)
        speed = uniform(*self.config.speed, (self.worlds,), generator)
        return torch.stack((angle.cos(), angle.sin(), speed), dim=-1)

    def observe(self, body: Body) -> Tensor:
        """(nworld, 3) the direction in the heading frame, and the speed (m/s)."""
        flat = torch.cat((self.command[:, :2], torch.zeros_like(self.command[:, :1])), dim=-1)
        local = rotate(body.to_heading, flat)[:, :2]
        return torch.cat((local, self.command[:, 2:]), dim=-1)

    def reward(self, body: Body) -> Tensor:
        """(nworld,) see the class."""
        along = (body.qvel[:, :2] * self.command[:, :2]).sum(-1)
        return (-4 * (self.command[:, 2] - along).square()).exp()

    def distance(self, body: Body) -> Tensor:
        """(nworld,) between the commanded and the real velocity in the plane (m/s)."""
        wanted = self.command[:, :2] * self.command[:, 2:]
        return (wanted - body.qvel[:, :2]).norm(dim=-1)

    def markers(self, body: Body, world: int) -> list[Marker]:
        """A row of spheres along the commanded velocity, over a second."""
        start = body.root_pos[world].tolist()
        dx, dy, speed = self.command[world].tolist()
        return [
            Marker((start[0] + s * speed * dx, start[1] + s * speed * dy, 0.05), 0.03)
            for s in (0.2, 0.4, 0.6, 0.8, 1.0)
        ]
