"""What a task other than imitation has to say; :mod:`mm_torch.goal_task` does the rest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cfg.schema import TaskConfig
from mm_torch.motion_library import MotionLibrary
from mm_torch.task_state import Body
from sim.embodiment import Embodiment


@dataclass(frozen=True)
class Marker:
    """A sphere in the video: centre (3,) in m, radius in m, colour (4,)."""

    position: tuple[float, float, float]
    radius: float
    rgba: tuple[float, float, float, float] = (0.1, 0.7, 0.3, 0.6)


class Goal(ABC):
    """A command to every world, how well it is followed, and when it has been carried out.

    A subclass keeps its commands in `command`, (nworld, command_dim) or a wider tensor, which is
    saved and restored with the environment.

    Attributes:
        embodiments: names of the bodies that can do it.
        sites: mimic sites that it needs.
        tolerance: success is to be closer than this, in the goal's own unit.
        command: what each world is told, as the goal keeps it.
    """

    embodiments: ClassVar[tuple[str, ...]] = ("fullbody", "bimanual")
    sites: ClassVar[tuple[str, ...]] = ()
    tolerance: ClassVar[float]

    def __init__(
        self, config: TaskConfig, embodiment: Embodiment, library: MotionLibrary, worlds: int
    ) -> None:
        """Prepare for a number of worlds.

        Args:
            config: the settings `task.*`.
            embodiment: the body; it has the sites asked for.
            library: the motions.
            worlds: nworld.
        """
        self.config, self.library, self.worlds = config, library, worlds
        self.device = library.lengths.device
        self.site = {name: embodiment.mimic_sites.index(name) for name in self.sites}

    command: Tensor

    @abstractmethod
    def draw(self, body: Body, generator: torch.Generator) -> Tensor:
        """Return new commands, of the shape of `command`, for bodies as they stand."""

    @abstractmethod
    def observe(self, body: Body) -> Tensor:
        """Return the command as the body sees it, (nworld, size), in its heading frame."""

    @abstractmethod
    def reward(self, body: Body) -> Tensor:
        """Return the reward of a step, (nworld,), 0 to 1."""

    @abstractmethod
    def distance(self, body: Body) -> Tensor:
        """Return how far each world is from what it is told, (nworld,), as `tolerance` counts."""

    def advance(self, dt: float) -> None:
        """Let dt seconds pass for a command that moves by itself; most do not."""
        return

    def lost(self, body: Body) -> Tensor:
        """Return which worlds (nworld,) training gives up on, in evaluation they may go on."""
        return torch.zeros(self.worlds, dtype=torch.bool, device=self.device)

    def fallen(self, body: Body) -> Tensor:
        """Return which worlds (nworld,) have to be given up: a body with a root that has sunk."""
        if not body.layout.root_nq:
            return torch.zeros(self.worlds, dtype=torch.bool, device=self.device)
        return body.root_pos[:, 2] < self.config.fall_height

    @abstractmethod
    def markers(self, body: Body, world: int) -> list[Marker]:
        """Return what a video shows of a world's command."""


def uniform(low: float, high: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw uniformly on the generator's device."""
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)
