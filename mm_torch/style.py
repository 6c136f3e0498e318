"""What a discriminator judges: how a body moves, whichever way it faces and wherever it is.

The same function describes a simulated body and a frame of a motion clip (Peng et al. 2021,
arXiv:2104.02180, section 5.3: root velocities, joint rotations and velocities, end effectors).
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from mm_torch.task import ImitationTask
from mm_torch.task_state import Kinematics
from sim.rotations import matrix_to_rotvec, rotate, two_columns

# Changes with the definition: a discriminator of another one is of no use.
_VERSION = 1


def style_observation(body: Kinematics) -> Tensor:
    """Return (..., size) the style of a moment.

    With a root: its height (m), its orientation in the heading frame (two columns, 6), its velocity
    there (linear m/s, angular rad/s). Then independent joint positions (rad) and velocities
    (rad/s), and the mimic sites relative to the main one in the heading frame (m).
    """
    to_heading = body.to_heading
    parts = []
    if body.layout.root_nq:
        velocity = body.root_velocity_world
        parts = [
            body.root_pos[..., 2:3],
            two_columns(to_heading @ body.root_rot),
            rotate(to_heading, velocity[..., :3]),
            rotate(to_heading, velocity[..., 3:]),
        ]
    sites = rotate(to_heading.unsqueeze(-3), body.relative_pos).flatten(-2)
    return torch.cat((*parts, body.joint_pos, body.joint_vel, sites), dim=-1)


class Judge(Protocol):
    """Gives an adversarial agent its samples: the worlds' and the real ones."""

    name: str
    dim: int

    def before(self) -> None:
        """Called before a control step."""
        ...

    def after(self) -> Tensor:
        """(nworld, dim) what is judged of the step, before any reset."""
        ...

    def expert(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, dim) real samples."""
        ...


class StylePairs:
    """AMP: the style before and after a control step; real ones are of consecutive frames."""

    def __init__(self, task: ImitationTask) -> None:
        """Args: ``task`` whose worlds are judged by its library's clips."""
        self._task, self._library = task, task.library
        lengths = self._library.lengths - 1
        self._ends = lengths.cumsum(0)
        size = style_observation(task.body).shape[-1]
        self.dim = 2 * size
        self.name = f"style {_VERSION}, {task.simulator.embodiment.name}, {size} entries, pairs"
        self._last: Tensor | None = None

    def before(self) -> None:
        """Take the style of the present moment."""
        self._last = style_observation(self._task.body)

    def after(self) -> Tensor:
        """(nworld, dim) the style before the step, then the one after it."""
        return torch.cat((self._last, style_observation(self._task.body)), dim=-1)

    def expert(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, dim) pairs of consecutive frames, all frames equally likely."""
        device = self._ends.device
        total = torch.rand(count, generator=generator, device=device) * self._ends[-1]
        return self._pairs(total.long().clamp_max(self._ends[-1] - 1))

    def every(self) -> Tensor:
        """All real samples (N, dim), clip by clip in the order of time."""
        return self._pairs(torch.arange(int(self._ends[-1]), device=self._ends.device))

    def _pairs(self, index: Tensor) -> Tensor:
        clip = torch.searchsorted(self._ends, index, right=True)
        frame = index - torch.where(clip > 0, self._ends[clip - 1], 0)
        pair = [style_observation(self._library.frames(clip, frame + i)) for i in (0, 1)]
        return torch.cat(pair, dim=-1)


class TrackingDifferences:
    """ADD: the body's style minus its reference's; the only real sample is zero.

    With a root also where it is relative to the reference's, and how it is turned.
    """

    def __init__(self, task: ImitationTask) -> None:
        """Args: ``task`` whose worlds follow their references."""
        self._task = task
        self.dim = self.after().shape[-1]
        self.name = f"style {_VERSION}, {task.simulator.embodiment.name}, {self.dim} differences"

    def before(self) -> None:
        """Nothing: one moment is judged."""

    def after(self) -> Tensor:
        """(nworld, dim) differences after the step."""
        body, reference = self._task.body, self._task.reference()
        difference = style_observation(body) - style_observation(reference)
        if not body.layout.root_nq:
            return difference
        place = rotate(body.to_heading, body.root_pos - reference.root_pos)
        turn = matrix_to_rotvec(reference.root_rot.transpose(-1, -2) @ body.root_rot)
        return torch.cat((difference, place, turn), dim=-1)

    def expert(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, dim) zeros: no difference."""
        return torch.zeros(count, self.dim, device=self._task.simulator.device)


def make_judge(kind: str, task: ImitationTask) -> Judge:
    """Return the judge of amp.kind "amp" or "add"."""
    return TrackingDifferences(task) if kind == "add" else StylePairs(task)
