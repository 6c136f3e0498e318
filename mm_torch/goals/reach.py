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
    have been seen. Reward: mean over hands of half exp(-10 d²) + half exp(-400 d²), d in m: the
    first leads from anywhere, the second to the centimetre. Distance: of the hand further off (m).
    """

    embodiments = ("bimanual",)
    sites = ("left_hand_mimic", "right_hand_mimic")
    tolerance = 0.05

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._hands = [self.site[name] for name in self.sites]
        self._columns = torch.tensor(self._hands, device=self.device)
        self.command = torch.zeros(self.worlds, 2, 3, device=self.device)

    def draw(self, body: Body, generator: torch.Generator) -> Tensor:
        """(nworld, 2, 3) positions of the left and the right target (m)."""
        targets = []
        for hand in self._hands:
            clip = self.library.sample_clips(self.worlds, generator)
            frame = self.library.sample_frames(clip, generator)
            place = self.library.frames(clip, frame).site_pos[:, hand]
            targets.append(place + uniform(-_JITTER, _JITTER, (self.worlds, 3), generator))
        return torch.stack(targets, dim=1)

    def observe(self, body: Body) -> Tensor:
        """(nworld, 6) from each hand to its target (m); the base does not turn."""
        return self._offsets(body).flatten(1)

    def reward(self, body: Body) -> Tensor:
        """(nworld,) see the class."""
        square = self._offsets(body).square().sum(-1)
        return (0.5 * (-10 * square).exp() + 0.5 * (-400 * square).exp()).mean(-1)

    def distance(self, body: Body) -> Tensor:
        """(nworld,) of the hand that is further off (m)."""
        return self._offsets(body).norm(dim=-1).amax(-1)

    def markers(self, body: Body, world: int) -> list[Marker]:
        """The two targets; the left one green."""
        return [
            Marker(tuple(target.tolist()), self.tolerance, color)
            for target, color in zip(self.command[world], _COLORS, strict=True)
        ]

    def _offsets(self, body: Body) -> Tensor:
        return self.command - body.site_pos[:, self._columns]
