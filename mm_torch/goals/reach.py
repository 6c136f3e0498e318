"""Both hands to targets in the reachable space."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mm_torch.goals.goal import Goal, Marker, uniform
from mm_torch.task_state import Body

_JITTER = 0.05  # m, around a hand's place in a clip
_COLORS = ((0.1, 0.7, 0.3, 0.6), (0.9, 0.5, 0.1, 0.6))


class Reach(Goal):
    """Targets are where the two hands are in random frames of the motions, and 5 cm around.

    Each hand's frame is drawn by itself: all targets are within reach of their hand, and few pairs
    have been seen. From the hand's place a point moves straight to the target at `task.pace`; the
    hand is paid for being at the point, mean over hands of half exp(-50 d²) + half exp(-400 d²),
    d in m, and training gives up on a hand further from its point than `task.leash`. So there is
    always something near to be gained, which a reward for the target alone does not give to arms
    that have yet to learn to bear their own weight. Distance: of the hand further from its target.
    """

    embodiments = ("bimanual",)
    sites = ("left_hand_mimic", "right_hand_mimic")
    tolerance = 0.05

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._hands = [self.site[name] for name in self.sites]
        self._columns = torch.tensor(self._hands, device=self.device)
        # (nworld, target or moving point, hand, 3), m.
        self.command = torch.zeros(self.worlds, 2, 2, 3, device=self.device)

    def draw(self, body: Body, generator: torch.Generator) -> Tensor:
        """(nworld, 2, 2, 3): the targets of the left and the right hand, and where they are (m)."""
        targets = []
        for hand in self._hands:
            clip = self.library.sample_clips(self.worlds, generator)
            frame = self.library.sample_frames(clip, generator)
            place = self.library.frames(clip, frame).site_pos[:, hand]
            targets.append(place + uniform(-_JITTER, _JITTER, (self.worlds, 3), generator))
        return torch.stack((torch.stack(targets, dim=1), self._at(body)), dim=1)

    def advance(self, dt: float) -> None:
        """Move the points on, straight to their targets."""
        target, point = self.command.unbind(1)
        way = target - point
        length = way.norm(dim=-1, keepdim=True).clamp_min(1e-9)
        point = point + way * (self.config.pace * dt / length).clamp_max(1.0)
        self.command = torch.stack((target, point), dim=1)

    def observe(self, body: Body) -> Tensor:
        """(nworld, 12) from each hand to its target, then to its point (m); the base stands."""
        return (self.command - self._at(body).unsqueeze(1)).flatten(1)

    def reward(self, body: Body) -> Tensor:
        """(nworld,) see the class."""
        square = (self.command[:, 1] - self._at(body)).square().sum(-1)
        return (0.5 * (-50 * square).exp() + 0.5 * (-400 * square).exp()).mean(-1)

    def lost(self, body: Body) -> Tensor:
        """(nworld,) whether a hand is further from its point than the leash."""
        return ((self.command[:, 1] - self._at(body)).norm(dim=-1) > self.config.leash).any(-1)

    def distance(self, body: Body) -> Tensor:
        """(nworld,) of the hand that is further off its target (m)."""
        return (self.command[:, 0] - self._at(body)).norm(dim=-1).amax(-1)

    def markers(self, body: Body, world: int) -> list[Marker]:
        """The two targets; the left one green."""
        return [
            Marker(tuple(target.tolist()), self.tolerance, color)
            for target, color in zip(self.command[world, 0], _COLORS, strict=True)
        ]

    def _at(self, body: Body) -> Tensor:
        return body.site_pos[:, self._columns]
