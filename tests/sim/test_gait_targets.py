"""Smoothing of a motion's velocities, by the transform of a Gaussian."""

from __future__ import annotations

import numpy as np
import pytest

from sim.gait_targets import _smoothed

FPS = 100.0


@pytest.mark.parametrize(("hz", "left"), [(5.0, 0.5), (2.5, 2**-0.25), (10.0, 2**-4)])
def test_a_frequency_is_halved_and_others_by_the_square_of_theirs(hz: float, left: float) -> None:
    wave = np.sin(2 * np.pi * hz * np.arange(400) / FPS)[:, None]
    smoothed = _smoothed(wave, 5.0 / FPS)
    np.testing.assert_allclose(smoothed[100:300], left * wave[100:300], atol=1e-3)


def test_what_does_not_change_stays_to_its_ends() -> None:
    still = np.tile([1.0, -2.0], (30, 1))
    np.testing.assert_allclose(_smoothed(still, 0.05), still, rtol=1e-12)
    # Shorter than the window, and no smoothing at all.
    assert _smoothed(still[:2], 0.01).shape == (2, 2)
    rough = np.random.default_rng(0).normal(size=(9, 2))
    np.testing.assert_array_equal(_smoothed(rough, np.inf), rough)
