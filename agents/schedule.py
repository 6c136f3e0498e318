"""Learning-rate multipliers as functions of training progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

ScheduleName = Literal["linear", "constant", "adaptive"]


def linear_schedule(progress: float, floor: float = 0.0) -> float:
    """Multiplier that falls linearly from 1 at progress 0 to ``floor`` at progress 1.

    Progress outside [0, 1] is clamped, so training on beyond its plan stays at the floor.
    """
    return 1.0 - (1.0 - floor) * min(max(progress, 0.0), 1.0)


def constant_schedule(progress: float, floor: float = 0.0) -> float:
    """Multiplier 1 at all times; both arguments are ignored."""
    return 1.0


def adapted(scale: float, kl: float, desired_kl: float, floor: float = 0.0) -> float:
    """Multiplier of the next iteration, after one that moved the policy by ``kl`` nats.

    The KL divergence grows with the square of the learning rate: outside half and twice the
    desired one the rate follows its square root, by a factor of 1/4 to 1.5 at a time (the idea is
    that of Schulman et al. 2017, section 4, where a penalty is adapted). The multiplier stays
    between ``floor`` and 1, so the base rate is the highest.
    """
    if 0.5 * desired_kl <= kl <= 2.0 * desired_kl:
        return scale
    factor = min(max((desired_kl / max(kl, 1e-12)) ** 0.5, 0.25), 1.5)
    return min(max(scale * factor, floor), 1.0)


SCHEDULES: dict[str, Callable[[float, float], float]] = {
    "linear": linear_schedule,
    "constant": constant_schedule,
    "adaptive": constant_schedule,  # times what `adapted` says
}
