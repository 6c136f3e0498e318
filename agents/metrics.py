"""Averages of device tensors that reach the host once."""

from __future__ import annotations

import torch
from torch import Tensor


class Metrics:
    """Weighted means by name, accumulated as () tensors until ``to_floats`` fetches them all.

    Reading a CUDA tensor makes the host wait for the device, so statistics of single steps and
    minibatches are added here and read once per iteration.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self._sums: dict[str, tuple[Tensor, Tensor]] = {}
        self._rows: dict[tuple[str, ...], tuple[Tensor, Tensor]] = {}

    @torch.no_grad()
    def add(self, name: str, value: Tensor | float, weight: Tensor | float = 1.0) -> None:
        """Count a value (the mean, if it is not a scalar); one of weight 0 may even be NaN."""
        value, weight = self._scalar(value), self._scalar(weight)
        term = (value * weight).masked_fill(weight == 0, 0.0)
        total, weights = self._sums.get(name, (0.0, 0.0))
        self._sums[name] = (total + term, weights + weight)

    @torch.no_grad()
    def add_row(self, names: tuple[str, ...], values: Tensor) -> None:
        """Count (k,) values of k names at once; those that are not finite have weight 0."""
        finite = values.isfinite()
        values = values.to(torch.float64).masked_fill(~finite, 0.0)
        total, weights = self._rows.get(names, (0.0, 0.0))
        self._rows[names] = (total + values, weights + finite.to(torch.float64))

    def to_floats(self) -> dict[str, float]:
        """The weighted means, in the order of first addition; names without weight are left out."""
        names = [*self._sums, *(name for row in self._rows for name in row)]
        if not names:
            return {}
        pairs = [torch.stack(pair).unsqueeze(0) for pair in self._sums.values()]
        rows = [torch.stack(pair, dim=1) for pair in self._rows.values()]
        pairs = zip(names, torch.cat([*pairs, *rows]).tolist(), strict=True)
        return {name: total / weight for name, (total, weight) in pairs if weight}

    def _scalar(self, value: Tensor | float) -> Tensor:
        if isinstance(value, Tensor):
            return value.to(torch.float64).mean()
        # A fill, because copying a number from the host to the device would wait for the device.
        return torch.full((), value, dtype=torch.float64, device=self.device)
