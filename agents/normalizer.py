"""Running statistics: observation normalisation and return-based reward scaling."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Squares of larger magnitudes overflow float32; such entries count as non-finite.
_LARGEST = 1e18


class RunningNormalizer(nn.Module):
    """Shift and scale the last dimension by the mean and variance of all data seen so far.

    ``forward`` never changes the statistics and ``update`` is the only method that does, so a
    policy stays the same function from collecting a rollout until its update is finished. Before
    the first ``update`` it is the identity (up to ``clip``).

    Batches are merged by the parallel form of Welford's algorithm (Chan, Golub & LeVeque 1979).
    The statistics are float64, because after 10^10 samples a float32 mean no longer moves.
    """

    mean: Tensor
    var: Tensor
    count: Tensor

    def __init__(self, dim: int, *, eps: float = 1e-4, clip: float = 10.0) -> None:
        """Args: ``dim`` D of the data; ``eps`` added to the variance; ``clip`` bound of outputs."""
        super().__init__()
        if dim < 1 or eps <= 0 or clip <= 0:
            raise ValueError(f"need dim >= 1, eps > 0, clip > 0; got {dim}, {eps}, {clip}")
        self.eps = eps
        self.clip = clip
        self.register_buffer("mean", torch.zeros(dim, dtype=torch.float64))
        self.register_buffer("var", torch.ones(dim, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def update(self, batch: Tensor) -> None:
        """Merge the rows of a (..., D) batch; rows with a non-finite entry are left out."""
        if batch.shape[-1:] != self.mean.shape:
            raise ValueError(f"expected (..., {len(self.mean)}) data, got {tuple(batch.shape)}")
        rows = batch.reshape(-1, batch.shape[-1])
        valid = (rows.abs() < _LARGEST).all(dim=-1, keepdim=True)  # NaN compares false
        n = valid.sum(dtype=torch.float64)
        safe_n = n.clamp(min=1.0)
        batch_mean = rows.masked_fill(~valid, 0.0).sum(0, dtype=torch.float64) / safe_n
        centred = (rows - batch_mean.to(rows.dtype)).masked_fill(~valid, 0.0)
        batch_var = centred.square().sum(0, dtype=torch.float64) / safe_n

        total = (self.count + n).clamp(min=1.0)
        weight = n / total  # 0 for a batch without a valid row, which then changes nothing
        delta = batch_mean - self.mean
        merged = self.var * (1.0 - weight) + batch_var * weight
        self.var.copy_(merged + delta.square() * weight * (1.0 - weight))
        self.mean.add_(delta * weight)
        self.count.add_(n)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (..., D) data: ``clamp((x - mean) / sqrt(var + eps), -clip, clip)``."""
        scale = (self.var + self.eps).rsqrt().to(x.dtype)
        return ((x - self.mean.to(x.dtype)) * scale).clamp(-self.clip, self.clip)

    def fill_nonfinite(self, x: Tensor) -> Tensor:
        """(..., D) data with each NaN or infinity replaced by the running mean (a neutral 0)."""
        return torch.where(x.isfinite(), x, self.mean.to(x.dtype))


class ReturnScaler(nn.Module):
    """Scale rewards by the standard deviation of the running discounted return.

    Each world carries ``R <- gamma R + r``, which restarts at zero after the end of an episode.
    Rewards are divided by ``sqrt(var(R))`` and not shifted, which leaves the optimal policy as it
    is and keeps value targets of order one to ten (Engstrom et al. 2020, section 3). The running
    returns are buffers too, so that a resumed run continues exactly.
    """

    returns: Tensor

    def __init__(self, num_envs: int, gamma: float, *, eps: float = 1e-8) -> None:
        super().__init__()
        self.gamma = gamma
        self.moments = RunningNormalizer(1, eps=eps)
        self.register_buffer("returns", torch.zeros(num_envs))

    @torch.no_grad()
    def update(self, rewards: Tensor, done: Tensor) -> None:
        """Take in one rollout: (T, N) unscaled rewards (non-finite ones count as 0) and ends."""
        running = self.returns
        history = torch.empty_like(rewards)
        for t, reward in enumerate(rewards.masked_fill(~rewards.isfinite(), 0.0)):
            history[t] = running = self.gamma * running + reward
            running = running.masked_fill(done[t], 0.0)
        self.returns.copy_(running)
        self.moments.update(history.unsqueeze(-1))

    def forward(self, rewards: Tensor) -> Tensor:
        """Scaled rewards, of the shape given. Only ``update`` changes the scale."""
        return rewards * (self.moments.var + self.moments.eps).rsqrt().to(rewards.dtype)
