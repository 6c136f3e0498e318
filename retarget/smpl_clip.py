"""Reads motion capture in SMPL's parameters: AMASS SMPL+H and SMPL-X files, and plain SMPL.

All are `.npz` files of local joint rotations and a translation. What differs: 72 pose numbers
(SMPL, 24 joints), 156 (SMPL+H, 52) or 165 (SMPL-X, 55, in one array or split by body part), the
name of the frame rate, and whether the gender is text or bytes.
"""

from __future__ import annotations

import fnmatch
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cfg.errors import UserError

#: Joints of each model, by the number of its pose parameters.
MODEL_OF_WIDTH = {72: ("smpl", 24), 156: ("smplh", 52), 165: ("smplx", 55)}
_SMPLX_PARTS = (("root_orient", 3), ("pose_body", 63), ("pose_jaw", 3), ("pose_eye", 6),
                ("pose_hand", 90))  # fmt: skip
_RATES = ("mocap_framerate", "mocap_frame_rate")
_TRANSLATIONS = ("trans", "transl")
_GENDERS = ("neutral", "male", "female")
_SUFFIXES = ("_poses", "_stageii")
_NO_MOTION = ("shape", "neutral_stagei", "male_stagei", "female_stagei")


class ClipError(UserError):
    """A motion-capture file that cannot be used, and why."""


@dataclass(frozen=True)
class SmplClip:
    """One clip.

    Attributes:
        name: what the clip is called.
        path: its file.
        model_type: "smpl", "smplh" or "smplx".
        gender: "neutral", "male" or "female".
        fps: frames a second.
        rotvec: (T, J, 3) local joint rotations (rad), the root's in the world.
        trans: (T, 3) translation of the model (m).
        betas: (B,) shape.
    """

    name: str
    path: Path
    model_type: str
    gender: str
    fps: float
    rotvec: np.ndarray
    trans: np.ndarray
    betas: np.ndarray

    @property
    def duration(self) -> float:
        """Length from first to last frame (s)."""
        return (len(self.rotvec) - 1) / self.fps


def find_clips(folder: str | Path, pattern: str = "*") -> list[tuple[str, Path]]:
    """Return (name, path) of every clip below a folder, sorted.

    A clip's name is its path below the folder, joined by underscores, without "_poses" or
    "_stageii". AMASS's shape files, which hold no motion, are left out.

    Args:
        folder: the folder, or one file.
        pattern: glob that the relative path, the file's name or the clip's name must match.

    Raises:
        ClipError: there is no such folder, or no clip in it.
    """
    folder = Path(folder)
    if folder.is_file():
        return [(_name(Path(folder.name)), folder)]
    if not folder.is_dir():
        raise ClipError(f"motions={folder}: no such folder or file")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.npz")):
        relative = path.relative_to(folder)
        if path.stem in _NO_MOTION or path.stem.endswith("_stagei"):
            continue
        name = _name(relative)
        while name in found:
            name += "_"
        if any(fnmatch.fnmatch(text, pattern) for text in (str(relative), relative.name, name)):
            found[name] = path
    if not found:
        what = "no .npz clip" if pattern == "*" else f"no .npz clip that matches {pattern!r}"
        raise ClipError(f"motions={folder}: {what} in this folder or below it")
    return sorted(found.items())


def _name(relative: Path) -> str:
    name = "_".join(relative.with_suffix("").parts).replace(" ", "_")
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def count_frames(path: str | Path) -> int:
    """Frames of a clip by its header alone, 0 where that cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            for key in ("poses", "root_orient"):
                if f"{key}.npy" in archive.namelist():
                    with archive.open(f"{key}.npy") as entry:
                        major, _ = np.lib.format.read_magic(entry)
                        read = (
                            np.lib.format.read_array_header_1_0
                            if major == 1
                            else np.lib.format.read_array_header_2_0
                        )
                        return int(read(entry)[0][0])
    except (OSError, ValueError, IndexError, zipfile.BadZipFile):
        pass
    return 0


def load_clip(path: str | Path, name: str | None = None) -> SmplClip:
    """Read and check a clip.

    Raises:
        ClipError: the file is missing or damaged, lacks an entry, or holds what is no motion.
    """
    path = Path(path)
    if not path.is_file():
        raise ClipError(f"clip {path} does not exist")
    entries = _read(path)
    poses = _poses(entries, path)
    if poses.ndim != 2 or poses.shape[1] not in MODEL_OF_WIDTH:
        raise ClipError(
            f"{path}: poses have shape {poses.shape}, expected (frames, 72) for SMPL, "
            f"(frames, 156) for SMPL+H or (frames, 165) for SMPL-X"
        )
    model_type, joints = MODEL_OF_WIDTH[poses.shape[1]]
    key = next((key for key in _TRANSLATIONS if key in entries), None)
    if key is None:
        raise ClipError(f"{path}: no entry 'trans' (there are {_listed(entries)})")
    trans = _numbers(entries[key], key, path)
    frames = len(poses)
    if trans.shape != (frames, 3):
        raise ClipError(
            f"{path}: {key} has shape {trans.shape}, expected {(frames, 3)} for {frames} poses"
        )
    if frames < 2:
        raise ClipError(f"{path}: {frames} frame(s), expected at least 2")
    for what, array in (("poses", poses), (key, trans)):
        bad = ~np.isfinite(array).all(axis=1)
        if bad.any():
            raise ClipError(
                f"{path}: {what} is not finite in {bad.sum()} of {frames} frames, the first is "
                f"frame {int(np.argmax(bad))}: repair or leave out the clip"
            )
    return SmplClip(
        name=name or _name(Path(path.name)),
        path=path,
        model_type=model_type,
        gender=_gender(entries, path),
        fps=_rate(entries, path),
        rotvec=poses.reshape(frames, joints, 3),
        trans=trans,
        betas=_betas(entries, path),
    )


def _read(path: Path) -> dict[str, np.ndarray]:
    """Every entry that can be read without unpickling; the others as None would be of no use."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if not hasattr(file, "files"):
                raise ClipError(f"{path}: one bare array, expected an .npz archive of a clip")
            entries = {}
            for key in file.files:
                try:
                    entries[key] = file[key]
                except ValueError as error:
                    # Objects (labels, marker names) need unpickling, which runs code; no needed
                    # entry is one, unless the file is no clip.
                    if "pickle" not in str(error).lower() and "object" not in str(error).lower():
                        raise
            return entries
    except ClipError:
        raise
    except Exception as error:  # zlib.error, struct.error, ... : what a damaged archive raises
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, ValueError) and "pickle" in reason.lower():
            reason = "not a zip archive of arrays"
        raise ClipError(f"{path}: cannot be read as an .npz clip ({reason})") from error


def _poses(entries: dict[str, np.ndarray], path: Path) -> np.ndarray:
    if "poses" in entries:
        return _numbers(entries["poses"], "poses", path)
    if "root_orient" not in entries:
        raise ClipError(f"{path}: no entry 'poses' (there are {_listed(entries)})")
    frames = len(_numbers(entries["root_orient"], "root_orient", path))
    parts = []
    for key, width in _SMPLX_PARTS:
        if key not in entries:
            if key in ("root_orient", "pose_body"):
                raise ClipError(f"{path}: no entry {key!r} (there are {_listed(entries)})")
            parts.append(np.zeros((frames, width)))
            continue
        part = _numbers(entries[key], key, path)
        if part.shape != (frames, width):
            raise ClipError(f"{path}: {key} has shape {part.shape}, expected {(frames, width)}")
        parts.append(part)
    return np.concatenate(parts, axis=1)


def _numbers(array: np.ndarray, key: str, path: Path) -> np.ndarray:
    if array.dtype.kind not in "fiu":
        raise ClipError(f"{path}: {key} holds {array.dtype}, expected numbers")
    return array.astype(np.float64)


def _gender(entries: dict[str, np.ndarray], path: Path) -> str:
    if "gender" not in entries:
        return "neutral"
    value = entries["gender"].ravel()
    value = value[0] if len(value) else ""
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    text = text.strip().lower()
    if text not in _GENDERS:
        raise ClipError(f"{path}: gender is {text!r}, expected one of {', '.join(_GENDERS)}")
    return text


def _rate(entries: dict[str, np.ndarray], path: Path) -> float:
    key = next((key for key in _RATES if key in entries), None)
    if key is None:
        raise ClipError(f"{path}: no entry 'mocap_framerate' (there are {_listed(entries)})")
    array = _numbers(entries[key], key, path).ravel()
    rate = float(array[0]) if len(array) == 1 else float("nan")
    if not (np.isfinite(rate) and rate > 0):
        raise ClipError(f"{path}: {key} is {entries[key]}, expected a positive number")
    # 120.00004577 is 120 written in single precision by way of its inverse.
    return float(round(rate)) if abs(rate - round(rate)) < 1e-3 else rate


def _betas(entries: dict[str, np.ndarray], path: Path) -> np.ndarray:
    if "betas" not in entries:
        return np.zeros(10)
    betas = _numbers(entries["betas"], "betas", path)
    betas = betas[0] if betas.ndim == 2 else betas
    if betas.ndim != 1 or not np.isfinite(betas).all():
        raise ClipError(f"{path}: betas have shape {entries['betas'].shape} or are not finite")
    return betas


def _listed(entries: dict[str, np.ndarray]) -> str:
    return ", ".join(sorted(entries)) or "none"
