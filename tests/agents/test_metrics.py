import pytest
import torch

from agents.episodes import EpisodeTracker
from agents.metrics import Metrics


def test_weighted_means():
    metrics = Metrics()
    metrics.add("plain", torch.tensor([1.0, 3.0]))
    metrics.add("plain", 5.0)
    metrics.add("weighted", torch.tensor(2.0), weight=torch.tensor(3))
    metrics.add("weighted", torch.tensor(6.0), weight=torch.tensor(1))
    metrics.add("weighted", torch.tensor(torch.nan), weight=torch.tensor(0))
    metrics.add("never", torch.tensor(torch.nan), weight=torch.tensor(0))
    assert metrics.to_floats() == {"plain": 3.5, "weighted": 3.0}
    assert Metrics().to_floats() == {}


def test_episodes_span_rollouts():
    tracker = EpisodeTracker(2)
    first, second = Metrics(), Metrics()
    never, ends = torch.tensor([False, False]), torch.tensor([True, False])
    tracker.update(torch.tensor([1.0, 2.0]), never, first)
    assert first.to_floats() == {}
    tracker.update(torch.tensor([4.0, 2.0]), ends, second)
    assert second.to_floats() == pytest.approx({"episode_return": 5.0, "episode_length": 2.0})
    assert tracker.returns.tolist() == [0.0, 4.0] and tracker.lengths.tolist() == [0.0, 2.0]
