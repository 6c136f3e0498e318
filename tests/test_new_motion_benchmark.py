"""The measurement of a lesson on a motion that a policy was not taught."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.new_motion import main
from benchmarks.training import run_training
from cfg import UserError
from mm_torch import train
from mm_torch.build import demo_folder

DEMO = demo_folder("bimanual")
QUICK = ("embodiment=bimanual", "sim.backend=mujoco", "sim.nworld=4", "agent.num_steps=8",
         "agent.minibatch_size=16", "total_steps=32", "evaluation.max_steps=5", "sim.threads=1",
         "pretraining.steps=10", "pretraining.updates=60", "pretraining.batch=32")  # fmt: skip


def test_a_policy_is_taught_on_and_another_from_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tmp_path / "first"
    own = ["network.actor_hidden=[24]", "pretraining.rounds=1", f"run.dir={first}"]
    assert train.main(["cfg=demo", f"motions={DEMO}/lift.npz", *QUICK, *own]) == 0
    out = tmp_path / "out"
    arguments = [f"checkpoint={first}/checkpoints/last.pt", f"motions={DEMO}/wave.npz",
                 f"out={out}", "cfg=demo", "minutes=0.2", "rounds=2", "starts=2",
                 f"settings={';'.join(QUICK)}"]  # fmt: skip
    assert main(arguments) == 0
    records = json.loads((out / "record.json").read_text())
    assert [(r["clip"], r["group"], r["policy"]) for r in records] == [
        ("wave", "new", "as it came"), ("wave", "new", "taught on"),
        ("wave", "new", "from nothing"), ("lift", "taught before", "as it came"),
        ("lift", "taught before", "taught on"),
    ]  # fmt: skip
    assert all(len(r["seconds"]) == 2 and min(r["seconds"]) > 0 for r in records)
    # The one from nothing has the checkpoint's shape, and learns less in the same rounds.
    texts = [(out / run / "config.yaml").read_text() for run in ("taught_on", "from_nothing")]
    assert all("actor_hidden:\n  - 24\n" in text for text in texts)
    errors = {}
    for run in ("taught_on", "from_nothing"):
        lines = map(json.loads, (out / run / "metrics.jsonl").read_text().splitlines())
        errors[run] = [line["Lesson/error"] for line in lines if "Lesson/error" in line]
    assert len(errors["taught_on"]) == 2
    assert errors["taught_on"][1] < 0.8 * errors["from_nothing"][1], errors
    # Again: nothing is trained.
    monkeypatch.setattr("subprocess.run", lambda *arguments, **more: pytest.fail("trained"))
    capsys.readouterr()
    assert main(arguments) == 0
    assert capsys.readouterr().out.strip() == (out / "table.md").read_text().strip()


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="motions= is missing"):
        main(["checkpoint=x.pt"])
    with pytest.raises(UserError, match="starts=1: expected 2 or more"):
        main(["checkpoint=x.pt", f"motions={DEMO}", f"out={tmp_path}", "starts=1"])
    with pytest.raises(UserError, match=r"x\.pt"):
        main([f"checkpoint={tmp_path}/x.pt", f"motions={DEMO}", f"out={tmp_path}"])


def test_a_training_that_fails_is_one_line(capfd: pytest.CaptureFixture) -> None:
    with pytest.raises(UserError, match="the training above ended with exit status 2"):
        run_training(["cfg=demo", "pretraining.rounds=some"])
    said = capfd.readouterr()
    assert said.out.startswith("-m mm_torch.train cfg=demo pretraining.rounds=some")
    assert said.err.startswith("error: ") and said.err.count("\n") == 1
