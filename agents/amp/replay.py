"""A ring of samples that is filled and drawn from without the host."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# Larger magnitudes overflow when squared in float32; the running statistics leave them out too.
_LARGEST = 1e18


def usable(rows: Tensor) -> Tensor:
    """(B,) bool: which of (B, D) rows are finite (and small enough to be squared)."""
    return (rows.abs() < _LARGEST).all(dim=-1)  # NaN compares false


def fill_unusable(rows: Tensor) -> Tensor:
    """(B, D) rows with each unusable one replaced by a usable one; unchanged if there is none."""
    good = usable(rows)
    order = good.logical_not().to(torch.uint8).argsort(stable=True)  # usable ones come first
    spare = torch.arange(len(rows), device=rows.device) % good.sum().clamp(min=1)
    return torch.where(good.unsqueeze(1), rows, rows[order[spare]])


class SampleRing:
    """The last ``capacity`` usable rows that were added, on one device.

    How many rows of a batch are usable is known to the device only, so the count lives there and
    nothing waits for it. Places not filled yet hold NaN, and so do samples drawn from an empty
    ring: the gradient step that they would enter is skipped like any other that is not finite.
    """

    def __init__(self, capacity: int, dim: int, device: torch.device | str = "cpu") -> None:
        """Args: ``capacity`` rows of ``dim`` numbers."""
        if min(capacity, dim) < 1:
            raise ValueError(f"a ring needs capacity and dim of at least 1, got {capacity}, {dim}")
        self.capacity = capacity
        # One row more than the capacity: rows that are not usable are written there.
        self._rows = torch.full((capacity + 1, dim), torch.nan, device=device)
        self.added = torch.zeros((), dtype=torch.int64, device=device)
        """() int64: usable rows added since the last ``clear``."""

    @property
    def rows(self) -> Tensor:
        """(capacity, D) view of all places, NaN where nothing has been added."""
        return self._rows[: self.capacity]

    def clear(self) -> None:
        """Forget everything."""
        self._rows.fill_(torch.nan)
        self.added.zero_()

    @torch.no_grad()
    def add(self, rows: Tensor) -> None:
        """Append those of (B, D) rows that are usable, over the oldest ones once the ring is full.

        Raises:
            ValueError: for more rows than the ring holds, or of another size.
        """
        if len(rows) > self.capacity or rows.shape[1:] != self._rows.shape[1:]:
            raise ValueError(
                f"a ring of {self.capacity} rows of {self._rows.shape[1]} cannot take "
                f"{tuple(rows.shape)}"
            )
        good = usable(rows)
        places = (self.added + good.cumsum(0) - 1) % self.capacity
        self._rows[torch.where(good, places, self.capacity)] = rows.to(self._rows.dtype)
        self.added += good.sum()

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, D) rows, uniformly and with replacement; NaN from an empty ring."""
        filled = self.added.clamp(max=self.capacity)
        # float64, whose product with the count cannot round up to the count.
        uniform = torch.rand(
            count, generator=generator, device=self._rows.device, dtype=torch.float64
        )
        return self._rows[(uniform * filled).long()]

    def state_dict(self) -> dict[str, Any]:
        """A copy of the rows that are filled, and of the count."""
        filled = min(int(self.added), self.capacity)
        return {"rows": self._rows[:filled].clone(), "added": self.added.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a copy.

        Raises:
            ValueError: it is of a ring of another capacity or row size.
        """
        rows, added = state["rows"], int(state["added"])
        fits = len(rows) == min(added, self.capacity)
        if not fits or rows.shape[1:] != self._rows.shape[1:]:
            raise ValueError(
                f"the memory's {tuple(rows.shape)} samples, of {added} added, do not fit a ring of "
                f"{self.capacity} rows of {self._rows.shape[1]}"
            )
        self.clear()
        self._rows[: len(rows)].copy_(rows)
        self.added.fill_(added)
