"""Runs of `python -m retarget` that go wrong: full disks, bad clips, wrong folders."""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from retarget.__main__ import main
from retarget.pipeline import Retargeter
from retarget.run import count_frames
from tests.conftest import body
from tests.retarget.smpl_files import clip_entries, write_body_model, write_clip

pytest.importorskip("smplx", reason="needs smplx: pip install 'mm-torch[retarget]'")
_NO_SPACE = OSError(28, "No space left on device")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a synthetic body model and two clips; bodies are compiled once for all."""
    monkeypatch.setattr("retarget.pipeline.load_embodiment", body)
    write_body_model(tmp_path / "models")
    for name, swing in (("a", 0.3), ("b", 0.6)):
        write_clip(tmp_path / "clips" / f"{name}_poses.npz", frames=12, swing=swing)
    return tmp_path


def _retarget(files: Path, *more: str, **settings: object) -> int:
    values = {
        "motions": files / "clips", "body_model": files / "models", "out": files / "set",
        "embodiment": "bimanual", "activations": "false", "workers": 1,
    } | settings  # fmt: skip
    return main([*(f"{key}={value}" for key, value in values.items()), *more])


def _refused(capsys: pytest.CaptureFixture[str], *words: str) -> None:
    """The last thing printed is one line of error with these words, and no traceback."""
    text = capsys.readouterr().err
    line = text.splitlines()[-1]
    assert "Traceback" not in text and line.startswith("error: ")
    for word in words:
        assert word in line


def _listed(files: Path) -> list[str]:
    index = json.loads((files / "set" / "index.json").read_text())
    return [clip["name"] for clip in index["clips"]]


def _states(files: Path) -> dict[str, str]:
    report = json.loads((files / "set" / "report.json").read_text())
    return {clip["name"]: clip["state"] for clip in report["clips"]}


def _names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def _times(files: Path) -> dict[str, int]:
    return {path.stem: path.stat().st_mtime_ns for path in (files / "set").glob("*.npz")}


@contextmanager
def _room(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes: writing more fails as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on the size of files")
@pytest.mark.parametrize("size", [0, 5000])
def test_real_write_that_fails(files: Path, capsys: pytest.CaptureFixture[str], size: int) -> None:
    with _room(size):
        status = _retarget(files)
    assert status == 2
    _refused(capsys, "set/a.npz", "cannot be written (File too large)", "run again to go on")
    assert _names(files / "set") == set()


@pytest.mark.parametrize(
    "target", ["b.npz", "results/b.json", "index.json", "report.json", "report.csv"]
)
def test_full_disk_at_any_file(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    replace = os.replace

    def full(start: str, end: str | Path) -> None:
        if Path(end) == files / "set" / target:
            raise _NO_SPACE
        replace(start, end)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        assert _retarget(files) == 2
    _refused(capsys, str(files / "set"), "cannot be written (No space left on device)")
    left = _names(files / "set")
    assert target not in left and not [name for name in left if name.endswith(".tmp")]
    before = _times(files)
    assert _retarget(files) == 0
    assert _listed(files) == ["a", "b"]
    # The clip that was finished is not done again.
    assert before["a"] == _times(files)["a"]


def _raise_for(
    monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException
) -> Callable[[], list[list[str]]]:
    """Solving fails whenever this clip takes part; returns what was solved together."""
    solve, seen = Retargeter.solve, []

    def failing(self: Retargeter, sources: list) -> list:
        seen.append([source.clip.name for source in sources])
        if name in seen[-1]:
            raise error
        return solve(self, sources)

    monkeypatch.setattr(Retargeter, "solve", failing)
    return lambda: seen


def test_clip_that_cannot_be_solved_takes_no_other_with_it(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(files / "clips" / "c_poses.npz", frames=12)
    seen = _raise_for(monkeypatch, "b", RuntimeError("not positive\ndefinite"))
    assert _retarget(files) == 0
    assert seen() == [["a", "b", "c"], ["a"], ["b"], ["c"]]
    assert _states(files) == {"a": "accepted", "b": "failed", "c": "accepted"}
    assert _listed(files) == ["a", "c"]


# Its numbers overflow on the way.
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_absurd_clip_takes_no_other_with_it(files: Path) -> None:
    entries = clip_entries(frames=12)
    entries["trans"] = 1e200 * np.sin(np.arange(36)).reshape(12, 3)
    np.savez(files / "clips" / "b_poses.npz", **entries)
    assert _retarget(files, embodiment="fullbody") == 0
    assert _listed(files) == ["a"]


def test_interruption_keeps_what_is_finished(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        _raise_for(patch, "b", KeyboardInterrupt())
        assert _retarget(files, batch_frames=1) == 130
    assert "goes on from here" in capsys.readouterr().err.splitlines()[-1]
    assert _names(files / "set") == {"a.npz", "results/a.json"}
    before = _times(files)
    assert _retarget(files) == 0
    assert _listed(files) == ["a", "b"] and _times(files)["a"] == before["a"]


def test_interrupted_overwriting_goes_on_without_it(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _retarget(files) == 0
    more = {"smoothing_hz": 6, "batch_frames": 1}
    with monkeypatch.context() as patch:
        _raise_for(patch, "b", KeyboardInterrupt())
        assert _retarget(files, overwrite="true", **more) == 130
    before = _times(files)
    assert _retarget(files, **more) == 0
    after = _times(files)
    assert after["a"] == before["a"] and after["b"] > before["b"]


def test_overwriting_some_clips_keeps_the_others(files: Path) -> None:
    assert _retarget(files) == 0
    before = _times(files)
    assert _retarget(files, only="b*", overwrite="true") == 0
    after = _times(files)
    assert after["a"] == before["a"] and after["b"] > before["b"]
    assert _listed(files) == ["a", "b"]
    # Clips made with other settings are no part of the new set.
    assert _retarget(files, only="b*", overwrite="true", smoothing_hz=6) == 0
    assert _listed(files) == ["b"]


def test_failures_with_other_settings_are_tried_again(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (files / "other").mkdir()
    assert _retarget(files, body_model=files / "other") == 1
    assert _states(files) == {"a": "failed", "b": "failed"}
    assert "no smplh model" in capsys.readouterr().out
    assert _retarget(files) == 0
    assert _states(files) == {"a": "accepted", "b": "accepted"}


def test_damaged_results_are_made_again(files: Path) -> None:
    texts = ["", "{", "[]", '{"settings": 3, "result": {}}']
    for number in range(len(texts)):
        write_clip(files / "clips" / f"c{number}_poses.npz", frames=12)
    assert _retarget(files) == 0
    before = _times(files)
    for number, text in enumerate(texts):
        (files / "set" / "results" / f"c{number}.json").write_text(text)
    assert _retarget(files) == 0
    after = _times(files)
    assert {name for name in after if after[name] > before[name]} == {"c0", "c1", "c2", "c3"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"out": "clips"}, ("out=", "outside")),
        ({"out": "clips/set"}, ("out=", "outside")),
        ({"motions": "clips/a_poses.npz", "out": "clips"}, ("out=", "outside")),
        ({"body_model": "none"}, ("body_model=", "no such folder")),
        ({"motions": "none"}, ("none", "does not exist")),
        ({"out": "models/smplh/SMPLH_NEUTRAL.npz"}, ("out=", "cannot be made (File exists)")),
        ({"workers": "many"}, ("workers=many",)),
        ({"reject.penetration_depth": "1"}, ("did you mean 'reject.penetration_depth_mm'",)),
    ],
)
def test_wrong_settings_change_no_file(
    files: Path, capsys: pytest.CaptureFixture[str], settings: dict[str, str], words: tuple
) -> None:
    before = _names(files)
    paths = ("out", "motions", "body_model")
    settings = {key: files / value if key in paths else value for key, value in settings.items()}
    assert _retarget(files, **settings) == 2
    _refused(capsys, *words)
    assert _names(files) == before


def test_one_file_beside_its_result(files: Path) -> None:
    path = files / "clips" / "a_poses.npz"
    assert _retarget(files, motions=path, out=files / "clips" / "set") == 0
    assert path.is_file() and (files / "clips" / "set" / "a.npz").is_file()


def test_without_smplx(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "smplx", None)
    assert _retarget(files) == 2
    _refused(capsys, "needs smplx", "pip install 'mm-torch[retarget]'")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_error_of_every_worker_is_told(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _retarget(files, device="cuda", workers=2, batch_frames=1) == 2
    _refused(capsys, "device=cuda", "device=cpu")


def test_names_and_globs_of_any_kind(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("x y/[1], ünï={q}", "index", "-h"):
        write_clip(files / "clips" / f"{name}_poses.npz", frames=12)
    assert _retarget(files, only="*={q}*") == 0
    assert _listed(files) == ["x y_[1], ünï={q}"]
    capsys.readouterr()
    assert _retarget(files, only="[i-]*") == 0
    assert _listed(files) == ["-h", "index", "x y_[1], ünï={q}"]
    assert "3 of 3 clips accepted" in capsys.readouterr().out


def test_results_can_be_read_by_others(files: Path) -> None:
    assert _retarget(files, only="a*") == 0
    written = [path for path in (files / "set").rglob("*") if path.is_file()]
    assert len(written) == 5
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in written)


def test_frames_are_counted_by_the_header_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, **clip_entries(frames=17))
    assert count_frames(path) == 17
    whole = path.read_bytes()
    # Damaged where the first entry's compressed data begins, in its middle, and cut off.
    for damaged in (
        whole[:60] + bytes(40) + whole[100:], whole[:1000] + bytes(50) + whole[1050:], whole[:900],
        b"text", b"",
    ):  # fmt: skip
        path.write_bytes(damaged)
        assert count_frames(path) in (0, 17)
    assert count_frames(tmp_path / "none.npz") == 0
