"""The terms of the PPO objective (Schulman et al. 2017, arXiv:1707.06347), and of imitation."""

from __future__ import annotations

import torch
from torch import Tensor


def policy_loss(ratio: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """() clipped surrogate, negated (equation 7), of (B,) probability ratios and advantages."""
    clipped = ratio.clamp(1.0 - clip, 1.0 + clip)
    return -torch.minimum(ratio * advantages, clipped * advantages).mean()


def value_loss(values: Tensor, old_values: Tensor, targets: Tensor, clip: float | None) -> Tensor:
    """() half mean squared error of (B,) values.

    With ``clip``, in units of the value, predictions gain nothing from moving further than that
    from ``old_values``: the larger error of the value and the clipped value counts.
    """
    error = (values - targets).square()
    if clip is not None:
        clipped = old_values + (values - old_values).clamp(-clip, clip)
        error = torch.maximum(error, (clipped - targets).square())
    return 0.5 * error.mean()


def approximate_kl(log_ratio: Tensor) -> Tensor:
    """() KL divergence of old from new policy in nats, from (B,) log ratios of samples of the old.

    The estimator ``mean(r - 1 - log r)`` is unbiased, never negative and of low variance (k3 of
    Schulman 2020, joschu.net/blog/kl-approx.html).
    """
    return (log_ratio.expm1() - log_ratio).mean()


def explained_variance(values: Tensor, targets: Tensor) -> Tensor:
    """() share of the variance of the targets that the values predict: 1 perfect, 0 useless."""
    return 1.0 - (targets - values).var() / targets.var().clamp(min=1e-8)


def standardize(x: Tensor) -> Tensor:
    """(B,) tensor shifted to zero mean and scaled to unit variance."""
    return (x - x.mean()) / (x.std(correction=0) + 1e-8)


def imitation_loss(
    excitation: Tensor, label: Tensor, kind: str = "squared", smallest: float = 0.01
) -> Tensor:
    """() mean error of (B, nu) excitations, by its square or by each state's root mean square.

    Squared errors are those of falls for the most part: in the last half second before one, a
    teacher excites whatever may still help. By their roots every state pulls alike, but for those
    with an error far below ``smallest``, which pull less.

    Raises:
        ValueError: ``kind`` is neither "squared" nor "root".
    """
    squared = (excitation - label).square().mean(dim=-1)
    if kind == "squared":
        return squared.mean()
    if kind == "root":
        return (squared + smallest**2).sqrt().mean()
    raise ValueError(f"kind={kind}: expected squared or root")
