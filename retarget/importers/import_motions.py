"""Finds the files to import, recognises their formats and converts every clip."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from retarget.importers.archives import is_archive, read_archive
from retarget.importers.convert import Wishes, convert
from retarget.importers.report import ClipReport
from retarget.importers.source import SourceClip, SourceError
from retarget.importers.storage import is_storage, read_storage
from retarget.motion import Motion
from sim.embodiment import CONTROL_HZ, Embodiment

if TYPE_CHECKING:  # which needs torch; importing does not
    from retarget.importers.feet import FootSolver

#: Bytes that are looked at to recognise a format; an OpenSim header is shorter.
_HEAD = 65536


@dataclass(frozen=True)
class Imported:
    """The clips of an import.

    Attributes:
        motions: one motion a clip, names unique.
        reports: one report a motion.
        skipped: why a file of the folder, or a clip, was left out, a line each.
    """

    motions: list[Motion]
    reports: list[ClipReport]
    skipped: list[str]


def read_clips(path: Path, name: str) -> list[SourceClip]:
    """Read a file, whatever its format; its content decides, not its suffix.

    Raises:
        SourceError: the file cannot be read, or its format is unknown.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror or error})") from error
    if is_archive(head):
        return read_archive(path, name)
    if is_storage(head):
        return read_storage(path, name)
    raise SourceError(
        f"{path}: unknown format: expected an OpenSim table (.sto, .mot), a MuscleMimic cache or "
        f"a LocoMuJoCo table (.npz)"
    )


def find_sources(motions: Path) -> list[tuple[Path, str]]:
    """Return the files to import and what their clips are to be called.

    Args:
        motions: a file, or a folder that is searched with all its subfolders.

    Raises:
        SourceError: there is no such file or folder, or the folder is empty.
    """
    if motions.is_file():
        return [(motions, _clean(motions.stem))]
    if not motions.is_dir():
        raise SourceError(f"motions={motions}: no such file or folder")
    files = [path for path in sorted(motions.rglob("*")) if path.is_file()]
    hidden = [any(part.startswith(".") for part in path.relative_to(motions).parts)
              for path in files]  # fmt: skip
    files = [path for path, skip in zip(files, hidden, strict=True) if not skip]
    if not files:
        raise SourceError(f"motions={motions}: the folder is empty: put .sto, .mot or .npz in it")
    relative = [path.relative_to(motions).with_suffix("") for path in files]
    return [(path, _clean("_".join(r.parts))) for path, r in zip(files, relative, strict=True)]


def import_motions(
    motions: Path,
    embodiment: Embodiment,
    fps: float = CONTROL_HZ,
    root: str | None = None,
    belt: float = 0.0,
    strides: int = 0,
    stand: FootSolver | None = None,
) -> Imported:
    """Import a file, or every file of a folder that can be imported.

    Args:
        motions: the file or folder.
        embodiment: the body.
        fps, root, belt, strides, stand: as `Wishes` has them.

    Raises:
        SourceError: the one file cannot be imported, or none of the folder's.
    """
    wishes = Wishes(fps, root, belt, strides, stand)
    sources = find_sources(motions)
    done = Imported([], [], [])
    taken: set[str] = set()
    for path, name in sources:
        try:
            clips = read_clips(path, name)
        except SourceError as error:
            if motions.is_file():
                raise
            done.skipped.append(str(error))
            continue
        for clip in clips:
            clip = replace(clip, name=_unique(clip.name, taken))
            try:
                motion, report = convert(clip, embodiment, wishes)
            except SourceError as error:
                if len(sources) == len(clips) == 1:
                    raise
                done.skipped.append(str(error))
                continue
            taken.add(clip.name)
            done.motions.append(motion)
            done.reports.append(report)
    if not done.motions:
        more = f" (and {len(done.skipped) - 1} more)" if len(done.skipped) > 1 else ""
        raise SourceError(f"motions={motions}: nothing to import: {done.skipped[0]}{more}")
    return done


def _clean(name: str) -> str:
    """Return `name` as a file name without blanks and special characters."""
    return re.sub(r"[^\w.-]+", "_", name).strip("._") or "clip"


def _unique(name: str, taken: set[str]) -> str:
    number, unique = 1, name
    while unique in taken:
        number += 1
        unique = f"{name}_{number}"
    return unique
