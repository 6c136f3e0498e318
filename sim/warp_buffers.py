"""MuJoCo-Warp's fixed-size buffers: how large they are, and what happens when one overflows.

Contacts of all worlds share one pool of nworld x nconmax; constraint rows are at most njmax a
world. What does not fit is dropped, so the dynamics of that step are wrong.
"""

from __future__ import annotations

import torch
from mujoco_warp import OverflowType
from torch import Tensor

from sim.embodiment import Embodiment
from sim.simulator import SimOptions

#: (nconmax, njmax) of each embodiment, without and with fingers. Under random excitations bodies on
#: reference motions (with fingers, in sampled poses) needed up to 113 and 103 rows, bodies thrown
#: on the floor 272 and 342 rows with 67 and 61 candidate contacts; arms 45 and 94 rows with 12 and
#: 14. Measured by `python -m benchmarks.buffers` (phantom_inertia=1), see docs/simulation.md. The
#: rest is head-room.
_BUDGETS = {
    ("fullbody", False): (96, 320),
    ("fullbody", True): (128, 640),
    ("bimanual", False): (16, 96),
    ("bimanual", True): (32, 160),
}

#: Overflows that lose contacts or constraint rows. Rows (njmax, njmax_nnz) and CCD mark the world
#: concerned; the shared pool (broadphase, narrowphase) cannot tell whose contacts it lost: it marks
#: all worlds.
FATAL = {
    "njmax": OverflowType.NEFC,
    "njmax_nnz": OverflowType.NJMAX_NNZ,
    "broadphase": OverflowType.BROADPHASE,
    "narrowphase": OverflowType.NARROWPHASE,
    "ccd": OverflowType.CCD,
}
#: Limits that only cost accuracy: counted, but the world stays valid.
HARMLESS = {
    "epa_horizon": OverflowType.EPA_HORIZON,
    "iterations": OverflowType.ITERATIONS,
    "ls_iterations": OverflowType.LS_ITERATIONS,
}


def budgets(embodiment: Embodiment, options: SimOptions) -> tuple[int, int]:
    """Return (nconmax, njmax), contacts and constraint rows a world, from options or defaults."""
    nconmax, njmax = _BUDGETS[embodiment.name, embodiment.fingers]
    return (
        nconmax if options.nconmax is None else options.nconmax,
        njmax if options.njmax is None else options.njmax,
    )


class OverflowMonitor:
    """Reads and clears the overflow bits of every world, and counts them by kind.

    Attributes:
        counts: (nkind,) int64, control steps x worlds with each kind of overflow so far.
    """

    kinds = (*FATAL, *HARMLESS)

    def __init__(self, bits: Tensor) -> None:
        """Watch `bits`, (nworld,) int32: `Data.overflow`."""
        self._bits = bits
        values = [int(bit) for bit in (*FATAL.values(), *HARMLESS.values())]
        self._kinds = torch.tensor(values, dtype=bits.dtype, device=bits.device)
        self._fatal = sum(int(bit) for bit in FATAL.values())
        self.counts = torch.zeros(len(self.kinds), dtype=torch.int64, device=bits.device)

    def poll(self) -> Tensor:
        """Return (nworld,) bool, worlds that lost contacts or constraints; clear all bits."""
        self.counts += ((self._bits[:, None] & self._kinds) != 0).sum(0)
        fatal = (self._bits & self._fatal) != 0
        self._bits.zero_()
        return fatal
