"""Faults in training: counted, kept for inspection, and nothing else harmed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from agents.vec_env import StepResult
from benchmarks import soak
from mm_torch.faults import HISTORY
from mm_torch.trainer import Trainer
from tests.mm_torch.helpers import small_config

SICK, STEP = 2, 4  # world, and step of the first iteration
STEPS = 4 * 8 * 2  # worlds x steps x iterations


def _train(folder: Path, backend: str, kind: str | None) -> Trainer:
    """Train two iterations; before a step of the first one, make a world sick."""
    config = small_config(
        "bimanual", f"total_steps={STEPS}", f"sim.backend={backend}", "run.evaluate_worlds=1",
        "termination.site_deviation_world=null",
    )  # fmt: skip
    trainer = Trainer(config, folder)
    trainer._evaluate = lambda log, which: {}
    step, calls, seen = trainer.env.step, 0, []

    def disturbed(action: torch.Tensor) -> StepResult:
        nonlocal calls
        if calls == STEP and kind is not None:
            soak.corrupt(trainer.task.simulator, SICK, kind)
        calls += 1
        result = step(action)
        seen.append(trainer.task.simulator.qpos.clone())
        return result

    trainer.env.step = disturbed
    # One generator serves all worlds: without learning, only the sick one's path may change.
    trainer.agent.update = lambda rollout, progress: {"mean_std": 1.0}
    trainer.train()
    trainer.seen = torch.stack(seen)
    trainer.close()
    return trainer


@pytest.mark.parametrize("backend", ["mujoco", "warp"])
@pytest.mark.parametrize("kind", ["nonfinite", "speed"])
def test_counted_kept_and_confined(tmp_path: Path, backend: str, kind: str) -> None:
    trainer = _train(tmp_path / "sick", backend, kind)
    lines = (tmp_path / "sick" / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    for record in records[:2]:
        assert all(math.isfinite(value) for value in record.values()), record
    kinds = ("nonfinite", "speed", "overflow")
    assert [sum(r[f"faults/{k}"] for k in kinds) for r in records[:2]] == [1, 0]
    assert ("overflow/njmax" in records[0]) == (backend == "warp")
    (file,) = (tmp_path / "sick" / "faults").iterdir()
    with np.load(file, allow_pickle=False) as kept:
        assert kept["world"] == SICK
        assert kept["qpos"].shape == (HISTORY, trainer.embodiment.model.nq)
        assert np.isfinite(kept["qpos"]).all()
        velocity = kept["qvel"]
        assert np.isfinite(velocity[:-1]).all() and np.abs(velocity[:-1]).max() < 100
        bad = velocity[-1, -1]  # as it was when the faulty step began
        assert np.isnan(bad) if kind == "nonfinite" else bad > 9e4
        assert kept["steps"].tolist() == [1, 2, 3, 4]
        assert str(kept["clips"][kept["clip"][-1]]) in trainer.task.library.names
    well = _train(tmp_path / "well", backend, None)
    assert not (tmp_path / "well" / "faults").exists()
    others = [world for world in range(4) if world != SICK]
    # The other worlds' random starts are drawn for all worlds at once, at every reset: compare
    # until the sick world is reset, and its fault while it lasts.
    until = STEP + 1
    ours, theirs = trainer.seen[:until, others], well.seen[:until, others]
    if backend == "mujoco":
        assert torch.equal(ours, theirs)
    else:
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    # The statistics of observations saw nothing of it.
    assert trainer.agent.policy.normalizer.mean.isfinite().all()


def test_learning_goes_on(tmp_path: Path) -> None:
    config = small_config("bimanual", f"total_steps={STEPS}", "run.evaluate_worlds=1")
    trainer = Trainer(config, tmp_path)
    step = trainer.env.step

    def always_sick(action: torch.Tensor) -> StepResult:
        soak.corrupt(trainer.task.simulator, SICK, "nonfinite")
        return step(action)

    trainer.env.step = always_sick
    trainer.train()
    trainer.close()
    policy = trainer.agent.policy
    assert all(value.isfinite().all() for value in policy.state_dict().values())
    assert policy.normalizer.mean.abs().max() < 1e3
    record = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert record["faults/nonfinite"] == 8  # one a step
    assert record["Loss/skipped_updates"] == 0


@pytest.mark.parametrize("backend", ["mujoco", "warp"])
def test_soak_passes(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "_INJECT_EVERY", 5)
    monkeypatch.setattr(soak, "_PATTERN_STEPS", 4)
    run = soak.Soak(["cfg=bimanual", "sim.nworld=3", f"sim.backend={backend}", "device=cpu",
                     "sim.threads=1"], minutes=0)  # fmt: skip
    for _ in range(24):
        run.step()
    if backend == "warp":
        run.overflow_step()
    record = run.record()
    assert record["ok"], record
    expected = {"nonfinite": 2, "speed": 2} | ({"overflow": 1} if backend == "warp" else {})
    assert record["injected"] == expected
    assert record["noticed"].get("overflow", 0) == (backend == "warp")


def test_soak_fails_where_something_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ["cfg=bimanual", "sim.nworld=2", "sim.backend=mujoco", "sim.threads=1"]
    run = soak.Soak(settings, minutes=0)
    real = run.env.step

    def leaky(action: torch.Tensor) -> StepResult:
        result = real(action)
        result.obs[0, 0] = torch.nan
        return result

    run.env.step = leaky
    run.step()
    assert run.record()["failures"]["obs is not finite"] == 1 and not run.record()["ok"]
    # A fault that nobody notices.
    run = soak.Soak(settings, minutes=0)
    monkeypatch.setattr(soak, "_INJECT_EVERY", 1)
    monkeypatch.setattr(soak, "corrupt", lambda simulator, world, kind: None)
    run.step()
    assert run.record()["failures"]["an injected fault was not noticed"] == 1
    growing = [(float(i), 1_000_000 + 10_000 * i) for i in range(20)]
    assert soak.memory_growth(growing) > 0.02
    assert soak.memory_growth([(float(i), 1_000_000) for i in range(20)]) == 0.0
