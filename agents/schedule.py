"""Learning-rate multipliers as functions of training progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

ScheduleName = Literal["linear", "constant"]


def linear_schedule(progress: float, floor: float = 0.0) -> float:
    """Multiplier that falls linearly from 1 at progress 0 to ``floor`` at progress 1.

    Progress outside [0, 1] is clamped, so training on beyond its plan stays at the floor.
    """
    return 1.0 - (1.0 - floor) * min(max(progress, 0.0), 1.0)


def constant_schedule(progress: float, floor: float = 0.0) -> float:
    """Multiplier 1 at all times; both arguments are ignored."""
    return 1.0


SCHEDULES: dict[str, Callable[[float, float], float]] = {
    "linear": linear_schedule,
    "constant": constant_schedule,
}
