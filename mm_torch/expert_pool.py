"""Computed muscle control of many bodies: one after another, or shared among processes.

It is numpy and many small calls, so threads would wait for each other: processes do not. Each has
its own copy of the body and the motions; states go there, activations come back.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler

import mujoco
import numpy as np
import torch

from cfg.errors import UserError
from sim.computed_muscle_control import ComputedMuscleControl
from sim.gait_targets import GaitTargets

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class States:
    """Bodies on their way, n of them.

    Attributes:
        clip, frame: (n,) the frames of the motions that the control step leads to.
        qpos, qvel, act: (n, nq), (n, nv), (n, nu) float64.
        lowest, highest: (n, nu) activations that the step can end with.
    """

    clip: np.ndarray
    frame: np.ndarray
    qpos: np.ndarray
    qvel: np.ndarray
    act: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray

    def split(self, parts: int) -> list[States]:
        """Cut into so many runs of bodies, or one a body if they are fewer."""
        parts = max(1, min(parts, len(self.clip)))
        columns = [np.array_split(values, parts) for values in vars(self).values()]
        return [States(*part) for part in zip(*columns, strict=True)]


class Follower:
    """Computed muscle control along some motions, one body after another."""

    def __init__(self, control: ComputedMuscleControl, targets: list[GaitTargets]) -> None:
        self._control, self._targets = control, targets
        self._data = mujoco.MjData(control.model)

    def activations(self, states: States) -> np.ndarray:
        """Return the activations (n, nu) that the control steps should end with."""
        data, reached = self._data, np.empty_like(states.act)
        for row, (clip, frame) in enumerate(zip(states.clip, states.frame, strict=True)):
            data.qpos[:], data.qvel[:] = states.qpos[row], states.qvel[row]
            data.act[:] = states.act[row]
            target = self._targets[clip].at(int(frame), data.qpos, data.qvel)
            reached[row] = self._control.activations(
                data, target, states.lowest[row], states.highest[row]
            )
        return reached


class FollowerPool:
    """The same, each of some processes with a share of the bodies."""

    def __init__(self, follower: Follower, processes: int) -> None:
        """Prepare; the processes start with the first states."""
        self._processes = processes
        self._pool = ProcessPoolExecutor(
            processes, multiprocessing.get_context("spawn"), _start, (follower,)
        )

    def activations(self, states: States) -> np.ndarray:
        """Return the activations (n, nu) that the control steps should end with.

        Raises:
            UserError: a process died.
        """
        try:
            with _single_threaded_children():
                parts = [self._pool.submit(_work, part) for part in states.split(self._processes)]
            return np.concatenate([part.result() for part in parts])
        except BrokenProcessPool as error:
            raise UserError(
                f"pretraining.processes={self._processes}: one that computes muscle control died, "
                f"probably out of memory: give fewer"
            ) from error

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _workspace(data: mujoco.MjData) -> tuple[type, tuple[mujoco.MjModel]]:
    return mujoco.MjData, (data.model,)


# On the way to a process an MjData would take its own copy of the model along, 60 MB a piece. All
# that travel here are written to before they are read: a new one, of the one model, does as well.
ForkingPickler.register(mujoco.MjData, _workspace)

_follower: Follower | None = None


def _start(follower: Follower) -> None:
    global _follower
    _follower = follower
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends them
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(states: States) -> np.ndarray:
    assert _follower is not None
    return _follower.activations(states)


@contextmanager
def _single_threaded_children() -> Iterator[None]:
    """Processes started meanwhile get one thread each for linear algebra, read when it loads."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
