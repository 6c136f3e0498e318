"""A clip as its file gives it: named columns over time, before anything is known of the body."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cfg.errors import UserError


class SourceError(UserError):
    """A file that cannot be imported, and why."""


@dataclass(frozen=True)
class SourceClip:
    """One clip of a file.

    Attributes:
        name: what the clip is to be called.
        path: the file.
        format: the format in words.
        time: (T,) strictly increasing times (s), in general not evenly spaced.
        columns: (T,) values (rad or m) by name, in the file's order.
        root: (T, 7) position and quaternion (w first) of a free root, or None.
        opensim: whether the names and signs are OpenSim's; otherwise they are the body's own.
        ignored: number of columns that are no joint positions (speeds, muscle states).
        notes: what the reader had to decide, a sentence each.
    """

    name: str
    path: Path
    format: str
    time: np.ndarray
    columns: dict[str, np.ndarray]
    root: np.ndarray | None = None
    opensim: bool = False
    ignored: int = 0
    notes: tuple[str, ...] = field(default_factory=tuple)

    def check(self, used: Sequence[str]) -> None:
        """Check the times and the columns that are to be used.

        Raises:
            SourceError: fewer than two rows, times that do not increase, or values not finite.
        """
        if len(self.time) < 2:
            raise SourceError(
                f"{self.path}: {self.name} has {len(self.time)} row(s), expected at least 2: "
                f"a single posture is no motion"
            )
        if not np.isfinite(self.time).all():
            row = int(np.argmax(~np.isfinite(self.time)))
            raise SourceError(f"{self.path}: the time of row {row + 1} is not a finite number")
        step = np.diff(self.time)
        if not (step > 0).all():
            row = int(np.argmax(step <= 0)) + 1
            raise SourceError(
                f"{self.path}: time does not increase at row {row + 1} "
                f"({self.time[row - 1]:g} s, then {self.time[row]:g} s): sort the rows, remove "
                f"repeated ones"
            )
        values = {name: self.columns[name] for name in used}
        if self.root is not None:
            values["root"] = self.root.sum(axis=1)
            if (np.abs(self.root[:, 3:]).max(axis=1) == 0.0).any():
                raise SourceError(f"{self.path}: the root of {self.name} has a zero quaternion")
        for name, column in values.items():
            bad = ~np.isfinite(column)
            if bad.any():
                raise SourceError(
                    f"{self.path}: {name} of {self.name} is not a finite number in {bad.sum()} of "
                    f"{len(bad)} rows, the first is row {int(np.argmax(bad)) + 1}: fill the gaps "
                    f"or cut them out"
                )
