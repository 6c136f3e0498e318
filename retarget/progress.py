"""One line that says how far a run is and how long it will take."""

from __future__ import annotations

import time
from collections.abc import Callable

from retarget.report import ClipResult


class Progress:
    """One line that says how far a run is and how long it will take."""

    def __init__(self, total: int, write: Callable[[str], object], live: bool) -> None:
        """Begin.

        Args:
            total: clips to do.
            write: gets text.
            live: whether a line may be overwritten (a terminal).
        """
        self._total, self._write, self._live = total, write, live
        self._count = self._frames = 0
        self._start = time.perf_counter()
        self._width = 0

    def update(self, result: ClipResult) -> None:
        """Count a finished clip."""
        self._count += 1
        self._frames += result.frames
        spent = time.perf_counter() - self._start
        left = spent / self._count * (self._total - self._count)
        text = (
            f"{self._count}/{self._total} clips, {self._frames:,} frames, "
            f"{self._frames / max(spent, 1e-9):,.0f} frames/s, {_clock(left)} left: {result.name}"
        )
        if result.error is not None:
            text += " FAILED"
        elif result.rejected:
            text += " rejected"
        if self._live:
            self._write("\r" + text.ljust(self._width))
            self._width = len(text)
        else:
            self._write(text + "\n")

    def close(self) -> None:
        """End the line."""
        if self._live and self._count:
            self._write("\n")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
