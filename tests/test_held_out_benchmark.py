"""The measurement on motions that were not trained on: how it splits, times and tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.held_out import Settings, main, split, stages, train
from cfg import UserError
from mm_torch.build import demo_folder
from retarget.motion_set import load_motion_set, read_index
from sim.embodiment import load_embodiment

DEMO = demo_folder("bimanual")


def test_split_lists_the_same_files(tmp_path: Path) -> None:
    names = [clip["name"] for clip in read_index(DEMO)[1]]
    split(DEMO, [names[1]], tmp_path)
    body = load_embodiment("bimanual")
    assert [m.name for m in load_motion_set(tmp_path / "held_out", body)] == [names[1]]
    left = load_motion_set(tmp_path / "training", body)
    assert [motion.name for motion in left] == [names[0], *names[2:]]
    whole = load_motion_set(DEMO, body)[0]
    assert (left[0].qpos == whole.qpos).all()


def test_stages_are_rates_over_their_own_time() -> None:
    def line(steps: int, collecting: float, learning: float, **more: float) -> dict[str, float]:
        times = {"Perf/collection_time": collecting, "Perf/learning_time": learning}
        return {"steps": steps} | times | more

    lesson = [
        line(100 * n, 2.0, 5.0, **{"Lesson/round": n, "Lesson/states": 40 * n,
                                   "Perf/teacher_time": 3.0})
        for n in (1, 2)
    ]  # fmt: skip
    training = [line(200 + 10 * n, 50.0 if n < 2 else 1.0, 4.0) for n in range(1, 7)]
    evaluation = {"steps": 260, "Evaluation/error_site": 0.1}
    rows = {row[0]: row[1:] for row in stages([*lesson, *training, evaluation], 30, 2)}
    assert rows == {
        "lesson: acting and simulation": [4.0, 50.0, "control steps"],
        "lesson: teacher": [6.0, 40 / 6.0, "states"],
        "lesson: updates": [10.0, 6.0, "updates"],
        "lesson: all": [20.0, 10.0, "control steps"],
        # The first two of six iterations are left out, and of the third only its end is known.
        "training: collecting": [3.0, 10.0, "control steps"],
        "training: learning": [12.0, 2.5, "control steps"],
        "training: all": [15.0, 2.0, "control steps"],
    }
    assert stages([evaluation], 30, 2) == []


def test_a_run_from_end_to_end(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained on three movements of the arms, measured on all four; not trained twice."""
    quick = ("embodiment=bimanual;sim.backend=mujoco;sim.nworld=4;pretraining.rounds=2;"
             "pretraining.steps=10;pretraining.updates=60;pretraining.batch=32;"
             "pretraining.lr=0.02;network.actor_hidden=[64];agent.num_steps=8;"
             "sim.threads=1")  # fmt: skip
    arguments = [f"motions={DEMO}", "held_out=wave", f"out={tmp_path}", "cfg=demo", "minutes=0.05",
                 "starts=2", f"settings={quick}"]  # fmt: skip
    assert main(arguments) == 0
    record = json.loads((tmp_path / "record.json").read_text())
    seen = {(r["clip"], r["group"], r["policy"]) for r in record["clips"]}
    names = {clip["name"] for clip in read_index(DEMO)[1]}
    assert {name for name, group, _ in seen if group == "training"} == names - {"wave"}
    assert {name for name, group, _ in seen if group == "held_out"} == {"wave"}
    assert len(record["clips"]) == 8 and {r["simulator"] for r in record["clips"]} == {"MujocoSim"}
    returns = {r["policy"]: r["return_per_step"] for r in record["clips"] if r["clip"] == "wave"}
    assert returns["untrained"] != returns["trained"]
    assert all(len(r["seconds"]) == 2 and min(r["seconds"]) > 0 for r in record["clips"])
    stage = {row[0]: row[2] for row in record["stages"]}
    assert stage["lesson: acting and simulation"] > 0 and "lesson: teacher" not in stage
    assert "held out" in (tmp_path / "tables.md").read_text()
    # Again: nothing is trained.
    monkeypatch.setattr("benchmarks.held_out.train", lambda *arguments: pytest.fail("trained"))
    capsys.readouterr()
    assert main(arguments) == 0
    assert capsys.readouterr().out.strip() == (tmp_path / "tables.md").read_text().strip()


def test_no_minutes_is_the_lesson_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr("benchmarks.held_out.run_training", commands.append)
    for minutes in (0.0, 3.0):
        train(Settings(minutes=minutes, settings="seed=2;agent=ppo"), tmp_path)
    alone, longer = commands
    assert "total_steps=0" in alone and not any("run.minutes" in word for word in alone)
    assert "run.minutes=3.0" in longer and "total_steps=0" not in longer
    assert alone[-2:] == longer[-2:] == ["seed=2", "agent=ppo"]


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="held_out= is missing"):
        main([f"motions={DEMO}"])
    with pytest.raises(UserError, match=r"minutes=-1\.0: expected 0"):
        main([f"motions={DEMO}", "held_out=wave", f"out={tmp_path}", "minutes=-1"])
    with pytest.raises(UserError, match="held_out=run: expected some of the clips of"):
        split(DEMO, ["run"], tmp_path)
    everything = [clip["name"] for clip in read_index(DEMO)[1]]
    with pytest.raises(UserError, match="leaves no clip of"):
        split(DEMO, everything, tmp_path)
