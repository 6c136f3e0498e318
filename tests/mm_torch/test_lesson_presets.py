"""The configurations that teach the full body: each trains, and its checkpoint plays."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mm_torch.policy_loading import load_policy
from mm_torch.train import main


@pytest.mark.parametrize("name", ["walk", "lesson"])
def test_a_short_lesson(name: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    short = ("sim.backend=mujoco", "device=cpu", "sim.nworld=2", "sim.threads=1",
             "pretraining.rounds=1", "pretraining.steps=3", "pretraining.updates=2",
             "pretraining.batch=4", "pretraining.processes=1", "network.actor_hidden=[8]",
             "network.critic_hidden=[8]", "evaluation.max_steps=4")  # fmt: skip
    assert main([f"cfg={name}", f"run.dir={tmp_path / 'run'}", *short]) == 0
    # The teacher leads, and is asked at every step; mirror images are kept as well.
    assert "pretraining: round 1 of 1, 12 states" in capsys.readouterr().out
    loaded = load_policy(tmp_path / "run" / "checkpoints" / "last.pt")
    excitations = loaded.act(loaded.task.observe())
    assert excitations.shape == (1, loaded.task.action_dim) and excitations.isfinite().all()
    assert torch.equal(excitations, loaded.act(loaded.task.observe()))
    loaded.task.simulator.close()
