"""Noise of the walking benchmark is on excitations, within their bounds and the same every time."""

from __future__ import annotations

import pytest
import torch

from benchmarks.walking import disturbed, main
from cfg import UserError
from mm_torch.action import MAPPINGS


@pytest.mark.parametrize("mapping", ["sigmoid", "linear"])
def test_noise_is_on_excitations(mapping: str) -> None:
    def still(obs: torch.Tensor) -> torch.Tensor:
        return torch.zeros(1000, 200)  # an excitation of 0.5 in either mapping

    act = disturbed(still, mapping, 0.07)
    first, second = (MAPPINGS[mapping](act(torch.zeros(1))) for _ in range(2))
    assert abs(float(first.mean()) - 0.5) < 1e-3
    assert abs(float(first.std()) - 0.07) < 1e-3
    assert not torch.equal(first, second)
    again = disturbed(still, mapping, 0.07)
    assert torch.equal(MAPPINGS[mapping](again(torch.zeros(1))), first)


def test_silent_muscles_are_disturbed_upwards_only() -> None:
    act = disturbed(lambda obs: torch.full((1000, 200), -20.0), "sigmoid", 0.1)
    excitation = act(torch.zeros(1)).sigmoid()
    assert 0.0 <= float(excitation.min()) < 1e-5
    # Half of a normal distribution: deviation / sqrt(2 pi).
    assert abs(float(excitation.mean()) - 0.1 * 0.39894) < 1e-3


@pytest.mark.parametrize("noise", [-0.1, float("nan")])
def test_a_noise_below_nothing_is_refused(noise: float) -> None:
    with pytest.raises(UserError, match="noise="):
        main([f"noise={noise}", "checkpoints=none.pt"])
