"""Faulty worlds in training: counted by kind, and the last states before the first of each kept."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mm_torch.task import ImitationTask
from sim.faults import KINDS

#: Control steps before a fault that are kept.
HISTORY = 4
_FIELDS = ("qpos", "qvel", "act", "ctrl")
_PLACE = ("clip", "frame", "steps")
_PREFIX = "info/fault_"


class FaultRecorder:
    """Remembers the last few states of all worlds, and keeps those of the first faulty ones.

    A world's memory is `HISTORY` x (nq + nv + 2 nu) floats: 15.5 kB of a full body, 2.9 kB of the
    arms. Everything stays on the device until `dump`, which is called once an iteration.
    """

    def __init__(self, task: ImitationTask) -> None:
        """Args: ``task`` whose worlds are watched."""
        self._task = task
        sim = task.simulator
        self._ring = {
            name: getattr(sim, name).new_zeros(HISTORY, *getattr(sim, name).shape)
            for name in _FIELDS
        }
        self._ring |= {name: getattr(task, name).new_zeros(HISTORY, sim.nworld) for name in _PLACE}
        self._steps = 0
        self._kept: dict[str, dict[str, Tensor]] = {}
        self._caught = torch.zeros(len(KINDS), dtype=torch.bool, device=sim.device)
        self._overflows: Counter[str] = Counter()
        for kind in KINDS[1:]:
            kept = {name: torch.zeros_like(ring[:, 0]) for name, ring in self._ring.items()}
            kept["world"] = torch.zeros((), dtype=torch.long, device=sim.device)
            kept["taken"] = torch.zeros((), dtype=torch.long, device=sim.device)
            self._kept[kind] = kept

    def remember(self) -> None:
        """Keep the present states; call it before every step."""
        row = self._steps % HISTORY
        for name in _FIELDS:
            self._ring[name][row].copy_(getattr(self._task.simulator, name))
        for name in _PLACE:
            self._ring[name][row].copy_(getattr(self._task, name))
        self._steps += 1

    def notice(self) -> dict[str, Tensor]:
        """Look at what the step led to; return (nworld,) bool of each kind, for the log."""
        fault = self._task.simulator.fault
        marks = {kind: fault == code for code, kind in enumerate(KINDS) if code}
        # On CUDA nobody looks whether there was any: that would wait for the device.
        if fault.is_cuda or bool(fault.any()):
            for code, (kind, mark) in enumerate(marks.items(), start=1):
                self._catch(code, self._kept[kind], mark)
        return {f"fault_{kind}": mark for kind, mark in marks.items()}

    def _catch(self, code: int, kept: dict[str, Tensor], mark: Tensor) -> None:
        new = mark.any() & ~self._caught[code]
        world = mark.to(torch.uint8).argmax()
        values = {"world": world, "taken": torch.full_like(world, min(self._steps, HISTORY))}
        oldest = -(self._steps % HISTORY)
        for name, ring in self._ring.items():
            values[name] = ring.index_select(1, world.unsqueeze(0)).squeeze(1).roll(oldest, 0)
        for name, value in values.items():
            kept[name] = torch.where(new, value, kept[name])
        self._caught[code] |= mark.any()

    def counts(self, means: dict[str, float], samples: int) -> dict[str, float]:
        """Turn the logged means of an iteration into counts; take them out of `means`.

        Args:
            means: of an iteration, by name.
            samples: worlds x steps that they are means over.

        Returns:
            faults/KIND, worlds x steps of each kind; overflow/KIND since the last call, where the
            simulator counts buffer overflows.
        """
        found = {name.removeprefix(_PREFIX): name for name in means if name.startswith(_PREFIX)}
        counts = {f"faults/{k}": float(round(means.pop(v) * samples)) for k, v in found.items()}
        totals = getattr(self._task.simulator, "overflow_counts", {})
        for kind, total in totals.items():
            now = int(total)
            counts[f"overflow/{kind}"] = float(now - self._overflows[kind])
            self._overflows[kind] = now
        return counts

    def dump(self, folder: Path) -> list[str]:
        """Write what was caught since the last call; return a line about each file.

        One file a kind and run: KIND.npz with qpos, qvel, act, ctrl, clip, frame and steps (since
        the episode's start) of one faulty world before each of its last steps, oldest first, and
        with the clips' names. A row whose `steps` are higher than the last row's belongs to the
        episode before.
        """
        lines = []
        for kind, caught in zip(KINDS[1:], self._caught[1:].tolist(), strict=True):
            path = folder / f"{kind}.npz"
            if not caught or path.exists():
                continue
            kept = {name: value.cpu().numpy() for name, value in self._kept[kind].items()}
            first = HISTORY - int(kept.pop("taken"))
            rows = {name: v[first:] if v.ndim else v for name, v in kept.items()}
            folder.mkdir(parents=True, exist_ok=True)
            np.savez(path, **rows, clips=np.array(self._task.library.names))
            lines.append(
                f"a world was faulty ({kind}) and was reset: its last {len(rows['qpos'])} states "
                f"are in {path}"
            )
        return lines
