"""The memory of a lesson: it grows as rounds are given, and holds what it was given."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from cfg import UserError
from cfg.schema import PretrainingConfig
from mm_torch.lesson_memory import LessonMemory

ENV = SimpleNamespace(num_envs=2, obs_dim=3, action_dim=1, device=torch.device("cpu"))


def _states(first: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    label = torch.arange(first, first + count, dtype=torch.float32)[:, None]
    return label.expand(-1, 3) * 10.0, label


def test_grows_and_keeps_what_it_holds() -> None:
    config = PretrainingConfig(rounds=10**9, steps=4, every=2, mirror=True, led_rounds=1)
    memory = LessonMemory(config, ENV)  # terabytes, were all of it taken at once
    first = (4 + 39 * 2) * 2 * 2  # of forty rounds, the first of which asks at every step
    for begin in range(0, 3 * first, 8):
        memory.add(*_states(begin, 8))
    assert memory.count == 3 * first
    obs, label = memory.content()
    assert torch.equal(label.squeeze(1), torch.arange(3.0 * first))
    assert torch.equal(obs, label.expand(-1, 3) * 10.0)
    obs, label = memory.sample(64, torch.Generator().manual_seed(0))
    assert torch.equal(obs, label.expand(-1, 3) * 10.0) and label.max() > first


def test_holds_no_more_than_the_lesson_has() -> None:
    memory = LessonMemory(PretrainingConfig(rounds=2, steps=4, every=1), ENV)
    memory.add(*_states(0, 16))
    with pytest.raises(ValueError, match="17 states, expected 16 at most"):
        memory.add(*_states(16, 1))


def test_no_memory_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = LessonMemory(PretrainingConfig(rounds=41, steps=1), ENV)
    memory.add(*_states(0, 80))

    def refuse(*arguments: object) -> torch.Tensor:
        raise RuntimeError("can't allocate memory")

    monkeypatch.setattr(torch.Tensor, "new_empty", refuse)
    with pytest.raises(UserError, match="no memory for more than 80 states: give a shorter lesson"):
        memory.add(*_states(80, 1))
