"""Undiscounted returns and lengths of episodes that span several rollouts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from agents.metrics import Metrics


class EpisodeTracker(nn.Module):
    """Sum rewards and count steps in each of N worlds until its episode ends."""

    returns: Tensor
    lengths: Tensor

    def __init__(self, num_envs: int) -> None:
        super().__init__()
        self.register_buffer("returns", torch.zeros(num_envs))
        self.register_buffer("lengths", torch.zeros(num_envs))

    @torch.no_grad()
    def update(self, reward: Tensor, done: Tensor, metrics: Metrics) -> None:
        """Take in one step, (N,) rewards and bool ends, and report the episodes that ended.

        Adds ``episode_return`` (in units of the reward) and ``episode_length`` (in steps), each
        the mean over finished episodes.
        """
        self.returns += reward
        self.lengths += 1.0
        ended = done.sum()
        for name, totals in (("return", self.returns), ("length", self.lengths)):
            mean = totals.masked_fill(~done, 0.0).sum() / ended
            metrics.add(f"episode_{name}", mean, weight=ended)
            totals.masked_fill_(done, 0.0)
