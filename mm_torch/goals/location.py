"""Walk to a point."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from mm_torch.goals.goal import Goal, Marker, uniform
from mm_torch.task_state import Body
from sim.rotations import rotate

_SPEED = 1.0  # m/s asked for on the way (the AMP paper's)


class Location(Goal):
    """A point on the ground `range` away in any direction (Peng et al. 2021, target location).

    Reward: 0.7 exp(-0.5 d²) + 0.3 exp(-max(0, v* - u·v)²), d the distance in the plane (m), u the
    direction to the point, v* = 1 m/s; all of the second part within the tolerance. Distance: d.
    """

    embodiments = ("fullbody",)
    tolerance = 0.3

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.command = torch.zeros(self.worlds, 2, device=self.device)

    def draw(self, body: Body, generator: torch.Generator) -> Tensor:
        """(nworld, 2) points in the plane (m)."""
        angle = uniform(-math.pi, math.pi, (self.worlds,), generator)
        away = uniform(*self.config.range, (self.worlds,), generator)
        offset = torch.stack((angle.cos(), angle.sin()), dim=-1) * away.unsqueeze(-1)
        return body.root_pos[:, :2] + offset

    def observe(self, body: Body) -> Tensor:
        """(nworld, 2) the point in the heading frame (m), no further than 10 m."""
        offset = self._offset(body)
        flat = torch.cat((offset, torch.zeros_like(offset[:, :1])), dim=-1)
        local = rotate(body.to_heading, flat)[:, :2]
        return local * (10.0 / local.norm(dim=-1, keepdim=True).clamp_min(10.0))

    def reward(self, body: Body) -> Tensor:
        """(nworld,) see the class."""
        offset = self._offset(body)
        away = offset.norm(dim=-1)
        towards = (offset * body.qvel[:, :2]).sum(-1) / away.clamp_min(1e-6)
        pace = (-(_SPEED - towards).clamp_min(0).square()).exp()
        pace = torch.where(away < self.tolerance, 1.0, pace)
        return 0.7 * (-0.5 * away.square()).exp() + 0.3 * pace

    def distance(self, body: Body) -> Tensor:
        """(nworld,) in the plane (m)."""
        return self._offset(body).norm(dim=-1)

    def markers(self, body: Body, world: int) -> list[Marker]:
        """The point."""
        x, y = self.command[world].tolist()
        return [Marker((x, y, 0.1), 0.1)]

    def _offset(self, body: Body) -> Tensor:
        return self.command - body.root_pos[:, :2]
