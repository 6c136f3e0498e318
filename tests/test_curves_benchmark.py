"""What the figures of runs are drawn from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.curves import main, series
from cfg import UserError


def test_series_of_a_run(tmp_path: Path) -> None:
    lines = [
        {"steps": 10, "Perf/elapsed": 30.0},
        {"steps": 20, "Perf/elapsed": 60.0, "Evaluation/success_rate": 0.25},
        {"steps": 40, "Perf/elapsed": 120.0, "Evaluation/success_rate": 0.5},
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    assert series(tmp_path, "Evaluation/success_rate") == ([1.0, 2.0], [20, 40], [0.25, 0.5])
    with pytest.raises(UserError, match=r"value=Loss/kl: .* has no such figure"):
        series(tmp_path, "Loss/kl")
    with pytest.raises(UserError, match="no run there"):
        series(tmp_path / "nowhere", "Loss/kl")
    with pytest.raises(UserError, match="labels=A: expected 2 names"):
        main([f"runs={tmp_path},{tmp_path}", f"out={tmp_path / 'a.svg'}", "labels=A"])
    with pytest.raises(UserError, match="runs= and out= are needed"):
        main([])
