"""How a policy's raw, unbounded action becomes muscle excitations."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def sigmoid(action: Tensor) -> Tensor:
    """Excitation = 1 / (1 + e^-a): every action counts, none is out of bounds."""
    return action.sigmoid()


def corrected(action: Tensor, activation: Tensor) -> Tensor:
    """Excitation = sigmoid(a + logit(activation)): the action corrects what is expected.

    A zero action gives the expected activation itself, kept off 0 and 1 by 0.02 so that a
    correction can be felt. As the logit is steep near 0, the same noise moves a silent muscle
    less than an active one, as signal-dependent noise does in people (Harris and Wolpert 1998).

    Args:
        action: (..., nu) raw action.
        activation: (..., nu) expected activation.
    """
    return (action + activation.clamp(0.02, 0.98).logit()).sigmoid()


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
