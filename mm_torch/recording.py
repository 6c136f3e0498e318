"""Plays bodies from given starts and keeps the states that they come to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf

import numpy as np
import torch
from torch import Tensor

from mm_torch.task import ImitationTask
from sim.laboratory import Laboratory


@dataclass(frozen=True)
class Recording:
    """One body's way along a clip: the state after every control step, T of them.

    Positions are in the frame of the motion, from wherever the body started.

    Attributes:
        clip: index of the clip.
        time: (T,) of the clip's frames that the steps lead to (s).
        reference: (T, nq) postures of the motion.
        qpos, qvel, act, ctrl: (T, nq), (T, nv), (T, nu), (T, nu).
        terminated: whether it ended because the body left its reference.
    """

    clip: int
    time: np.ndarray
    reference: np.ndarray
    qpos: np.ndarray
    qvel: np.ndarray
    act: np.ndarray
    ctrl: np.ndarray
    terminated: bool

    def __len__(self) -> int:
        """Control steps."""
        return len(self.time)

    def replay(self, laboratory: Laboratory) -> Iterator[int]:
        """Put a laboratory's body into one state after the other; yield their indices."""
        for step, state in enumerate(zip(self.qpos, self.qvel, self.act, self.ctrl, strict=True)):
            laboratory.place(*state)
            yield step


@torch.no_grad()
def play(
    task: ImitationTask,
    policy: Callable[[Tensor], Tensor],
    clip: Tensor,
    frame: Tensor,
    seconds: float = inf,
    to_end: bool = False,
) -> list[Recording]:
    """Play from the reference's own states until a termination or the clip's end.

    Args:
        task: its number of worlds is the number of starts.
        policy: observation (nworld, obs_dim) to raw action (nworld, nu).
        clip, frame: (nworld,) where each world starts.
        seconds: to stop after, at the latest.
        to_end: whether to play on after a termination, unless the simulation became invalid.

    Returns:
        A recording of every world, without the step that ended it by a termination.
    """
    sim = task.simulator
    everywhere = torch.ones(sim.nworld, dtype=torch.bool, device=sim.device)
    task.place(everywhere, clip.to(sim.device), frame.to(sim.device))
    start, alive, left = task.frame.clone(), everywhere.clone(), ~everywhere
    rows: list[list[list[np.ndarray]]] = [[] for _ in range(sim.nworld)]
    steps = 0
    while bool(alive.any()) and steps * sim.control_dt < seconds:
        outcome = task.step(policy(task.observe()))
        steps += 1
        left |= alive & outcome.terminated
        alive &= ~(outcome.invalid if to_end else outcome.terminated)
        qpos = sim.qpos.double().clone()
        if sim.embodiment.has_root:
            qpos[:, :2] += task.origin
        motion = task.library.frames(task.clip, task.frame).qpos
        parts = [part.cpu().numpy() for part in (motion, qpos, sim.qvel, sim.act, sim.ctrl)]
        for world in alive.nonzero().flatten().tolist():
            rows[world].append([part[world].copy() for part in parts])
        alive &= ~outcome.truncated & (task.frame < task.library.lengths[task.clip] - 1)
    return [
        _recording(task, world, int(start[world]), kept, bool(left[world]))
        for world, kept in enumerate(rows)
    ]


def _recording(
    task: ImitationTask, world: int, start: int, rows: list[list[np.ndarray]], left: bool
) -> Recording:
    model = task.simulator.embodiment.model
    sizes = (model.nq, model.nq, model.nv, model.na, model.nu)
    columns = zip(*rows, strict=True) if rows else [()] * len(sizes)
    arrays = [
        np.array(column, dtype=np.float64).reshape(len(rows), size)
        for column, size in zip(columns, sizes, strict=True)
    ]
    time = (start + 1 + np.arange(len(rows))) * task.simulator.control_dt
    return Recording(int(task.clip[world]), time, *arrays, left)
