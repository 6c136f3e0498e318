"""A memory of real steps, from which windows of consecutive ones are drawn."""

from __future__ import annotations

import torch
from torch import Tensor

from agents.world_model.interface import Goal, ModelState


class Replay:
    """The last control steps of N worlds, as a ring of rows; a row holds one step of all worlds.

    Rows are consecutive in time, so that a row's successor holds the states that its steps led to,
    unless an episode ended there. Everything lives on the device, at addresses that stay; nothing
    waits for it.
    """

    def __init__(self, capacity: int, worlds: int) -> None:
        """Args: ``capacity`` in steps of single worlds (rounded down to rows of ``worlds``)."""
        self.rows, self.worlds = max(2, capacity // worlds), worlds
        self.added = 0
        # Place of the oldest row in the ring; on the device, so that a graph may read from it.
        self._oldest: Tensor | None = None
        self._columns: dict[str, Tensor] = {}

    @property
    def filled(self) -> int:
        """Rows that hold data."""
        return min(self.added, self.rows)

    def add(self, state: ModelState, goal: Goal, excitation: Tensor, last: Tensor, reward: Tensor,
            terminated: Tensor, done: Tensor) -> None:  # fmt: skip
        """Append a row.

        Args:
            state: of the worlds before the step, (N, dim) each.
            goal: before the step.
            excitation: (N, nu) of the step.
            last: (N, nu) of the step before.
            reward: (N,) of the step.
            terminated: (N,) bool, worlds whose episode ended early with this step.
            done: (N,) bool, worlds whose episode ended with this step.
        """
        row = {
            "position": state.position, "velocity": state.velocity, "act": state.act,
            "excitation": excitation, "last": last, "reward": reward,
            "terminated": terminated, "done": done,
        }  # fmt: skip
        row |= {f"goal.{i}": part for i, part in enumerate(goal.parts)}
        for name, value in row.items():
            if name not in self._columns:
                self._columns[name] = value.new_zeros(self.rows, *value.shape)
            self._columns[name][self.added % self.rows].copy_(value)
        self.added += 1
        self._mark_oldest()

    def draw(
        self, count: int, steps: int, generator: torch.Generator, recent: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw ``count`` starts of windows of ``steps`` transitions: rows and worlds, (count,).

        Rows are numbered from the oldest; with ``recent``, only the last so many rows are drawn.
        """
        device = self._columns["done"].device
        most = self.filled - steps
        if most < 1:
            raise ValueError(f"the replay holds {self.filled} rows, a window needs {steps + 1}")
        lowest = 0 if recent is None else max(0, most - recent)
        rows = torch.randint(lowest, most, (count,), generator=generator, device=device)
        worlds = torch.randint(self.worlds, (count,), generator=generator, device=device)
        return rows, worlds

    def states(self, rows: Tensor, worlds: Tensor) -> ModelState:
        """Return states of (row, world) pairs of any shape."""
        return ModelState(*(self._take(k, rows, worlds) for k in ("position", "velocity", "act")))

    def goals(self, rows: Tensor, worlds: Tensor) -> Goal:
        """Return goals of (row, world) pairs."""
        count = sum(name.startswith("goal.") for name in self._columns)
        return Goal(tuple(self._take(f"goal.{i}", rows, worlds) for i in range(count)))

    def take(self, name: str, rows: Tensor, worlds: Tensor) -> Tensor:
        """Return "excitation", "last" (excitation), "reward", "terminated" or "done" of pairs."""
        return self._take(name, rows, worlds)

    def window(self, rows: Tensor, worlds: Tensor, steps: int) -> tuple[ModelState, Tensor, Tensor]:
        """Return windows of consecutive steps, time first.

        Returns:
            States (steps + 1, B, dim), excitations (steps, B, nu), and weights (steps, B): 1 for
            a transition that belongs to the episode of the first one, 0 after its end.
        """
        times = rows + torch.arange(steps + 1, device=rows.device).unsqueeze(1)
        across = worlds.expand_as(times)
        states = self.states(times, across)
        excitation = self._take("excitation", times[:-1], across[:-1])
        going_on = (~self._take("done", times[:-1], across[:-1])).float()
        return states, excitation, going_on.cumprod(0)

    def state_dict(self) -> dict[str, object]:
        """A copy of everything held."""
        return {"added": self.added, "columns": {k: v.clone() for k, v in self._columns.items()}}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Restore a copy.

        Raises:
            ValueError: it is of another capacity or number of worlds.
        """
        columns = state["columns"]
        for name, column in columns.items():
            if tuple(column.shape[:2]) != (self.rows, self.worlds):
                raise ValueError(
                    f"the memory's {name} is of {tuple(column.shape[:2])} rows and worlds, "
                    f"expected {(self.rows, self.worlds)}"
                )
        self.added = state["added"]
        self._columns = {name: column.clone() for name, column in columns.items()}
        if self._columns:
            self._mark_oldest()

    def _mark_oldest(self) -> None:
        if self._oldest is None:
            device = self._columns["done"].device
            self._oldest = torch.zeros((), dtype=torch.long, device=device)
        self._oldest.fill_((self.added - self.filled) % self.rows)

    def _take(self, name: str, rows: Tensor, worlds: Tensor) -> Tensor:
        return self._columns[name][(rows + self._oldest) % self.rows, worlds]
