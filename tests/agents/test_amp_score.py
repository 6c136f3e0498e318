"""The style score: about 1 for what cannot be told apart, 0 for what can."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from agents.amp import style_score

# A smaller budget than the default, enough for six dimensions.
QUICK = {"hidden": (64, 64), "updates": 200}


def _samples(count: int, seed: int, shift: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return shift + torch.randn(count, 6, generator=generator) @ torch.ones(6, 6).tril()


def test_equal_distributions_score_one_and_far_ones_zero() -> None:
    real = _samples(4000, 1)
    same = style_score(real, _samples(4000, 2))
    assert same.score > 0.9 and abs(same.auc - 0.5) < 0.05
    assert same.reward == pytest.approx(same.reward_real, abs=0.05)
    assert same.samples == 1000
    far = style_score(real, _samples(4000, 3, shift=8.0))
    assert far.score < 0.02 and far.auc > 0.99 and far.reward < 0.2 < 0.8 < far.reward_real


def test_the_score_falls_with_distance_and_does_not_depend_on_units() -> None:
    real = _samples(4000, 1)
    scores = [
        style_score(real, _samples(4000, 2, shift), **QUICK) for shift in (0.0, 0.5, 1.0, 2.0)
    ]
    assert all(a.score > b.score + 0.03 for a, b in pairwise(scores))
    assert all(a.auc < b.auc for a, b in pairwise(scores))
    units = torch.tensor([1e-2, 1e2, 1.0, 30.0, 0.1, 5.0])
    scaled = style_score(real * units, _samples(4000, 2, 1.0) * units, **QUICK)
    assert scaled.score == pytest.approx(scores[2].score, abs=0.05)


def test_it_sees_what_only_the_pair_shows() -> None:
    """Both halves have the same distribution; only their order in time differs."""
    generator = torch.Generator().manual_seed(0)
    angle = 6.2832 * torch.rand(4000, generator=generator)

    def pairs(turn: float) -> Tensor:
        return torch.stack(
            [angle.cos(), angle.sin(), (angle + turn).cos(), (angle + turn).sin()], 1
        )

    assert style_score(pairs(0.5), pairs(-0.5), **QUICK).score < 0.1
    # A discriminator of one moment cannot do this, and must not pretend to.
    assert style_score(pairs(0.5)[:, 2:], pairs(-0.5)[:, 2:], **QUICK).score > 0.85


def test_repeatable_and_robust() -> None:
    real, policy = _samples(2000, 1), _samples(2000, 2, 1.0)
    first = style_score(real, policy, **QUICK)
    assert style_score(real, policy, **QUICK) == first
    assert style_score(real, policy, seed=1, **QUICK).score == pytest.approx(first.score, abs=0.1)
    policy[::100] = torch.nan
    broken = style_score(real, policy, **QUICK)
    assert broken.score == pytest.approx(first.score, abs=0.1) and broken.samples < first.samples


def test_blocks_keep_neighbours_on_one_side() -> None:
    """Rows that come in copies of 50: dealt singly they are learnt by heart, in blocks not."""
    copies = [_samples(40, seed).repeat_interleave(50, 0) for seed in (1, 2)]
    settings = {"hidden": (64, 64), "updates": 600, "grad_penalty": 0.0, "lr": 5e-3}
    singly = style_score(*copies, **settings)
    blocks = style_score(*copies, block=50, **settings)
    assert singly.score < 0.2 and blocks.score > 0.4


def test_too_few_samples_are_one_line() -> None:
    with pytest.raises(ValueError, match="expected 32 or more: give more samples"):
        style_score(_samples(1000, 1), _samples(60, 2))
    with pytest.raises(ValueError, match="must be \\(rows, D\\) of one D"):
        style_score(_samples(100, 1), _samples(100, 2)[:, :3])
