"""In how many identical states WarpSim and MuJoCo C build other constraints.

A contact exists, and a joint limit acts, from the moment that a distance is negative. Where it is
zero up to rounding, as for a joint that a reference motion holds at its limit, float32 can decide
otherwise than float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import mujoco_warp as mjw
import numpy as np
import torch
import warp as wp

from sim.warp_sim import WarpSim


@dataclass(frozen=True)
class ConstraintParity:
    """Differences of the constraints in n states.

    Attributes:
        contacts: (n,) contacts in `WarpSim` minus those in MuJoCo C.
        limits: (n,) active joint limits, likewise.
        acceleration: (n,) largest difference of any entry of qacc, as a share of the largest entry.
    """

    contacts: np.ndarray
    limits: np.ndarray
    acceleration: np.ndarray

    @property
    def same(self) -> np.ndarray:
        """(n,) bool, states with the same numbers of contacts and limits."""
        return (self.contacts == 0) & (self.limits == 0)


def compare_constraints(
    simulator: WarpSim, qpos: torch.Tensor, qvel: torch.Tensor, act: torch.Tensor
) -> ConstraintParity:
    """Compute the constraints of states in `simulator` and in MuJoCo C, and compare.

    Args:
        simulator: its worlds are overwritten; the states are taken in batches of its world count.
        qpos: (n, nq) float32, at least one state.
        qvel: (n, nv) float32.
        act: (n, nu) float32 activations; excitations are set to them.
    """
    model, rows = simulator.embodiment.model, []
    data = mujoco.MjData(model)
    everywhere = torch.ones(simulator.nworld, dtype=torch.bool, device=simulator.device)
    for start in range(0, len(qpos), simulator.nworld):
        chosen = torch.arange(start, min(start + simulator.nworld, len(qpos)))
        filled = chosen[torch.arange(simulator.nworld) % len(chosen)]
        batch = (part[filled].to(simulator.device) for part in (qpos, qvel, act))
        simulator.reset(everywhere, *batch)
        with wp.ScopedDevice(simulator._wp_device):
            # A reset need not compute the constraints.
            mjw.forward(simulator._model, simulator._data)
        device = simulator._data
        worlds = device.contact.worldid.numpy()[: int(device.nacon.numpy()[0])]
        contacts = np.bincount(worlds, minlength=simulator.nworld)
        limits, qacc = device.nl.numpy(), device.qacc.numpy()
        for world, index in enumerate(chosen):
            mujoco.mj_resetData(model, data)
            data.qpos[:], data.qvel[:] = qpos[index], qvel[index]
            data.act[:] = data.ctrl[:] = act[index]
            mujoco.mj_forward(model, data)
            gap = np.abs(qacc[world] - data.qacc).max() / max(np.abs(data.qacc).max(), 1.0)
            rows.append((contacts[world] - data.ncon, limits[world] - data.nl, gap))
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return ConstraintParity(*columns)
