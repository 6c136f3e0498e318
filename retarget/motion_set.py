"""The motion set: a folder of motion files with an index."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retarget.motion import Motion, MotionError
from sim.embodiment import Embodiment

INDEX = "index.json"
INDEX_VERSION = 1


def write_motion_set(folder: str | Path, motions: Sequence[Motion]) -> Path:
    """Write clips and their index into `folder`, and return the index's path.

    Raises:
        MotionError: no clip, two clips of one name, or clips of different embodiments.
    """
    folder = Path(folder)
    if not motions:
        raise MotionError(f"{folder}: no clip to write")
    if len({motion.embodiment for motion in motions}) > 1:
        raise MotionError(f"{folder}: the clips are of different embodiments")
    names = [motion.name for motion in motions]
    if len(set(names)) < len(names):
        raise MotionError(f"{folder}: two clips have the same name")
    for motion in motions:
        motion.check()
    folder.mkdir(parents=True, exist_ok=True)
    for motion in motions:
        motion.save(folder / f"{motion.name}.npz")
    return write_index(
        folder,
        motions[0].embodiment,
        [index_record(motion) for motion in motions],
    )


def index_record(motion: Motion) -> dict[str, Any]:
    """Return what an index says of a clip that lies beside it, in NAME.npz."""
    return {
        "name": motion.name,
        "file": f"{motion.name}.npz",
        "frames": len(motion),
        "fps": motion.fps,
        "source": motion.source,
    }


def write_index(folder: Path, embodiment: str, clips: Sequence[dict[str, Any]]) -> Path:
    """Write the index of motion files that are in `folder` already, and return its path.

    Args:
        folder: the motion set.
        embodiment: whose motions they are.
        clips: name, file, frames, fps and source of each.
    """
    index = {"format_version": INDEX_VERSION, "embodiment": embodiment, "clips": list(clips)}
    temporary = folder / f"{INDEX}.tmp"
    try:
        temporary.write_text(json.dumps(index, indent=1) + "\n")
        os.replace(temporary, folder / INDEX)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return folder / INDEX


def read_index(folder: Path) -> tuple[str, list[dict[str, Any]]]:
    """Read what `write_index` wrote: the embodiment, and a record of every clip, one at least.

    Raises:
        MotionError: there is none, or nothing in it.
    """
    path = folder / INDEX
    if not path.is_file():
        raise MotionError(
            f"motion set {folder} does not exist or has no {INDEX}: "
            f"give a folder written by the retarget package, or one motion file"
        )
    try:
        index = json.loads(path.read_text())
        clips = [{**clip, "name": str(clip["name"])} for clip in index["clips"]]
        files = [Path(clip["file"]) for clip in clips]
        embodiment = str(index["embodiment"])
    except (ValueError, KeyError, TypeError) as error:  # ValueError: no JSON, or no text at all
        raise MotionError(f"{path}: not the index of a motion set ({error})") from error
    if not files:
        raise MotionError(f"{path}: lists no clip: write the motion set again")
    return embodiment, clips


def load_motion_set(folder: str | Path, embodiment: Embodiment) -> list[Motion]:
    """Read every clip of a motion set, in index order.

    Args:
        folder: the motion set, or one motion file.
        embodiment: the body that every clip must fit.

    Raises:
        MotionError: no such set, or a clip that cannot be used.
    """
    folder = Path(folder)
    if folder.is_file() and folder.suffix == ".npz":
        return [Motion.load(folder, embodiment)]
    return [Motion.load(folder / clip["file"], embodiment) for clip in read_index(folder)[1]]
