"""How a policy's raw, unbounded action becomes muscle excitations."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def sigmoid(action: Tensor) -> Tensor:
    """Excitation = 1 / (1 + e^-a): every action counts, none is out of bounds."""
    return action.sigmoid()


def linear(action: Tensor) -> Tensor:
    """Excitation = (a + 1) / 2, clipped to [0, 1]."""
    return ((action + 1) / 2).clamp(0, 1)


def musclemimic(action: Tensor) -> Tensor:
    """Excitation = a clipped to [-1, 1]; the muscle takes what is below 0 for 0."""
    return action.clamp(-1, 1)


MAPPINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": sigmoid,
    "linear": linear,
    "musclemimic": musclemimic,
}
