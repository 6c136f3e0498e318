"""How a policy's raw, unbounded action becomes muscle excitations, and what to do without noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from agents import ActorCritic


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


class MeanExcitation:
    """A trained policy without its noise: the mean excitation of the Gaussian it was trained as.

    The mapping from action to excitation is not linear, so the excitation of the mean action is not
    the mean excitation: for muscles that are mostly silent it is far lower, and a body driven by it
    sags. This returns the raw action whose excitation is the mean one. MuscleMimic's mapping gets
    the mean action, as MuscleMimic does.
    """

    def __init__(self, policy: ActorCritic, mapping: str, nodes: int = 15) -> None:
        """Prepare for a policy.

        Args:
            policy: any.
            mapping: a key of `MAPPINGS`, as the policy was trained with.
            nodes: values of the Gaussian that the mean is taken over.
        """
        self._policy, self._mapping = policy, mapping
        # Gauss-Hermite nodes for the mean over a standard normal variable.
        points, weights = np.polynomial.hermite_e.hermegauss(nodes)
        device = next(policy.parameters()).device
        self._nodes = torch.tensor(points, dtype=torch.float32, device=device)
        self._weights = torch.tensor(weights / weights.sum(), dtype=torch.float32, device=device)

    def __call__(self, obs: Tensor) -> Tensor:
        """Return the raw action (nworld, nu) for observations (nworld, obs_dim)."""
        if self._mapping == "musclemimic":
            return self._policy.mean_action(obs)
        return INVERSES[self._mapping](self.excitation(obs))

    def excitation(self, obs: Tensor) -> Tensor:
        """Return the mean excitation (nworld, nu) for observations (nworld, obs_dim)."""
        mean = self._policy.mean_action(obs)
        spread = self._policy.gaussian.std.unsqueeze(-1) * self._nodes
        return (MAPPINGS[self._mapping](mean.unsqueeze(-1) + spread) * self._weights).sum(-1)


INVERSES: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": lambda excitation: excitation.clamp(1e-6, 1 - 1e-6).logit(),
    "linear": lambda excitation: 2 * excitation - 1,
}
