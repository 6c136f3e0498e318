"""How many CPU cores there are to use."""

from __future__ import annotations

import os


def available_cores() -> int:
    """Return the cores that this process may run on: fewer than the machine's in a container.

    Where the system does not tell (macOS, Windows), those of the machine.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
