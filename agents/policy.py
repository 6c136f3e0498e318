"""A Gaussian policy and its value function, from raw observations to raw actions."""

from __future__ import annotations

from collections.abc import Sequence
from math import log, pi

import torch
from torch import Tensor, nn

from agents.networks import Activation, Residual, build_mlp
from agents.normalizer import RunningNormalizer


class GaussianHead(nn.Module):
    """The spread of a diagonal Gaussian: one standard deviation per action, for all states.

    ``std = min_std + (max_std - min_std) * sigmoid(raw)`` stays inside its bounds for every
    ``raw``, so no gradient can make the distribution collapse, explode or change sign.
    """

    def __init__(self, action_dim: int, init_std: float, min_std: float, max_std: float) -> None:
        super().__init__()
        if not 0.0 < min_std < init_std < max_std:
            raise ValueError(f"need 0 < min_std < init_std < max_std: {min_std, init_std, max_std}")
        self.min_std = min_std
        self.max_std = max_std
        raw = log((init_std - min_std) / (max_std - init_std))  # logit: the std starts at init_std
        self.raw = nn.Parameter(torch.full((action_dim,), raw))

    @property
    def std(self) -> Tensor:
        """(A,) standard deviations, in units of the raw action."""
        std = self.min_std + (self.max_std - self.min_std) * self.raw.sigmoid()
        return std.clamp(self.min_std, self.max_std)  # the sum may round past its upper bound

    def sample(self, mean: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(..., A) actions around (..., A) means; the generator lives on their device."""
        noise = torch.randn(mean.shape, dtype=mean.dtype, device=mean.device, generator=generator)
        return mean + self.std * noise

    def log_prob(self, mean: Tensor, action: Tensor) -> Tensor:
        """(...,) float64 log density of (..., A) actions.

        The sum over hundreds of actions is of order -1000, where float32 resolves 1e-4 only. In
        float64 the ratio of new to old probability is as exact as the means are.
        """
        std = self.std
        squares = ((action - mean) / std).square().sum(-1, dtype=torch.float64)
        return -0.5 * squares - (std.log() + 0.5 * log(2.0 * pi)).sum(dtype=torch.float64)

    def entropy(self) -> Tensor:
        """() entropy of the distribution, in nats; the same for every state."""
        return (self.std.log() + 0.5 * (1.0 + log(2.0 * pi))).sum()


class ActorCritic(nn.Module):
    """Separate actor and critic networks behind one shared observation normaliser.

    Every method takes *raw* observations, so a state dict alone reproduces the policy. Actions
    are not squashed: the environment maps them to excitations.
    """

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        *,
        actor_hidden: Sequence[int] = (256, 256),
        critic_hidden: Sequence[int] | None = None,
        residual: Residual = "none",
        activation: Activation = "silu",
        direct: bool = False,
        init_mean: float = 0.0,
        init_std: float = 1.0,
        min_std: float = 0.01,
        max_std: float = 5.0,
        obs_clip: float = 10.0,
        generator: torch.Generator | None = None,
    ) -> None:
        """Build both networks; ``generator`` (of the CPU) makes the weights reproducible.

        Args:
            critic_hidden: widths of the critic; those of the actor if None.
            direct: add a linear path from observation to action to the actor.
            init_mean: the action at first, in every dimension and nearly every state. Muscles
                want one that means a low excitation.
            init_std: the standard deviation at first, strictly between ``min_std`` and
                ``max_std``, in units of the raw action.
            obs_clip: bound of normalised observations, in standard deviations.

        Raises:
            ValueError: for an invalid width, option or standard deviation.
        """
        super().__init__()
        self.normalizer = RunningNormalizer(obs_dim, clip=obs_clip)
        self.actor = build_mlp(
            obs_dim,
            actor_hidden,
            action_dim,
            residual=residual,
            activation=activation,
            direct=direct,
            generator=generator,
        )
        nn.init.constant_(self.actor.head.bias, init_mean)
        self.critic = build_mlp(
            obs_dim,
            actor_hidden if critic_hidden is None else critic_hidden,
            1,
            residual=residual,
            activation=activation,
            generator=generator,
        )
        self.gaussian = GaussianHead(action_dim, init_std, min_std, max_std)

    def act(
        self,
        obs: Tensor,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sample: (N, obs_dim) to action (N, A), log_prob (N,) float64 and value (N,).

        ``noise`` (N, A), standard normal, is used in place of drawing from the generator.
        """
        normalized = self.normalizer(obs)
        mean = self._mean(normalized)
        if noise is None:
            action = self.gaussian.sample(mean, generator)
        else:
            action = mean + self.gaussian.std * noise
        return action, self.gaussian.log_prob(mean, action), self._value(normalized)

    def evaluate(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Judge given actions: log_prob (N,) float64, entropy () in nats and value (N,)."""
        normalized = self.normalizer(obs)
        log_prob = self.gaussian.log_prob(self._mean(normalized), action)
        return log_prob, self.gaussian.entropy(), self._value(normalized)

    def mean_action(self, obs: Tensor) -> Tensor:
        """The most likely action, to deploy: (N, obs_dim) to (N, A)."""
        return self._mean(self.normalizer(obs))

    def value(self, obs: Tensor) -> Tensor:
        """Expected discounted return, in units of the (scaled) reward: (N, obs_dim) to (N,)."""
        return self._value(self.normalizer(obs))

    def hidden_matrices(self) -> list[nn.Parameter]:
        """The hidden-to-hidden weights of both networks, which Muon may train."""
        return self.actor.hidden_matrices() + self.critic.hidden_matrices()

    # Under autocast the networks return bfloat16, too coarse for densities and value targets.
    def _mean(self, normalized: Tensor) -> Tensor:
        return self.actor(normalized).float()

    def _value(self, normalized: Tensor) -> Tensor:
        return self.critic(normalized).squeeze(-1).float()
