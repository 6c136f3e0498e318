"""Action noise that is correlated in time."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CorrelatedNoise(nn.Module):
    """Standard normal noise per world and action, correlated from step to step.

    x_t = rho x_{t-1} + sqrt(1 - rho^2) e_t keeps the N(0, 1) marginal that the policy's density
    assumes. Muscles filter white noise away: their activation follows excitation with time
    constants of tens of milliseconds. Noise that lasts as long moves the limbs, so its effect can
    be learnt from. PPO keeps using the marginal density (Hollenstein et al. 2024, "Colored noise
    in PPO").
    """

    state: Tensor

    def __init__(self, num_envs: int, action_dim: int, correlation: float) -> None:
        """Args: ``correlation`` rho in [0, 1); 0 gives white noise."""
        super().__init__()
        if not 0.0 <= correlation < 1.0:
            raise ValueError(f"noise correlation must be in [0, 1), got {correlation}")
        self.correlation = correlation
        self.register_buffer("state", torch.zeros(num_envs, action_dim))
        # Worlds whose noise starts anew: all at first, then those whose episode ended.
        self.register_buffer("fresh", torch.ones(num_envs, dtype=torch.bool))

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw the (N, A) noise of the next step."""
        white = torch.randn(
            self.state.shape, dtype=self.state.dtype, device=self.state.device, generator=generator
        )
        rho = self.correlation
        following = rho * self.state + (1.0 - rho * rho) ** 0.5 * white
        self.state = torch.where(self.fresh.unsqueeze(1), white, following)
        self.fresh = torch.zeros_like(self.fresh)
        return self.state

    def restart(self, done: Tensor) -> None:
        """Start anew in the worlds (N,) bool whose episode ended."""
        self.fresh = done.clone()
