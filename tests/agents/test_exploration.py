"""Correlated action noise."""

from __future__ import annotations

import pytest
import torch

from agents.exploration import CorrelatedNoise


def test_marginal_is_standard_normal_and_correlation_is_as_asked() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = CorrelatedNoise(400, 10, 0.8)
    draws = torch.stack([noise.sample(generator).clone() for _ in range(60)])
    assert float(draws.mean()) == pytest.approx(0, abs=0.02)
    for step in (0, 1, 30, 59):
        assert float(draws[step].std()) == pytest.approx(1, abs=0.04)
    for lag in (1, 2, 3):
        product = (draws[lag:] * draws[:-lag]).mean()
        assert float(product) == pytest.approx(0.8**lag, abs=0.02)


def test_ended_episodes_start_anew() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = CorrelatedNoise(2000, 5, 0.95)
    before = noise.sample(generator).clone()
    noise.restart(torch.arange(2000) < 1000)
    after = noise.sample(generator)
    assert abs(float((before * after)[:1000].mean())) < 0.05
    assert float((before * after)[1000:].mean()) == pytest.approx(0.95, abs=0.05)


def test_zero_is_white_and_bad_values_are_refused() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = CorrelatedNoise(1000, 5, 0.0)
    first, second = noise.sample(generator).clone(), noise.sample(generator)
    assert abs(float((first * second).mean())) < 0.05
    with pytest.raises(ValueError, match="correlation must be in"):
        CorrelatedNoise(1, 1, 1.0)
