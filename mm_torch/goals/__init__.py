"""Tasks other than imitation: one file each, entered in `GOALS`."""

from __future__ import annotations

from mm_torch.goals.goal import Goal, Marker
from mm_torch.goals.location import Location
from mm_torch.goals.reach import Reach
from mm_torch.goals.steer import Steer

#: What task.name may be, besides "imitation".
GOALS: dict[str, type[Goal]] = {"reach": Reach, "steer": Steer, "location": Location}

__all__ = ["GOALS", "Goal", "Location", "Marker", "Reach", "Steer"]
