"""How a policy's raw, unbounded action becomes muscle excitations, and what to do without noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

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


class MeanExcitation(nn.Module):
    """A trained policy without its noise: the mean excitation of the Gaussian it was trained as.

    The mapping from action to excitation is not linear, so the excitation of the mean action is not
    the mean excitation: for muscles that are mostly silent it is far lower, and a body driven by it
    sags. Called, this returns the raw action whose excitation is the mean one. MuscleMimic's
    mapping gets the mean action, as MuscleMimic does.
    """

    nodes: Tensor
    weights: Tensor

    def __init__(self, policy: ActorCritic, mapping: str, nodes: int = 15) -> None:
        """Prepare for a policy.

        Args:
            policy: any.
            mapping: a key of `MAPPINGS`, as the policy was trained with.
            nodes: values of the Gaussian that the mean is taken over.
        """
        super().__init__()
        self.policy, self.mapping = policy, mapping
        # Gauss-Hermite nodes for the mean over a standard normal variable.
        points, weights = np.polynomial.hermite_e.hermegauss(nodes)
        like = policy.gaussian.raw.detach()
        self.register_buffer("nodes", torch.from_numpy(points).to(like))
        self.register_buffer("weights", torch.from_numpy(weights / weights.sum()).to(like))

    def forward(self, obs: Tensor) -> Tensor:
        """Return the raw action (nworld, nu) for observations (nworld, obs_dim)."""
        if self.mapping == "musclemimic":
            return self.policy.mean_action(obs)
        return INVERSES[self.mapping](self.excitation(obs))

    def excitation(self, obs: Tensor) -> Tensor:
        """Return the excitation (nworld, nu) for observations (nworld, obs_dim)."""
        mean = self.policy.mean_action(obs)
        excite = MAPPINGS[self.mapping]
        if self.mapping == "musclemimic":
            return excite(mean)
        spread = self.policy.gaussian.std.unsqueeze(-1) * self.nodes
        return (excite(mean.unsqueeze(-1) + spread) * self.weights).sum(-1)


INVERSES: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": lambda excitation: excitation.clamp(1e-6, 1 - 1e-6).logit(),
    "linear": lambda excitation: 2 * excitation - 1,
}
