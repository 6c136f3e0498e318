"""Where episodes start."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from mm_torch.start_frames import FailureWeightedStarts, make_starts


def _library(*lengths: int) -> SimpleNamespace:
    return SimpleNamespace(lengths=torch.tensor(lengths))


def test_without_failures_frames_are_uniform() -> None:
    starts = FailureWeightedStarts(_library(101, 31), width=20)
    clip, frame = starts.sample(26_000, torch.Generator().manual_seed(0))
    # 100 and 30 frames that an episode may start on, each as likely as any other.
    assert torch.bincount(clip).tolist() == pytest.approx([20_000, 6_000], rel=0.03)
    counts = torch.bincount(frame[clip == 0], minlength=100)
    assert len(counts) == 100 and counts.min() > 120
    assert int(frame[clip == 1].max()) == 29


def test_starts_gather_ahead_of_what_fails() -> None:
    starts = FailureWeightedStarts(_library(101, 101), width=20, floor=0.2, decay=0.5)
    for step in range(400):
        frame = torch.tensor([step % 100, step % 100])
        failed = torch.tensor([False, 60 <= step % 100 < 80])
        starts.observe(torch.tensor([0, 1]), frame, failed)
    chance = starts.probabilities()
    assert chance.sum() == pytest.approx(1.0)
    assert chance[:5].tolist() == pytest.approx([0.02] * 5)  # the clip that never fails
    # The failing bin (the fourth) and those before it, halved with every bin; none after it.
    weights = torch.tensor([0.125, 0.25, 0.5, 1.0, 0.0])
    expected = 0.02 + 0.8 * weights / weights.sum()
    assert chance[5:].tolist() == pytest.approx(expected.tolist(), abs=1e-4)
    clip, frame = starts.sample(2000, torch.Generator().manual_seed(0))
    assert (clip == 1).float().mean() == pytest.approx(0.9, abs=0.03)


def test_old_failures_are_forgotten() -> None:
    starts = FailureWeightedStarts(_library(101), width=20, floor=0.0, memory=50.0)
    everywhere = torch.arange(0, 100, 20)
    clip = torch.zeros_like(everywhere)
    starts.observe(clip, everywhere, everywhere == 80)
    assert starts.probabilities()[4] == starts.probabilities().max()
    for _ in range(300):
        starts.observe(clip, everywhere, everywhere == 0)
    assert starts.probabilities()[0] > 0.99


def test_state_continues_and_other_clips_are_refused() -> None:
    starts = FailureWeightedStarts(_library(101), width=20)
    starts.observe(torch.tensor([0]), torch.tensor([50]), torch.tensor([True]))
    other = FailureWeightedStarts(_library(101), width=20)
    other.load_state_dict(starts.state_dict())
    assert torch.equal(other.probabilities(), starts.probabilities())
    with pytest.raises(ValueError, match="5 bins of frames, the motion set has 10"):
        FailureWeightedStarts(_library(201), width=20).load_state_dict(starts.state_dict())


def test_first_frames() -> None:
    library = SimpleNamespace(
        sample_clips=lambda count, generator: torch.arange(count) % 2,
        sample_frames=lambda clip, generator: clip + 7,
    )
    generator = torch.Generator()
    assert make_starts("first", library).sample(3, generator)[1].tolist() == [0, 0, 0]
    assert make_starts("random", library).sample(3, generator)[1].tolist() == [7, 8, 7]
