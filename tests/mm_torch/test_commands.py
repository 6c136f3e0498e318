"""The command lines as a user runs them: output, exit status, one-line errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mm_torch import evaluate, play, train
from mm_torch.build import demo_folder
from mm_torch.command_line import run_command
from tests.conftest import ROOT

TINY = [
    "cfg=demo", "sim.backend=mujoco", "sim.nworld=4", "network.actor_hidden=[16]",
    "network.critic_hidden=[16]", "agent.num_steps=8", "agent.minibatch_size=16", "agent.epochs=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished tiny run."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    assert run_command(train.main, "", [*TINY, "total_steps=64", f"run.dir={folder}"]) == 0
    return folder


def _error(capsys: pytest.CaptureFixture, command, *arguments: str) -> str:
    """Run a command that must fail as a user error and return its line."""
    capsys.readouterr()
    assert run_command(command.main, "", list(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    return captured.err


def test_train_writes_a_run(run: Path) -> None:
    assert (run / "config.yaml").is_file()
    assert (run / "metrics.jsonl").is_file()
    assert (run / "checkpoints" / "last.pt").is_file()
    assert list(run.glob("events.out.tfevents.*"))


def test_train_closes_with_a_table(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run_command(train.main, "", [*TINY, "total_steps=64", f"run.dir={tmp_path}/r"]) == 0
    out = capsys.readouterr().out
    assert "untrained" in out and "trained" in out
    assert "return per reference step" in out and "mimic-site error (cm)" in out


@pytest.mark.parametrize("name", ["bimanual", "fullbody"])
def test_shipped_configurations_train(name: str, tmp_path: Path) -> None:
    """Networks and terms as shipped, few worlds: one iteration on the demo motions."""
    arguments = [f"cfg={name}", "total_steps=80", "sim.nworld=4", "sim.backend=mujoco"]
    folder = tmp_path / "run"
    assert run_command(train.main, "", [*arguments, f"run.dir={folder}"]) == 0
    first, *_, last = (folder / "metrics.jsonl").read_text().splitlines()
    assert json.loads(first)["Loss/grad_norm"] > 0
    assert 0 < json.loads(last)["Evaluation/return_per_step"] < 1


def test_train_does_not_overwrite_a_run(run: Path, capsys: pytest.CaptureFixture) -> None:
    before = (run / "checkpoints" / "last.pt").read_bytes()
    assert "already holds a run" in _error(capsys, train, *TINY, f"run.dir={run}")
    assert (run / "checkpoints" / "last.pt").read_bytes() == before


def test_train_errors_leave_nothing_behind(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    target = tmp_path / "new"
    here = [*TINY, f"run.dir={target}"]
    fullbody = str(demo_folder("fullbody"))
    bad = tmp_path / "bad.npz"
    good = next(demo_folder("bimanual").glob("*.npz"))
    bad.write_bytes(good.read_bytes()[:5000])
    with np.load(good) as file:
        entries = dict(file)
    entries["qpos"][3, 2] = np.nan
    nan = tmp_path / "nan.npz"
    np.savez(nan, **entries)
    for arguments, message in (
        (["sim.nworl=3"], "did you mean 'sim.nworld'"),
        (["sim.nworld=many"], "sim.nworld=many"),
        ([f"motions={tmp_path}/none"], "does not exist"),
        ([f"motions={fullbody}"], "is a motion of 'fullbody', expected 'bimanual'"),
        ([f"motions={bad}"], "bad.npz"),
        ([f"motions={nan}"], "qpos is not finite in 1 of"),
        (["fingers=true"], "do not fit bimanual (fingers=true)"),
    ):
        base = [a for a in here if a.split("=")[0] != arguments[0].split("=")[0]]
        assert message in _error(capsys, train, *base, *arguments), message
    assert not target.exists()


def test_resume_errors(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert "no run there" in _error(capsys, train, f"resume={tmp_path}")
    assert "cannot be combined" in _error(capsys, train, f"resume={run}", "cfg=demo")
    assert "does not fit" in _error(capsys, train, f"resume={run}", "sim.nworld=8")


def test_evaluate(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    checkpoint, out = run / "checkpoints" / "last.pt", tmp_path / "table.json"
    assert run_command(evaluate.main, "", [f"checkpoint={checkpoint}", f"out={out}"]) == 0
    table = capsys.readouterr().out
    record = json.loads(out.read_text())
    assert [clip["name"] for clip in record["clips"]] == [
        line.split()[0] for line in table.splitlines()[2:-1]
    ]
    assert record["overall"]["clips"] == len(record["clips"])
    assert _error(capsys, evaluate, "out=x.json").startswith("error: checkpoint= is missing")
    assert "does not exist" in _error(capsys, evaluate, f"checkpoint={tmp_path}/no.pt")
    fullbody = demo_folder("fullbody")
    assert "expected 'bimanual'" in _error(
        capsys, evaluate, f"checkpoint={checkpoint}", f"motions={fullbody}"
    )
    assert "expected true or false" in _error(
        capsys, evaluate, f"checkpoint={checkpoint}", "to_end=maybe"
    )


def test_play_errors(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch) -> None:
    checkpoint = f"checkpoint={run}/checkpoints/last.pt"
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert "no display" in _error(capsys, play, checkpoint)
    assert "ends in .mp4" in _error(capsys, play, checkpoint, f"video={tmp_path}/a.avi")
    video = f"video={tmp_path}/a.mp4"
    assert "clip=nope" in _error(capsys, play, checkpoint, video, "clip=nope")
    assert "size=3" in _error(capsys, play, checkpoint, video, "size=3")
    assert "seconds=-1" in _error(capsys, play, checkpoint, video, "seconds=-1")
    assert not list(tmp_path.iterdir())


def test_play_renders_a_video(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("imageio_ffmpeg")
    import imageio_ffmpeg

    video = tmp_path / "play.mp4"
    done = subprocess.run(
        [sys.executable, "-m", "mm_torch.play", f"checkpoint={run}/checkpoints/last.pt",
         f"video={video}", "seconds=0.2", "size=160x120", "fps=50"],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    if "no off-screen OpenGL" in done.stderr:
        pytest.skip("this machine has neither EGL nor OSMesa")
    assert done.returncode == 0, done.stderr
    reader = imageio_ffmpeg.read_frames(str(video))
    meta = next(reader)
    assert meta["size"] == (160, 120)
    frames = [np.frombuffer(frame, np.uint8) for frame in reader]
    # Ten frames for each of the demo clips, and something is drawn.
    assert len(frames) == 10 * len(list(demo_folder("bimanual").glob("*.npz")))
    assert all(frame.std() > 10 for frame in frames)


def test_play_shows_computed_muscle_control_without_a_checkpoint(tmp_path: Path) -> None:
    pytest.importorskip("imageio_ffmpeg")
    video = tmp_path / "walk.mp4"
    done = subprocess.run(
        [sys.executable, "-m", "mm_torch.play", "cfg=walk", "sim.backend=mujoco",
         f"video={video}", "seconds=0.1", "size=160x120", "fps=50"],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    if "no off-screen OpenGL" in done.stderr:
        pytest.skip("this machine has neither EGL nor OSMesa")
    assert done.returncode == 0, done.stderr
    assert video.stat().st_size > 1000


@pytest.mark.parametrize("command", ["train", "evaluate", "play", "record", "export", "bench"])
def test_help(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"mm_torch.{command}", "--help"],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"usage: python -m mm_torch.{command}" in done.stdout


def test_user_errors_exit_with_status_2_and_no_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mm_torch.train", "cfg=demo", "sim.nworl=2"],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "error: unknown key 'sim.nworl': did you mean 'sim.nworld'?\n"
    assert done.stdout == ""
