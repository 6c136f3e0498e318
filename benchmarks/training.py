"""Training as a user would: by the command, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from cfg import UserError


def settings_of(text: str) -> list[str]:
    """Return the settings of "key=value;key=value"."""
    return [part for part in text.split(";") if part]


def run_training(arguments: Sequence[str]) -> None:
    """Run `python -m mm_torch.train` with these arguments, shown first.

    Raises:
        UserError: it failed or was interrupted, and has said so itself.
    """
    command = [sys.executable, "-m", "mm_torch.train", *arguments]
    print(" ".join(command[1:]), flush=True)
    status = subprocess.run(command).returncode
    if status:
        raise UserError(f"the training above ended with exit status {status}: see what it said")
