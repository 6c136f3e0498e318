"""The motion file and set: what is written is read again, what is damaged is refused in a line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retarget import Motion, MotionError, load_motion_set, write_motion_set
from retarget.reference import make_motion
from sim.embodiment import Embodiment
from tests.conftest import ROOT

_ARRAYS = ("qpos", "qvel", "site_pos", "site_quat", "site_vel")


@pytest.fixture(scope="module")
def motion(bimanual: Embodiment) -> Motion:
    """Twenty frames of an arm that bends."""
    qpos = np.tile(bimanual.model.qpos0, (20, 1))
    qpos[:, bimanual.model.joint("elbow_flex_r").qposadr[0]] = np.linspace(0.2, 0.5, 20)
    return make_motion("bend", bimanual, bimanual.couplings.complete_qpos(qpos), 100.0, "test")


@pytest.fixture
def path(motion: Motion, tmp_path: Path) -> Path:
    motion.save(tmp_path / "bend.npz")
    return tmp_path / "bend.npz"


def _refused(load: Callable[[], object], *words: str) -> None:
    with pytest.raises(MotionError) as caught:
        load()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def _rewrite(path: Path, **changes: object) -> None:
    """Replace entries of a motion file; None removes one."""
    with np.load(path) as file:
        entries = {key: file[key] for key in file}
    entries |= changes
    np.savez_compressed(path, **{k: v for k, v in entries.items() if v is not None})


def test_round_trip(motion: Motion, path: Path, bimanual: Embodiment) -> None:
    read = Motion.load(path, bimanual)
    for key in ("name", "embodiment", "model", "fps", "joint_names", "site_names", "source"):
        assert getattr(read, key) == getattr(motion, key)
    for key in ("qpos", "qvel"):
        np.testing.assert_array_equal(getattr(read, key), getattr(motion, key))
    for key in ("site_pos", "site_quat", "site_vel"):
        np.testing.assert_allclose(getattr(read, key), getattr(motion, key), atol=1e-6)
    assert read.act is None
    assert read.duration == pytest.approx(0.19)


def test_round_trip_with_activations(motion: Motion, tmp_path: Path, bimanual: Embodiment) -> None:
    act = np.random.default_rng(0).random((len(motion), bimanual.model.nu))
    replace(motion, act=act).save(tmp_path / "with.npz")
    np.testing.assert_allclose(Motion.load(tmp_path / "with.npz", bimanual).act, act, atol=1e-3)


def test_set_round_trip(motion: Motion, tmp_path: Path, bimanual: Embodiment) -> None:
    write_motion_set(tmp_path / "set", [motion, replace(motion, name="again")])
    read = load_motion_set(tmp_path / "set", bimanual)
    assert [clip.name for clip in read] == ["bend", "again"]
    assert sorted(file.name for file in (tmp_path / "set").iterdir()) == [
        "again.npz",
        "bend.npz",
        "index.json",
    ]
    [single] = load_motion_set(tmp_path / "set" / "again.npz", bimanual)
    assert single.name == "again"


def test_missing_file(tmp_path: Path) -> None:
    _refused(lambda: Motion.load(tmp_path / "none.npz"), "none.npz", "does not exist")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_truncated_file(path: Path, bimanual: Embodiment, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    _refused(lambda: Motion.load(path, bimanual), str(path), "write it again")


@pytest.mark.parametrize("place", [0.3, 0.5, 0.7])
def test_damaged_file(path: Path, bimanual: Embodiment, place: float) -> None:
    content = bytearray(path.read_bytes())
    start = int(place * len(content))
    content[start : start + 64] = bytes(64)
    path.write_bytes(bytes(content))
    _refused(lambda: Motion.load(path, bimanual), str(path), "write it again")


def test_text_file(path: Path, bimanual: Embodiment) -> None:
    path.write_text("this is no archive\nand has two lines\n")
    _refused(lambda: Motion.load(path, bimanual), str(path))


def test_bare_array(path: Path, bimanual: Embodiment) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    _refused(lambda: Motion.load(path, bimanual), str(path))


@pytest.mark.parametrize("key", _ARRAYS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_entry(
    motion: Motion, path: Path, bimanual: Embodiment, key: str, value: float
) -> None:
    array = getattr(motion, key).copy()
    array.reshape(len(motion), -1)[7, 3] = value
    _rewrite(path, **{key: array})
    _refused(lambda: Motion.load(path, bimanual), key, "frame 7", "1 of 20")


def test_other_embodiment(path: Path, fullbody: Embodiment) -> None:
    _refused(lambda: Motion.load(path, fullbody), "'bimanual'", "'fullbody'")


@pytest.mark.parametrize("key", ["joint_names", "site_names"])
def test_wrong_names(motion: Motion, path: Path, bimanual: Embodiment, key: str) -> None:
    names = list(getattr(motion, key))
    _rewrite(path, **{key: np.array([*names[:-1], "tail"])})
    _refused(lambda: Motion.load(path, bimanual), "names do not fit", "tail", names[-1])
    _rewrite(path, **{key: np.array(names[::-1])})
    _refused(lambda: Motion.load(path, bimanual), "order differs")


@pytest.mark.parametrize("key", ["format_version", "fps", "joint_names", *_ARRAYS])
def test_missing_key(path: Path, bimanual: Embodiment, key: str) -> None:
    _rewrite(path, **{key: None})
    _refused(lambda: Motion.load(path, bimanual), repr(key))


def test_wrong_version(path: Path, bimanual: Embodiment) -> None:
    _rewrite(path, format_version=np.int64(99))
    _refused(lambda: Motion.load(path, bimanual), "99", "expected 1")


@pytest.mark.parametrize(
    "changes",
    [
        {"format_version": np.str_("one")},
        {"fps": np.array([100.0, 50.0])},
        {"fps": np.float64(0.0)},
        {"fps": np.float64(np.nan)},
        {"joint_names": np.str_("elbow")},
        {"qpos": np.array(1.0)},
        {"qpos": np.zeros(20)},
        {"qpos": np.full((20, 36), "a")},
        {"qvel": np.zeros((19, 36))},
        {"site_pos": np.zeros((20, 3))},
        {"act": np.zeros((19, 64), np.float16)},
        {"act": np.full((20, 64), "a")},
    ],
)
@pytest.mark.parametrize("given_body", [True, False])
def test_wrong_kind_of_entry(
    path: Path, bimanual: Embodiment, changes: dict[str, np.ndarray], given_body: bool
) -> None:
    _rewrite(path, **changes)
    _refused(lambda: Motion.load(path, bimanual if given_body else None), str(path))


def test_one_frame_clip(motion: Motion, path: Path, bimanual: Embodiment) -> None:
    _rewrite(path, **{key: getattr(motion, key)[:1] for key in _ARRAYS})
    _refused(lambda: Motion.load(path, bimanual), "1 frame", "at least 2")


def test_missing_index(tmp_path: Path, bimanual: Embodiment) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        _refused(lambda folder=folder: load_motion_set(folder, bimanual), str(folder), "index.json")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"[]",
        b"{}",
        b"3",
        b'{"clips": []}',
        b'{"clips": 3}',
        b'{"clips": null}',
        b'{"clips": ["bend.npz"]}',
        b'{"clips": [{}]}',
        b'{"clips": [{"file": 3}]}',
        b'{"clips": [{"file": "none.npz"}]}',
    ],
)
def test_unusable_index(path: Path, bimanual: Embodiment, content: bytes) -> None:
    (path.parent / "index.json").write_bytes(content)
    _refused(lambda: load_motion_set(path.parent, bimanual), str(path.parent))


def test_set_that_cannot_be_written(motion: Motion, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    broken = replace(motion, name="broken", qvel=np.full_like(motion.qvel, np.nan))
    for motions in ([], [motion, motion], [motion, replace(motion, embodiment="fullbody")]):
        _refused(lambda motions=motions: write_motion_set(folder, motions), str(folder))
    _refused(lambda: write_motion_set(folder, [motion, broken]), "broken", "not finite")
    assert not folder.exists()


def test_failed_write_leaves_no_file(
    motion: Motion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(file, **entries: np.ndarray) -> None:
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(OSError, match="disk full"):
        write_motion_set(tmp_path, [motion])
    assert list(tmp_path.iterdir()) == []


def test_failed_write_keeps_the_old_file(
    motion: Motion, path: Path, bimanual: Embodiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()
    monkeypatch.setattr(np, "savez_compressed", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        motion.save(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_failed_index_leaves_no_file(
    motion: Motion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json, "dumps", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_motion_set(tmp_path, [motion])
    assert [file.name for file in tmp_path.iterdir()] == ["bend.npz"]


def test_retarget_stands_alone() -> None:
    program = (
        "import sys, retarget, retarget.demo.__main__\n"
        "print([m for m in ('torch', 'warp', 'mujoco_warp', 'mm_torch', 'agents')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
