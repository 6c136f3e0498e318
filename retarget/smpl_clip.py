"""SMPL-format clips: local joint rotations of a recorded performer, as AMASS stores them.

Three kinds of `.npz` are read, and told apart by their number of pose values:

- SMPL: `poses` (T, 72), 24 joints;
- SMPL-H (AMASS): `poses` (T, 156), 52 joints;
- SMPL-X (AMASS "stage II"): `poses` (T, 165), or `root_orient` (T, 3), `pose_body` (T, 63),
  `pose_hand` (T, 90) and, where the face was captured, `pose_jaw` (T, 3) and `pose_eye` (T, 6).

Each has `trans` (T, 3), `gender` and `mocap_framerate` (Hz), and mostly `betas`. Other entries are
never opened: some recordings hold pickled objects there, which could run code.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import count
from pathlib import Path

import numpy as np

from cfg.errors import UserError

#: Number of joints of each model type.
JOINT_COUNTS = {"smpl": 24, "smplh": 52, "smplx": 55}
GENDERS = ("neutral", "male", "female")
#: Parts of a SMPL-X pose in joint order, and their widths; jaw and eyes may be absent.
_PARTS = {"root_orient": 3, "pose_body": 63, "pose_jaw": 3, "pose_eye": 6, "pose_hand": 90}
_FACE = ("pose_jaw", "pose_eye")
#: Rates closer than this to a whole number are that number: AMASS has 120.00004577 Hz.
_RATE_TOLERANCE = 1e-3


class ClipError(UserError):
    """A clip of motion capture that cannot be used, and why."""


@dataclass(frozen=True)
class SmplClip:
    """One recording.

    Attributes:
        name: what the clip is called in tables and files.
        path: where it was read.
        model_type: "smpl", "smplh" or "smplx".
        gender: "neutral", "male" or "female": the body model it was captured with.
        fps: frames a second (Hz).
        rotvec: (T, J, 3) rotation of each joint in its parent's axes (rad), in the model's joint
            order; the first is the pelvis in the recording's axes. J is 24, 52 or 55.
        trans: (T, 3) translation of the body (m), which moves the model's origin, not its pelvis.
        betas: (B,) shape of the performer; zeros where the file has none.
    """

    name: str
    path: Path
    model_type: str
    gender: str
    fps: float
    rotvec: np.ndarray
    trans: np.ndarray
    betas: np.ndarray

    def __len__(self) -> int:
        return len(self.rotvec)

    @property
    def duration(self) -> float:
        """Length from first to last frame (s)."""
        return (len(self) - 1) / self.fps


def load_clip(path: str | Path, name: str | None = None) -> SmplClip:
    """Read a clip and check it.

    Args:
        path: the `.npz` file.
        name: what to call the clip; the file's name without `_poses` or `_stageii` by default.

    Raises:
        ClipError: the file is missing or damaged, lacks an entry, or holds values that are no
            motion: too few frames, numbers that are not finite, an unknown gender or rate.
    """
    path = Path(path)
    with _open(path) as archive:
        entries = _Entries(path, archive)
        model_type, poses = _read_poses(entries)
        trans = entries.numbers("trans", "transl", widths=(3,))
        betas = _read_betas(entries)
        gender = _text(entries.raw("gender"))
        fps = _read_rate(entries)
    if gender not in GENDERS:
        raise ClipError(f"{path}: unknown gender {gender!r}, expected one of {', '.join(GENDERS)}")
    frames = len(poses)
    if len(trans) != frames:
        raise ClipError(
            f"{path}: the pose has {frames} frames, trans has {len(trans)}: expected as many"
        )
    if frames < 2:
        raise ClipError(f"{path}: {frames} frame(s), expected a motion of at least 2: leave it out")
    bad = ~(np.isfinite(poses).all(axis=1) & np.isfinite(trans).all(axis=1))
    if bad.any():
        raise ClipError(
            f"{path}: poses or trans not finite in {bad.sum()} of {frames} frames, the first is "
            f"frame {int(np.argmax(bad))}: cut these frames out or leave the clip out"
        )
    return SmplClip(
        name=_short_name(path.stem) if name is None else name,
        path=path,
        model_type=model_type,
        gender=gender,
        fps=fps,
        rotvec=poses.reshape(frames, -1, 3),
        trans=trans,
        betas=betas,
    )


def find_clips(folder: str | Path, pattern: str = "*") -> list[tuple[str, Path]]:
    """List the clips below a folder, sorted by path.

    A clip's name is its path below `folder` joined by "_", without suffix, `_poses` and `_stageii`;
    equal names are numbered. A name does not depend on `pattern`. Left out are the files of AMASS
    that hold a performer's shape (`shape.npz`, `neutral_stagei.npz`) and hidden files.

    Args:
        folder: where to look, or one `.npz` file.
        pattern: a glob that must match a clip's path below `folder` (with or without `.npz`), its
            file's name or its own; `*` matches "/" too.

    Returns:
        (name, path) of each clip.

    Raises:
        ClipError: there is no such folder, or no such clip in it.
    """
    folder = Path(folder)
    if folder.is_file():
        if folder.suffix != ".npz":
            raise ClipError(f"{folder}: expected a folder of .npz clips or one .npz clip")
        root, files = folder.parent, [folder]
    elif folder.is_dir():
        root, files = folder, [path for path in folder.rglob("*.npz") if _is_motion(path)]
        files.sort(key=lambda path: path.relative_to(root).as_posix())
    else:
        raise ClipError(f"folder of clips {folder} does not exist: give a folder of .npz clips")
    if not files:
        raise ClipError(f"{folder}: no .npz clip in it or below: give a folder of .npz clips")
    relative = [path.relative_to(root).with_suffix("").as_posix() for path in files]
    names = _unique([_short_name(below.replace("/", "_")) for below in relative])
    clips = [
        (name, path)
        for name, path, below in zip(names, files, relative, strict=True)
        if any(fnmatchcase(text, pattern) for text in (below, f"{below}.npz", path.name, name))
    ]
    if not clips:
        raise ClipError(
            f"{folder}: none of {len(names)} clip(s), such as {names[0]!r}, matches {pattern!r}: "
            f"give a glob that matches paths below the folder, or names"
        )
    return clips


def _short_name(name: str) -> str:
    return re.sub(r"(?<=.)_(poses|stageii)$", "", name)


def _is_motion(path: Path) -> bool:
    # Archives packed on macOS hold a hidden "._NAME" beside each NAME.
    shape = path.stem == "shape" or path.stem.endswith("_stagei")
    return path.is_file() and not shape and not path.name.startswith(".")


def _unique(names: Sequence[str]) -> list[str]:
    """Number repeated names from 2 on, past any name that a file has of its own."""
    used, unique = set(names), {}
    for name in names:
        if name in unique:
            numbered = (f"{name}_{number}" for number in count(2))
            name = next(other for other in numbered if other not in used)
        used.add(name)
        unique[name] = None
    return list(unique)


def _open(path: Path) -> np.lib.npyio.NpzFile:
    if not path.is_file():
        raise ClipError(f"clip {path} does not exist")
    try:
        with path.open("rb") as file:
            is_archive = file.read(2) == b"PK"
        if is_archive:
            return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from error
    raise ClipError(
        f"{path}: is no .npz archive: give SMPL-format motion capture as .npz, as in AMASS"
    )


def _damaged(path: Path, error: Exception) -> ClipError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ClipError(f"{path}: damaged or truncated file ({reason}): copy or download it again")


class _Entries:
    """The entries of an archive, read one at a time and never unpickled."""

    def __init__(self, path: Path, archive: np.lib.npyio.NpzFile) -> None:
        self.path, self.archive = path, archive
        self.keys = tuple(archive.files)

    def raw(self, *keys: str) -> np.ndarray:
        """The first of `keys` that is there."""
        key = next((key for key in keys if key in self.keys), None)
        if key is None:
            held = ", ".join(sorted(self.keys)[:20]) or "nothing"
            raise ClipError(
                f"{self.path}: no entry {' or '.join(map(repr, keys))}: expected an SMPL-format "
                f"clip as in AMASS, it holds {held}"
            )
        try:
            return np.asarray(self.archive[key])
        except Exception as error:  # zipfile, zlib, struct errors: what a damaged archive raises
            if isinstance(error, ValueError) and "allow_pickle" in str(error):
                raise ClipError(
                    f"{self.path}: {key} is a pickled object, which is not opened because it could "
                    f"run code: save it as an array of numbers or text"
                ) from error
            raise _damaged(self.path, error) from error

    def numbers(self, *keys: str, widths: Sequence[int] = ()) -> np.ndarray:
        """The first of `keys` that is there as float64; given widths, (frames, one of them)."""
        array = self.raw(*keys)
        if array.dtype.kind not in "fiu":
            raise ClipError(f"{self.path}: {keys[0]} is {array.dtype}, expected real numbers")
        if widths and (array.ndim != 2 or array.shape[1] not in widths):
            expected = " or ".join(map(str, widths))
            raise ClipError(
                f"{self.path}: {keys[0]} has shape {array.shape}, expected (frames, {expected})"
            )
        return array.astype(np.float64)


def _read_poses(entries: _Entries) -> tuple[str, np.ndarray]:
    """Model type and pose (T, 3 J)."""
    types = {3 * joints: kind for kind, joints in JOINT_COUNTS.items()}
    whole = "poses" in entries.keys or "root_orient" not in entries.keys
    poses = entries.numbers("poses", widths=tuple(types)) if whole else _join_parts(entries)
    return types[poses.shape[1]], poses


def _join_parts(entries: _Entries) -> np.ndarray:
    parts = []
    for key, width in _PARTS.items():
        if key in _FACE and key not in entries.keys:
            part = np.zeros((len(parts[0]), width))
        else:
            part = entries.numbers(key, widths=(width,))
        parts.append(part)
        if len(part) != len(parts[0]):
            raise ClipError(
                f"{entries.path}: root_orient has {len(parts[0])} frames, {key} has {len(part)}: "
                f"expected as many"
            )
    return np.concatenate(parts, axis=1)


def _read_betas(entries: _Entries) -> np.ndarray:
    if "betas" not in entries.keys:
        return np.zeros(10)
    betas = entries.numbers("betas")
    if betas.ndim == 2 and len(betas) == 1:
        betas = betas[0]
    if betas.ndim != 1 or not np.isfinite(betas).all():
        raise ClipError(
            f"{entries.path}: betas of shape {betas.shape} are no finite (B,) or (1, B): set zeros"
        )
    return betas


def _read_rate(entries: _Entries) -> float:
    rates = entries.numbers("mocap_framerate", "mocap_frame_rate").ravel()
    rate = float(rates[0]) if len(rates) == 1 else np.nan
    # Beyond these it is of another unit: a period in seconds would make hours of a clip.
    if not 1 <= rate <= 10_000:
        expected = "expected a positive number (Hz) from 1 to 10000"
        raise ClipError(f"{entries.path}: frame rate is {rates[:3]}, {expected}")
    whole = float(round(rate))
    return whole if whole > 0 and abs(rate - whole) < _RATE_TOLERANCE else rate


def _text(array: np.ndarray) -> str:
    """Lower-case text of an array of one string or byte string."""
    value = array.ravel()[0] if array.size == 1 else array
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return " ".join(text.lower().split())
