"""Storage for the experience of one iteration and its division into minibatches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """B independent samples for the PPO loss."""

    obs: Tensor
    """(B, obs_dim) raw observations."""
    actions: Tensor
    """(B, action_dim) raw actions taken."""
    log_probs: Tensor
    """(B,) float64 log density of the actions under the policy that took them."""
    values: Tensor
    """(B,) value estimates at the time."""
    advantages: Tensor
    """(B,) advantage estimates."""
    returns: Tensor
    """(B,) value targets, ``advantages + values``."""


class Rollout:
    """T steps of N worlds in preallocated (T, N, ...) tensors, filled one step at a time."""

    def __init__(
        self,
        num_steps: int,
        num_envs: int,
        obs_dim: int,
        action_dim: int,
        device: torch.device | str = "cpu",
    ) -> None:
        if min(num_steps, num_envs, obs_dim, action_dim) < 1:
            raise ValueError(
                f"sizes must be positive, got {num_steps, num_envs, obs_dim, action_dim}"
            )

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(num_steps, num_envs, *shape, dtype=dtype, device=device)

        self.num_steps = num_steps
        self.num_envs = num_envs
        self.filled = 0  # steps added since the last clear
        self.obs = zeros(obs_dim)
        self.actions = zeros(action_dim)
        self.log_probs = zeros(dtype=torch.float64)
        self.values = zeros()
        self.next_values = zeros()
        self.rewards = zeros()
        self.terminated = zeros(dtype=torch.bool)
        self.done = zeros(dtype=torch.bool)

    def clear(self) -> None:
        """Start over; the next ``add`` overwrites step 0."""
        self.filled = 0

    def add(
        self,
        *,
        obs: Tensor,
        actions: Tensor,
        log_probs: Tensor,
        values: Tensor,
        next_values: Tensor,
        rewards: Tensor,
        terminated: Tensor,
        done: Tensor,
    ) -> None:
        """Copy in one step of (N, ...) tensors; ``next_values`` belong to the true next state."""
        if self.filled == self.num_steps:
            raise RuntimeError(f"the rollout already holds its {self.num_steps} steps; clear it")
        t = self.filled
        self.obs[t].copy_(obs)
        self.actions[t].copy_(actions)
        self.log_probs[t].copy_(log_probs)
        self.values[t].copy_(values)
        self.next_values[t].copy_(next_values)
        self.rewards[t].copy_(rewards)
        self.terminated[t].copy_(terminated)
        self.done[t].copy_(done)
        self.filled += 1

    def flatten(self, advantages: Tensor) -> Batch:
        """All T * N samples, time-major and mostly as views, with their (T, N) advantages."""
        if self.filled != self.num_steps:
            raise RuntimeError(f"the rollout holds {self.filled} of {self.num_steps} steps")
        if advantages.shape != self.values.shape:
            raise ValueError(
                f"advantages are {tuple(advantages.shape)}, expected {tuple(self.values.shape)}"
            )
        returns = advantages + self.values
        columns = (self.obs, self.actions, self.log_probs, self.values, advantages, returns)
        return Batch(*(column.flatten(0, 1) for column in columns))


def iterate_minibatches(
    batch: Batch, count: int, generator: torch.Generator | None = None
) -> Iterator[Batch]:
    """Yield ``count`` equal minibatches of one random permutation: each sample exactly once.

    The generator lives on the device of the batch.

    Raises:
        ValueError: if ``count`` does not divide the batch.
    """
    size = len(batch.obs)
    if count < 1 or size % count:
        raise ValueError(f"{size} samples cannot be split into {count} equal minibatches")
    permutation = torch.randperm(size, generator=generator, device=batch.obs.device)
    for indices in permutation.view(count, -1):
        yield Batch(*(column[indices] for column in batch))
