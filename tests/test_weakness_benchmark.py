"""The weakness benchmark: sums done by hand, and a step of it for real."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.weakness import Walked, compared, main, taken_over
from cfg import UserError
from mm_torch.recording import Recording
from retarget.motion import Motion
from retarget.motion_set import write_motion_set
from sim.embodiment import Embodiment
from tests.conftest import ROOT


def _walked(body: Embodiment, act: float, forces: dict[str, float], lengths: list[int]) -> Walked:
    """Every muscle at one activation; of a group, of either side, muscles that share a force."""
    recordings, tensions = [], []
    row = np.zeros(body.model.nu)
    for group, force in forces.items():
        for side in ("left", "right"):
            muscles = body.muscle_groups[f"{group}_{side}"]
            row[muscles] = force / 2 / len(muscles)
    for n in lengths:
        none = np.zeros((n, 0))
        level = np.full((n, body.model.nu), act)
        time = np.arange(1, n + 1) / 100
        recordings.append(Recording(0, time, none, none, none, level, level, n < 10))
        tensions.append(np.tile(row, (n, 1)))
    return Walked(body, recordings, tensions)


def test_weak_and_strong_are_compared_over_the_same_frames(fullbody: Embodiment) -> None:
    strong = _walked(fullbody, 0.1, {"soleus": 500.0, "quadriceps": 800.0}, [10, 10])
    later = strong.recordings[0].act
    later[5:] = 0.9  # past where the weak body falls
    weak = _walked(fullbody, 0.2, {"soleus": 0.0, "quadriceps": 1000.0}, [5, 10])
    record = compared("soleus", 0.0, weak, strong)
    assert record["seconds"] == pytest.approx([0.05, 0.1])
    assert record["to_end"] == 1
    assert record["effort"] == pytest.approx(4.0)  # twice the activation
    assert record["force"]["soleus"] == pytest.approx([500.0, 0.0])
    assert record["force"]["quadriceps"] == pytest.approx([800.0, 1000.0])
    assert taken_over(record) == "quadriceps x1.25"


def test_a_body_that_falls_at_once_has_nothing_to_compare(fullbody: Embodiment) -> None:
    strong = _walked(fullbody, 0.1, {}, [10])
    record = compared("soleus", 0.0, _walked(fullbody, 0.1, {}, [0]), strong)
    assert record["seconds"] == [0.0] and record["to_end"] == 0
    assert "effort" not in record and taken_over(record) == ""


def test_weakness_is_measured(tmp_path: Path, fullbody: Embodiment, capsys) -> None:
    walk = Motion.load(ROOT / "data" / "demo" / "fullbody" / "walk.npz", fullbody)
    names = ("qpos", "qvel", "site_pos", "site_quat", "site_vel", "act", "contact")
    cut = {n: getattr(walk, n)[:20] for n in names if getattr(walk, n) is not None}
    write_motion_set(tmp_path / "short", [replace(walk, **cut)])
    arguments = [
        "muscles=soleus+gastrocnemius", "strengths=0.2", "phases=1", "seconds=0.08",
        f"settings=motions={tmp_path}/short;sim.backend=mujoco", f"json={tmp_path}/weak.json",
    ]  # fmt: skip
    assert main(arguments) == 0
    none, weak = json.loads((tmp_path / "weak.json").read_text())
    assert none["effort"] == pytest.approx(1.0) and none["seconds"] == [0.08]
    assert weak["muscles"] == "soleus+gastrocnemius" and weak["strength"] == 0.2
    before, now = weak["force"]["soleus"]
    assert now < 0.6 * before
    assert "soleus+gastrocnemius" in capsys.readouterr().out


def test_errors() -> None:
    with pytest.raises(UserError, match="strengths="):
        main(["strengths=weak"])
    with pytest.raises(UserError, match="solus"):
        main(["muscles=quadriceps;soleus+solus"])
    with pytest.raises(UserError, match="json="):
        main(["json=nowhere/weak.json"])
    with pytest.raises(UserError, match="clip=7"):
        main(["clip=7"])
