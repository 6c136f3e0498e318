"""The comparison of agents: what it reads from runs, and what it makes of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.agents import Curve, main, read_curve, tables
from cfg import UserError


def _line(steps: int, seconds: float | None, value: float | None) -> str:
    record: dict[str, float] = {"iteration": steps // 10, "steps": steps}
    if seconds is not None:
        record["Perf/elapsed"] = seconds
    if value is not None:
        record |= {"Evaluation/return_per_step": value, "Evaluation/error_site": 0.1 - value / 20}
    return json.dumps(record)


def test_curve_of_a_run(tmp_path: Path) -> None:
    lines = [_line(10, 1.0, None), _line(20, 2.0, 0.5), _line(30, 3.0, 0.92), _line(30, 3.0, 0.92),
             _line(40, 4.0, 0.9)]  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    curve = read_curve(tmp_path, "demo", "ppo", 1)
    assert curve.steps == [20, 30, 40] and curve.seconds == [2.0, 3.0, 4.0]
    assert curve.first(0.9) == (3.0, 30) and curve.first(0.95) is None
    assert curve.best == 1


def test_table_says_how_many_times_fewer_steps() -> None:
    ppo = Curve("demo", "ppo", 1, [10.0, 20.0], [1000, 2000], [0.4, 0.6], [0.1, 0.05])
    fast = Curve("demo", "world_model", 1, [10.0, 20.0], [100, 200], [0.5, 0.95], [0.1, 0.01])
    text = tables([fast, ppo])
    assert "10.0 times fewer" in text and "20 s, 200 steps" in text
    slow = Curve("demo", "world_model", 1, [10.0], [100], [0.5], [0.1])
    assert "did not reach PPO's best (0.600)" in tables([slow, ppo])


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="out= is missing"):
        main([])
    with pytest.raises(UserError, match="agents=sac: expected some of"):
        main([f"out={tmp_path}", "agents=sac"])
