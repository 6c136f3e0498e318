"""What can go wrong in a simulated world, and how it is recognised.

A faulty world is reset alone by the environment; here it is only named. Nothing waits for the
device.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Kinds of faults; the code of a kind is its index. Zero is no fault.
KINDS = ("none", "nonfinite", "speed", "overflow")
NONE, NONFINITE, SPEED, OVERFLOW = range(4)

#: No joint moves faster than this (rad/s, m/s) unless its world is on its way to NaN. Under random
#: and all-on excitations that switch every 0.15 s, the fastest joint of the full body as published
#: (phantom_inertia=1) reached 31 rad/s (53 with fingers), of the arms 18 (19).
MAX_SPEED = 1000.0


def classify(qpos: Tensor, qvel: Tensor, act: Tensor, overflowed: Tensor | None = None) -> Tensor:
    """Return the fault code (nworld,) uint8 of every world.

    Where several apply, the cause is named rather than the effect: lost contacts or constraints
    (overflow), then a state that is not finite, then a velocity beyond `MAX_SPEED`.

    Args:
        qpos: (nworld, nq), qvel: (nworld, nv), act: (nworld, nu) after a step.
        overflowed: (nworld,) bool, worlds that lost contacts or constraints in it.
    """
    fast = (qvel.abs() > MAX_SPEED).any(-1)  # a NaN compares false
    finite = qpos.isfinite().all(-1) & qvel.isfinite().all(-1) & act.isfinite().all(-1)
    code = fast.to(torch.uint8) * SPEED
    code = torch.where(finite, code, NONFINITE)
    return code if overflowed is None else torch.where(overflowed, OVERFLOW, code)
