"""NumPy archives: MuscleMimic's cached trajectories, and LocoMuJoCo's joint-angle tables.

A MuscleMimic cache stacks its clips in `qpos` (T, nq), laid out as the joints `joint_names` of
types `jnt_type` (MuJoCo's numbers) say, at `frequency` Hz; `split_points` (clips + 1) are the
boundaries. Only these entries are read: others may be pickled objects, which are never opened.

A LocoMuJoCo table has a (T,) array `q_NAME` for each coordinate of its humanoid, named and signed
as in OpenSim, but for the left hip: there adduction and rotation count about the same axes as on
the right, which is the opposite of OpenSim's sign. No rate is stored; these tables have 500 Hz.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

import mujoco
import numpy as np

from retarget.importers.source import SourceClip, SourceError

_FREE, _BALL = int(mujoco.mjtJoint.mjJNT_FREE), int(mujoco.mjtJoint.mjJNT_BALL)
#: Number of entries in qpos of each joint type.
_WIDTH = {_FREE: 7, _BALL: 4, int(mujoco.mjtJoint.mjJNT_SLIDE): 1,
          int(mujoco.mjtJoint.mjJNT_HINGE): 1}  # fmt: skip
_CACHE, _LOCO = "MuscleMimic cache", "LocoMuJoCo table"
_LOCO_HZ = 500.0
_LOCO_REVERSED = ("hip_adduction_l", "hip_rotation_l")


def is_archive(head: bytes) -> bool:
    """Return whether the first bytes of a file are those of an .npz."""
    return head.startswith(b"PK")


def read_archive(path: Path, name: str) -> list[SourceClip]:
    """Read the clips of an .npz of either kind.

    Raises:
        SourceError: the archive is damaged, of another kind, or lacks an entry.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return _reader(path, set(file.files))(path, name, file)
    except SourceError:
        raise
    except Exception as error:  # zipfile, zlib and struct errors: what a damaged archive raises
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SourceError(
            f"{path}: cannot be read ({reason}): the file is damaged, copy it again"
        ) from error


def _reader(path: Path, keys: set[str]) -> Callable[..., list[SourceClip]]:
    if {"format_version", "embodiment"} <= keys:
        raise SourceError(
            f"{path}: is a motion file already: give it (or its folder) as motions= of training"
        )
    if {"qpos", "joint_names"} <= keys or {"qpos", "split_points"} <= keys:
        return _read_cache
    if any(key.startswith("q_") for key in keys):
        return _read_loco
    if {"poses", "trans"} <= keys or "pose_body" in keys:
        raise SourceError(f"{path}: is SMPL motion capture: use python -m retarget")
    raise SourceError(
        f"{path}: unknown format: expected a MuscleMimic cache (qpos, joint_names, ...) or "
        f"joint angles q_NAME, it holds {', '.join(sorted(keys)[:4]) or 'nothing'}"
    )


def _read_cache(path: Path, name: str, file: Mapping[str, np.ndarray]) -> list[SourceClip]:
    for key in ("qpos", "joint_names", "jnt_type", "frequency"):
        if key not in file:
            raise SourceError(f"{path}: no entry {key!r}: not a complete MuscleMimic cache")
    qpos = np.asarray(file["qpos"], dtype=np.float64)
    names = [str(joint) for joint in np.ravel(file["joint_names"])]
    types = np.ravel(file["jnt_type"]).astype(int)
    frequency = float(np.ravel(file["frequency"])[0])
    if len(types) != len(names) or not set(types) <= _WIDTH.keys():
        raise SourceError(f"{path}: jnt_type does not give a joint type for each of joint_names")
    widths = np.array([_WIDTH[kind] for kind in types])
    if qpos.ndim != 2 or qpos.shape[1] != widths.sum():
        raise SourceError(
            f"{path}: qpos has shape {qpos.shape}, its joints need (frames, {widths.sum()})"
        )
    if not (np.isfinite(frequency) and frequency > 0):
        raise SourceError(f"{path}: frequency is {frequency}, expected a positive number (Hz)")
    address = np.concatenate([[0], np.cumsum(widths)[:-1]])
    free = [index for index, kind in enumerate(types) if kind == _FREE]
    root = qpos[:, address[free[0]] : address[free[0]] + 7] if free else None
    single = {joint: qpos[:, at] for joint, at, width in zip(names, address, widths, strict=True)
              if width == 1}  # fmt: skip
    splits = np.ravel(file["split_points"]).astype(int) if "split_points" in file else None
    bounds = [0, len(qpos)] if splits is None else [int(point) for point in splits]
    if len(bounds) < 2 or bounds[0] != 0 or bounds[-1] != len(qpos) or np.any(np.diff(bounds) < 1):
        raise SourceError(
            f"{path}: split_points {bounds[:5]} do not cut {len(qpos)} frames into clips: "
            f"expected to rise from 0 to {len(qpos)}"
        )
    digits = len(str(len(bounds) - 2))
    clips = []
    for number, (begin, end) in enumerate(pairwise(bounds)):
        clips.append(
            SourceClip(
                name=name if len(bounds) == 2 else f"{name}_{number:0{digits}d}",
                path=path,
                format=_CACHE,
                time=np.arange(end - begin) / frequency,
                columns={joint: values[begin:end] for joint, values in single.items()},
                root=None if root is None else root[begin:end],
                ignored=len(names) - len(single) - len(free[:1]),
            )
        )
    return clips


def _read_loco(path: Path, name: str, file: Mapping[str, np.ndarray]) -> list[SourceClip]:
    columns: dict[str, np.ndarray] = {}
    for key in file:
        if not key.startswith("q_"):
            continue
        values = np.asarray(file[key], dtype=np.float64)
        coordinate = key.removeprefix("q_")
        columns[coordinate] = -values if coordinate in _LOCO_REVERSED else values
        if values.ndim != 1 or len(values) != len(next(iter(columns.values()))):
            raise SourceError(
                f"{path}: {key} has shape {values.shape}, expected one column as long as the others"
            )
    rows = len(next(iter(columns.values())))
    note = f"the file stores no rate: {_LOCO_HZ:g} Hz assumed"
    time = np.arange(rows) / _LOCO_HZ
    ignored = sum(not key.startswith("q_") for key in file)
    clip = SourceClip(
        name, path, _LOCO, time, columns, opensim=True, ignored=ignored, notes=(note,)
    )
    return [clip]
