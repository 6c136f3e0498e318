"""What MuJoCo derives from the masses of a body when it compiles its model."""

from __future__ import annotations

import copy

import mujoco
import numpy as np
import torch
from torch import Tensor

# Nodes of the interpolation: relative errors are below 2e-12 over a fourfold range of masses, and
# below 1e-5 over a hundredfold one.
_NODES = 13


class MassConstants:
    """What `mj_setConst` derives from the masses, as a function of one multiplier of all masses.

    Joint armature does not scale with mass, so these constants are no mere multiples; computing
    them takes a solve for each dof, body and tendon. They are smooth: times the multiplier k they
    are interpolated in log k between Chebyshev nodes, which a device does in one product.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        low: float,
        high: float,
        fields: list[str],
        device: torch.device,
    ) -> None:
        """Tabulate `fields` of a model for multipliers from `low` to `high`."""
        count = _NODES if high > low else 1
        angles = (np.arange(count) + 0.5) * np.pi / count
        middle, half = np.log(low * high) / 2, np.log(high / low) / 2
        nodes = middle + half * np.cos(angles)
        scratch = copy.copy(model)
        data = mujoco.MjData(scratch)
        rows = []
        for multiplier in np.exp(nodes):
            scratch.body_mass[:] = model.body_mass * multiplier
            scratch.body_inertia[:] = model.body_inertia * multiplier
            mujoco.mj_setConst(scratch, data)
            values = [getattr(scratch, field).ravel() for field in fields]
            rows.append(np.concatenate(values) * multiplier if values else np.zeros(0))
        self._fields, self._sizes = fields, [getattr(model, field).size for field in fields]
        self._table = torch.as_tensor(np.array(rows), dtype=torch.float64, device=device)
        self._nodes = torch.as_tensor(nodes, device=device)
        spread = self._nodes.unsqueeze(1) - self._nodes
        self._itself = torch.eye(count, dtype=torch.bool, device=device)
        self._spread = spread.masked_fill(self._itself, 1.0)

    def __call__(self, multiplier: Tensor) -> dict[str, Tensor]:
        """Return each field, (nworld, its size), for multipliers (nworld,) float64."""
        gap = multiplier.log().view(-1, 1, 1) - self._nodes
        ratios = torch.where(self._itself, 1.0, gap / self._spread)
        values = ratios.prod(-1) @ self._table / multiplier.unsqueeze(1)
        return dict(zip(self._fields, values.split(self._sizes, dim=1), strict=True))
