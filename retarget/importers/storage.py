"""OpenSim storage files, read and written: .sto and .mot tables of joint coordinates and more.

A header of `key=value` lines ends with `endheader`; then come one row of labels, the first of
which is `time`, and the values. A label is a plain coordinate (`knee_angle_r`) or the path of a
state (`/jointset/walker_knee_r/knee_angle_r/value`). With `inDegrees=yes` angles are in degrees;
translations are in metres in any case. Format: OpenSim documentation, "Storage (.sto) Files".
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from retarget.importers.source import SourceClip, SourceError

#: Coordinates that are lengths (m), never converted from degrees.
TRANSLATIONS = ("pelvis_tx", "pelvis_ty", "pelvis_tz")
#: Endings of the labels of speeds and of muscles' states.
_OTHER_STATES = ("_u", "/speed", "/activation", "/fiber_length", "/normalized_tendon_force")
_FORMAT = "OpenSim storage"


def is_storage(head: bytes) -> bool:
    """Return whether the first bytes of a file are those of a storage file."""
    return b"\0" not in head and b"endheader" in head.lower()


def read_storage(path: Path, name: str) -> list[SourceClip]:
    """Read the one clip of a storage file.

    Raises:
        SourceError: the header, the labels or the table are not as they must be.
    """
    header, labels, table = read_table(path)
    degrees = header.get("indegrees", "").lower()
    if degrees not in ("yes", "no"):
        raise SourceError(
            f"{path}: the header does not say whether angles are in degrees: "
            f"add a line inDegrees=yes or inDegrees=no"
        )
    columns: dict[str, np.ndarray] = {}
    for label, values in zip(labels[1:], table.T[1:], strict=True):
        coordinate = _coordinate(label)
        if coordinate is None:
            continue
        if coordinate in columns:
            raise SourceError(f"{path}: two columns are called {coordinate!r}: remove one")
        angle = coordinate not in TRANSLATIONS
        columns[coordinate] = np.radians(values) if angle and degrees == "yes" else values
    ignored = len(labels) - 1 - len(columns)
    clip = SourceClip(name, path, _FORMAT, table[:, 0], columns, opensim=True, ignored=ignored)
    return [clip]


def read_columns(path: Path) -> SourceClip:
    """Read a storage file of anything: columns by their labels, in the file's own units.

    Raises:
        SourceError: the header, the labels or the table are not as they must be.
    """
    _, labels, table = read_table(path)
    columns = dict(zip(labels[1:], table.T[1:], strict=True))
    return SourceClip(path.stem, path, _FORMAT, table[:, 0], columns)


def read_table(path: Path) -> tuple[dict[str, str], list[str], np.ndarray]:
    """Read a storage file as it stands.

    Returns:
        The header (keys in lower case), the labels, of which "time" is the first, and the values
        (T, columns) in the file's units.

    Raises:
        SourceError: the header, the labels or the table are not as they must be.
    """
    text = path.read_text(encoding="utf-8", errors="replace").lstrip("\ufeff")
    lines = [line.strip() for line in text.splitlines()]
    ends = [index for index, line in enumerate(lines) if line.lower() == "endheader"]
    if not ends:
        raise SourceError(f"{path}: no line 'endheader': not an OpenSim storage file")
    header = _header(lines[: ends[0]])
    rows = [line for line in lines[ends[0] + 1 :] if line]
    if not rows:
        raise SourceError(f"{path}: nothing follows 'endheader': expected labels and a table")
    separator = "\t" if "\t" in rows[0] else None
    labels = [label.strip() for label in rows[0].split(separator)]
    if labels[0].lower() != "time":
        raise SourceError(f"{path}: no column 'time': the first label is {labels[0]!r}")
    table = _table(path, rows[1:], labels)
    announced = header.get("nrows", "")
    if announced.isdigit() and int(announced) > len(table):
        raise SourceError(
            f"{path}: the header announces {announced} rows, {len(table)} follow: the file is "
            f"truncated, copy or export it again"
        )
    return header, labels, table


def write_table(
    path: Path, time: np.ndarray, columns: Mapping[str, np.ndarray], degrees: bool = False
) -> None:
    """Write a storage file.

    Args:
        path: the file; its name without the ending is the title within.
        time: (T,) s.
        columns: (T,) values by label, as they are to be written.
        degrees: whether angles among them are in degrees.
    """
    header = [path.stem, "version=1", f"nRows={len(time)}", f"nColumns={len(columns) + 1}"]
    header += [f"inDegrees={'yes' if degrees else 'no'}", "endheader"]
    rows = zip(time, *columns.values(), strict=True)
    lines = [*header, "\t".join(["time", *columns])]
    lines += ["\t".join(f"{value:.10g}" for value in row) for row in rows]
    path.write_text("\n".join(lines) + "\n")


def _header(lines: list[str]) -> dict[str, str]:
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {key.strip().lower(): value.strip() for key, _, value in pairs}


def _table(path: Path, rows: list[str], labels: list[str]) -> np.ndarray:
    """Return the (T, columns) values."""
    table = np.empty((len(rows), len(labels)))
    for index, row in enumerate(rows):
        values = row.split()
        if len(values) != len(labels):
            raise SourceError(
                f"{path}: row {index + 1} has {len(values)} values, the labels are "
                f"{len(labels)}: the file is damaged, copy or export it again"
            )
        try:
            table[index] = [float(value) for value in values]
        except ValueError as error:
            raise SourceError(f"{path}: row {index + 1} holds no number ({error})") from error
    return table


def _coordinate(label: str) -> str | None:
    """Return the coordinate whose position a label means, or None for any other state."""
    if label.startswith("/") and label.endswith("/value"):
        return label.split("/")[-2]
    # OpenSim 3 wrote the states of a muscle as soleus_r.activation.
    if label.startswith("/") or "." in label or label.endswith(_OTHER_STATES):
        return None
    return label
