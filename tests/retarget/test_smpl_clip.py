"""SMPL-format clips: every layout is read to the same joints, and what is no motion is refused."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from retarget.smpl_clip import ClipError, SmplClip, find_clips, load_clip

_FRAMES = 5
_WIDTHS = {"smpl": 72, "smplh": 156, "smplx": 165}


def _entries(width: int = 156, frames: int = _FRAMES) -> dict[str, object]:
    """A clip in which pose value i of frame t is t + i / 1000."""
    poses = np.arange(frames)[:, None] + np.arange(width) / 1000
    trans = np.arange(frames * 3).reshape(frames, 3) / 10
    return {
        "poses": poses,
        "trans": trans,
        "betas": np.arange(16) / 10,
        "gender": np.array("female"),
        "mocap_framerate": np.float64(120),
    }


def _save(path: Path, entries: dict[str, object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{key: value for key, value in entries.items() if value is not None})
    return path


def _load(tmp_path: Path, **changes: object) -> SmplClip:
    return load_clip(_save(tmp_path / "walk_poses.npz", _entries() | changes))


def _refused(path: Path, *words: str) -> None:
    with pytest.raises(ClipError) as caught:
        load_clip(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    for word in words:
        assert word in message, message


@pytest.mark.parametrize("model_type", _WIDTHS)
def test_layouts(tmp_path: Path, model_type: str) -> None:
    width = _WIDTHS[model_type]
    clip = load_clip(_save(tmp_path / "walk_poses.npz", _entries(width)))
    assert (clip.name, clip.model_type, clip.gender) == ("walk", model_type, "female")
    assert clip.fps == 120.0
    assert clip.duration == pytest.approx(4 / 120)
    assert clip.rotvec.shape == (_FRAMES, width // 3, 3)
    # Joint 7, axis 1, frame 2 is pose value 22.
    assert clip.rotvec[2, 7, 1] == 2.022
    np.testing.assert_array_equal(clip.trans[1], [0.3, 0.4, 0.5])
    np.testing.assert_array_equal(clip.betas, np.arange(16) / 10)


def _stage_two(**changes: object) -> dict[str, object]:
    whole = _entries(165)
    poses = whole.pop("poses")
    whole["mocap_frame_rate"] = whole.pop("mocap_framerate")
    whole["surface_model_type"] = np.array("smplx_locked_head")
    names = ("root_orient", "pose_body", "pose_jaw", "pose_eye", "pose_hand")
    return whole | dict(zip(names, np.split(poses, (3, 66, 69, 75), axis=1), strict=True)) | changes


def test_stage_two_parts_are_joined_in_joint_order(tmp_path: Path) -> None:
    whole = load_clip(_save(tmp_path / "a.npz", _entries(165)))
    parts = load_clip(_save(tmp_path / "walk_stageii.npz", _stage_two()))
    assert (parts.name, parts.model_type, parts.fps) == ("walk", "smplx", 120.0)
    np.testing.assert_array_equal(parts.rotvec, whole.rotvec)


def test_stage_two_without_a_face_has_one_at_rest(tmp_path: Path) -> None:
    whole = load_clip(_save(tmp_path / "a.npz", _entries(165)))
    path = _save(tmp_path / "b.npz", _stage_two(pose_jaw=None, pose_eye=None))
    faceless = load_clip(path).rotvec
    assert np.all(faceless[:, 22:25] == 0)
    np.testing.assert_array_equal(np.delete(faceless, range(22, 25), 1),
                                  np.delete(whole.rotvec, range(22, 25), 1))  # fmt: skip


def test_stage_two_parts_must_fit(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    _refused(_save(path, _stage_two(pose_body=None)), "no entry 'pose_body'", "pose_hand")
    _refused(_save(path, _stage_two(pose_eye=np.zeros((_FRAMES, 3)))), "pose_eye", "(5, 3)")
    _refused(_save(path, _stage_two(pose_hand=np.zeros((3, 90)))), "5 frames", "pose_hand has 3")


@pytest.mark.parametrize(
    "gender", ["female", np.array(b"female"), np.array(["Female"]), np.array(b"female\n")]
)
def test_gender_as_text_or_bytes(tmp_path: Path, gender: object) -> None:
    assert _load(tmp_path, gender=gender).gender == "female"


@pytest.mark.parametrize(
    ("rate", "fps"),
    [(120.00004577, 120.0), (59.94, 59.94), (np.array([100]), 100.0), (np.float32(30), 30.0)],
)
def test_rate_snaps_to_a_whole_number_nearby(tmp_path: Path, rate: object, fps: float) -> None:
    assert _load(tmp_path, mocap_framerate=rate).fps == pytest.approx(fps, abs=1e-12)


def test_other_names_and_shapes(tmp_path: Path) -> None:
    entries = _entries()
    trans = entries.pop("trans")
    clip = _load(tmp_path, transl=trans, trans=None, betas=np.ones((1, 10), np.float32))
    np.testing.assert_array_equal(clip.trans, trans)
    np.testing.assert_array_equal(clip.betas, np.ones(10))
    assert clip.betas.dtype == clip.rotvec.dtype == clip.trans.dtype == np.float64
    clip = _load(tmp_path, betas=None, poses=_entries()["poses"].astype(np.float32))
    assert clip.betas.ndim == 1 and not clip.betas.any()
    assert clip.rotvec.dtype == np.float64
    assert load_clip(clip.path, "other").name == "other"


class _Runs:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    trap = np.array([_Runs(tmp_path / "ran")], dtype=object)
    assert len(_load(tmp_path, marker_labels=trap)) == _FRAMES
    _refused(_save(tmp_path / "b.npz", _entries() | {"betas": trap}), "betas", "pickled object")
    _refused(_save(tmp_path / "c.npz", _entries() | {"gender": trap}), "gender", "pickled object")
    assert not (tmp_path / "ran").exists()


def _poses(**cells: float) -> np.ndarray:
    poses = _entries()["poses"]
    for frame, value in cells.items():
        poses[int(frame[1:]), 10] = value
    return poses


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"poses": None}, ("no entry 'poses'", "holds betas, gender, mocap_framerate, trans")),
        ({"trans": None}, ("no entry 'trans' or 'transl'", "poses")),
        ({"gender": None}, ("no entry 'gender'",)),
        ({"mocap_framerate": None}, ("no entry 'mocap_framerate' or 'mocap_frame_rate'",)),
        ({"poses": _poses(f1=np.nan, f3=np.inf)}, ("2 of 5 frames", "first is frame 1")),
        ({"trans": np.full((5, 3), np.nan)}, ("5 of 5 frames", "first is frame 0")),
        ({"poses": np.zeros((5, 66))}, ("(5, 66)", "72 or 156 or 165")),
        ({"poses": np.zeros((5, 52, 3))}, ("(5, 52, 3)", "72 or 156 or 165")),
        ({"poses": np.full((5, 156), "x")}, ("poses", "expected real numbers")),
        ({"trans": np.zeros((5, 2))}, ("(5, 2)", "(frames, 3)")),
        ({"trans": np.zeros((4, 3))}, ("5 frames", "trans has 4")),
        ({"gender": np.array("unknown")}, ("unknown gender 'unknown'", "neutral, male, female")),
        ({"gender": np.array(3)}, ("unknown gender '3'",)),
        ({"mocap_framerate": 0.0}, ("frame rate", "positive number")),
        ({"mocap_framerate": -120.0}, ("-120", "positive number")),
        ({"mocap_framerate": np.nan}, ("nan", "positive number")),
        ({"mocap_framerate": 1 / 120}, ("0.00833", "from 1 to 10000")),
        ({"mocap_framerate": 1e12}, ("e+12", "from 1 to 10000")),
        ({"mocap_framerate": np.array([100.0, 120.0])}, ("frame rate", "positive number")),
        ({"betas": np.zeros((5, 10))}, ("betas", "(5, 10)")),
        ({"betas": np.full(10, np.nan)}, ("betas", "finite")),
    ],
)
def test_what_is_no_motion_is_refused(
    tmp_path: Path, changes: dict[str, object], words: tuple[str, ...]
) -> None:
    _refused(_save(tmp_path / "walk.npz", _entries() | changes), *words)


@pytest.mark.parametrize("frames", [0, 1])
def test_too_few_frames(tmp_path: Path, frames: int) -> None:
    _refused(_save(tmp_path / "a.npz", _entries(frames=frames)), f"{frames} frame", "at least 2")


def test_damaged_files(tmp_path: Path) -> None:
    path = _save(tmp_path / "walk.npz", _entries())
    whole = path.read_bytes()
    _refused(tmp_path / "none.npz", "does not exist")
    path.write_bytes(whole[: len(whole) // 2])
    _refused(path, "damaged or truncated")
    # A flipped byte in the first entry: the archive's index is whole, its checksum is not.
    path.write_bytes(whole[:3000] + bytes([whole[3000] ^ 255]) + whole[3001:])
    _refused(path, "damaged or truncated")
    path.write_bytes(b"this is text")
    _refused(path, "no .npz archive")
    path.write_bytes(b"")
    _refused(path, "no .npz archive")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("poses.npy", b"\x93NUMPY\x01\x00")
    _refused(path, "damaged or truncated")


def test_find_clips_names_and_leaves_out(tmp_path: Path) -> None:
    for name in ("CMU/02/02_01_poses", "CMU/02/02_01_stageii", "CMU/02/shape", "CMU/02/._x_poses",
                 "CMU/02/neutral_stagei", "a/b", "a_b", "a_b_2", "run.v2"):  # fmt: skip
        _save(tmp_path / f"{name}.npz", {"x": 0})
    (tmp_path / "notes.txt").write_text("no clip")
    (tmp_path / "folder.npz").mkdir()
    found = find_clips(tmp_path)
    assert [(name, path.relative_to(tmp_path).as_posix()) for name, path in found] == [
        ("CMU_02_02_01", "CMU/02/02_01_poses.npz"),
        ("CMU_02_02_01_2", "CMU/02/02_01_stageii.npz"),
        ("a_b", "a/b.npz"),
        ("a_b_3", "a_b.npz"),
        ("a_b_2", "a_b_2.npz"),
        ("run.v2", "run.v2.npz"),
    ]
    # A name is the same whatever else is chosen.
    for pattern in ("*_stageii", "CMU/*_stageii.npz", "02_01_stageii.npz", "CMU_02_02_01_2"):
        assert find_clips(tmp_path, pattern) == [found[1]]
    assert find_clips(tmp_path, "CMU/02/*") == found[:2]


def test_find_clips_of_one_file(tmp_path: Path) -> None:
    path = _save(tmp_path / "walk_poses.npz", {"x": 0})
    assert find_clips(path) == [("walk", path)]


def test_find_clips_without_a_clip(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no clip")
    _save(tmp_path / "walk.npz", {"x": 0})
    for folder, pattern, word in (
        ("none", "*", "does not exist"),
        ("empty", "*", "no .npz clip"),
        ("notes.txt", "*", "expected a folder"),
        ("", "run*", "'run*'"),
    ):
        with pytest.raises(ClipError) as caught:
            find_clips(tmp_path / folder, pattern)
        assert word in str(caught.value) and "\n" not in str(caught.value)


def test_real_clips(shared: Path) -> None:
    folder = shared / "data" / "amass"
    if not folder.is_dir():
        pytest.skip(f"no recordings {folder}")
    clips = dict(find_clips(folder, "CMU/02/*"))
    assert "CMU_02_02_01" in clips
    walk = load_clip(clips["CMU_02_02_01"])
    assert (walk.model_type, walk.gender, walk.fps) == ("smplh", "neutral", 120.0)
    assert walk.rotvec.shape == (343, 52, 3)
    # A person walks: a few metres, on the floor of a z-up world.
    assert 1.0 < np.linalg.norm(walk.trans[-1, :2] - walk.trans[0, :2]) < 8.0
    assert np.ptp(walk.trans[:, 2]) < 0.2
