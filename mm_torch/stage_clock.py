"""Wall-clock time of work on a device: of an action repeated, and of the stages nested in it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch


class StageClock:
    """Adds up the time of nested stages, that of an inner one taken from the outer.

    Attributes:
        seconds: of each stage so far.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds: Counter[str] = Counter()
        self._device = device
        self._open: list[str] = []
        self._last = 0.0

    @contextmanager
    def around(self, places: Iterable[tuple[object, str, str]]) -> Iterator[None]:
        """Time the functions (owner, attribute, stage) while the block runs."""
        saved = []
        try:
            for owner, name, stage in places:
                own = name in vars(owner)
                saved.append((owner, name, getattr(owner, name), own))
                setattr(owner, name, self._timed(getattr(owner, name), stage))
            yield
        finally:
            for owner, name, function, own in reversed(saved):
                setattr(owner, name, function) if own else delattr(owner, name)

    def _timed(self, function: Callable[..., object], stage: str) -> Callable[..., object]:
        def wrapper(*args: object, **kwargs: object) -> object:
            # A reset runs stages of the simulation: they are part of the reset.
            if self._open and self._open[-1] == "reset":
                return function(*args, **kwargs)
            self._turn()
            self._open.append(stage)
            try:
                return function(*args, **kwargs)
            finally:
                self._turn()
                self._open.pop()

        return wrapper

    def _turn(self) -> None:
        """Book the time since the last turn on the stage that is open."""
        wait(self._device)
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._last
        self._last = now


def rate(action: Callable[[], int], seconds: float, device: torch.device) -> float:
    """Return control steps a second of an action that says how many it made."""
    action()
    count, elapsed = repeat(action, seconds, device)
    return count / elapsed


def repeat(action: Callable[[], int], seconds: float, device: torch.device) -> tuple[int, float]:
    """Repeat an action for at least `seconds`; return how many steps it made, and the time."""
    wait(device)
    start, count = time.perf_counter(), 0
    while True:
        count += action()
        wait(device)
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return count, elapsed


def wait(device: torch.device) -> None:
    """Wait until the device has done what was asked of it; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
