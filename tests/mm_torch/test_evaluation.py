"""Evaluation bookkeeping."""

from __future__ import annotations

import pytest
import torch

from mm_torch.evaluation import ClipResult, evaluate, summarize
from mm_torch.table import format_table
from tests.mm_torch.helpers import small_task


def _quiet(task):
    return lambda obs: torch.full((len(obs), task.action_dim), -10.0)


def test_every_clip_is_played_once_whatever_the_number_of_worlds() -> None:
    results = {}
    for worlds in (1, 2, 4):
        task = small_task("bimanual", f"sim.nworld={worlds}", "termination.site_deviation_world=9")
        results[worlds] = evaluate(task, _quiet(task))
        assert [r.name for r in results[worlds]] == task.library.names
        for clip, result in enumerate(results[worlds]):
            assert result.steps == result.reference_steps == int(task.library.lengths[clip]) - 1
            assert not result.terminated
            assert 0 < result.return_per_step < 1
    assert results[1] == results[2] == results[4]


def test_steps_missed_after_termination_count_as_zero() -> None:
    loose = small_task("bimanual", "termination.site_deviation_world=9")
    strict = small_task("bimanual", "termination.site_deviation_world=0.02")
    full, cut = evaluate(loose, _quiet(loose)), evaluate(strict, _quiet(strict))
    for a, b in zip(full, cut, strict=True):
        assert b.terminated and b.steps < a.steps
        assert b.return_per_step < b.steps / b.reference_steps
        assert b.errors["site"] < a.errors["site"]
    # Played to the end: the return is that of the part before, the errors are of the whole clip.
    whole = evaluate(strict, _quiet(strict), to_end=True)
    for a, b, c in zip(full, cut, whole, strict=True):
        assert (c.steps, c.terminated) == (b.steps, True)
        assert c.return_per_step == pytest.approx(b.return_per_step)
        assert c.measured_steps == a.steps
        assert c.errors["site"] == pytest.approx(a.errors["site"])


def test_summary_weights() -> None:
    results = [
        ClipResult("a", 100, 100, False, 0.9, 100, {"site": 0.01}, {"site_pos": 1.0}),
        ClipResult("b", 300, 100, True, 0.1, 100, {"site": 0.03}, {"site_pos": 0.5}),
    ]
    summary = summarize(results)
    assert summary["return_per_step"] == pytest.approx((0.9 * 100 + 0.1 * 300) / 400)
    assert summary["error_site"] == pytest.approx(0.02)
    assert summary["reward_site_pos"] == pytest.approx(0.75)
    assert summary["early_termination_rate"] == 0.5
    assert summary["frame_coverage"] == 0.5


def test_table() -> None:
    text = format_table(("clip", "cm"), [("walk", 1.25), ("a", 12.5)])
    assert text.splitlines() == ["clip      cm", "----  ------", "walk   1.250", "a     12.500"]
