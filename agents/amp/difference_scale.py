"""A normaliser of differences, for which zero stays zero."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from agents.amp.replay import usable


class DifferenceScale(nn.Module):
    """Divide each entry by the mean magnitude that it has had so far.

    ADD's only real sample is the zero difference (arXiv:2505.04961). Subtracting a mean
    would move it as training goes on, and a discriminator would chase it.

    Like RunningNormalizer, only ``update`` changes the statistics, which are float64, and before
    the first one this is the identity (up to ``clip``).
    """

    mean_abs: Tensor
    count: Tensor

    def __init__(self, dim: int, *, eps: float = 1e-4, clip: float = 10.0) -> None:
        """Args: ``dim`` D of the data; ``eps`` least divisor; ``clip`` bound of outputs."""
        super().__init__()
        if dim < 1 or eps <= 0 or clip <= 0:
            raise ValueError(f"need dim >= 1, eps > 0, clip > 0; got {dim}, {eps}, {clip}")
        self.eps, self.clip = eps, clip
        self.register_buffer("mean_abs", torch.ones(dim, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def update(self, batch: Tensor) -> None:
        """Merge the rows of a (..., D) batch; rows with a non-finite entry are left out."""
        if batch.shape[-1:] != self.mean_abs.shape:
            raise ValueError(f"expected (..., {len(self.mean_abs)}) data, got {tuple(batch.shape)}")
        rows = batch.reshape(-1, batch.shape[-1])
        good = usable(rows).unsqueeze(1)
        added = good.sum(dtype=torch.float64)
        total = rows.abs().masked_fill(~good, 0.0).sum(0, dtype=torch.float64)
        count = self.count + added
        # Without any usable row so far the divisor stays 1.
        mean = (self.mean_abs * self.count + total) / count.clamp(min=1.0)
        self.mean_abs.copy_(torch.where(count > 0, mean, self.mean_abs))
        self.count.copy_(count)

    def forward(self, x: Tensor) -> Tensor:
        """Scale (..., D) data: ``clamp(x / max(mean |x|, eps), -clip, clip)``."""
        return (x / self.mean_abs.clamp(min=self.eps).to(x.dtype)).clamp(-self.clip, self.clip)
