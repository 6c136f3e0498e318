"""How many contacts, constraint rows and solver iterations a body needs: what sizes buffers.

Counted after every physics substep. MuJoCo C and MuJoCo-Warp detect the same contacts and build the
same rows; the candidates of the broad phase and the non-zeros that Warp stores are Warp's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import mujoco
import numpy as np
import torch

from sim.embodiment import Embodiment
from sim.mujoco_sim import MujocoSim
from sim.simulator import SimOptions
from sim.warp_parity import States, floor_clearance, sample_states

_SPEED = 2.0  # standard deviation of a thrown body's velocities (rad/s, m/s)
_CLEARANCE = (0.0, 0.5)  # height of a thrown body's lowest geom above the floor (m)


@dataclass(frozen=True)
class Demand:
    """What each physics substep needed, (m,) integers over states and substeps.

    Attributes:
        contacts: contacts detected.
        rows: rows of the constraint Jacobian.
        nonzeros: its non-zeros; zeros from MuJoCo C where it keeps a small body's dense.
        iterations: solver iterations.
        evaluations: cost evaluations of the solver's longest line search; zeros from Warp, which
            does not keep them.
        candidates: pairs that the broad phase left; zeros from MuJoCo C, whose broad phase is
            another.
    """

    contacts: np.ndarray
    rows: np.ndarray
    nonzeros: np.ndarray
    iterations: np.ndarray
    evaluations: np.ndarray
    candidates: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[tuple[int, ...]]) -> Demand:
        """Make one of tuples in the order of the attributes."""
        return cls(*np.array(rows, dtype=int).reshape(-1, len(fields(cls))).T)


def thrown_states(embodiment: Embodiment, count: int, rng: np.random.Generator) -> States:
    """Sample bodies about to fall on the floor in any orientation; arms only get their velocities.

    Joints as in `sample_states`. Velocities of the root and of the independent joints are normal,
    2 m/s and 2 rad/s.
    """
    states = sample_states(embodiment, count, rng)
    qpos, qvel = states.qpos.double().numpy(), states.qvel.double().numpy()
    if embodiment.has_root:
        quat = rng.standard_normal((count, 4))
        qpos[:, 3:7] = quat / np.linalg.norm(quat, axis=1, keepdims=True)
        for row in qpos:
            row[2] += rng.uniform(*_CLEARANCE) - floor_clearance(embodiment, row)
        qvel[:, :6] = rng.normal(0.0, _SPEED, (count, 6))
    dofs = embodiment.independent_dofs
    qvel[:, dofs] = rng.normal(0.0, _SPEED, (count, len(dofs)))
    qvel = embodiment.couplings.complete_qvel(qpos, qvel)
    single = [torch.as_tensor(array, dtype=torch.float32) for array in (qpos, qvel)]
    return States(*single, states.act, states.excitations)


def measure_demand(
    embodiment: Embodiment,
    states: States,
    excitations: torch.Tensor,
    options: SimOptions | None = None,
) -> tuple[Demand, np.ndarray]:
    """Simulate states in MuJoCo C and count what every substep needs.

    Args:
        embodiment: the body.
        states: where n worlds start.
        excitations: (steps, n, nu).
        options: of the simulation.

    Returns:
        The counts, and the (n,) most rows that each state's simulation needed. A simulation ends
        where its state becomes invalid.
    """
    simulator = MujocoSim(embodiment, 1, options)
    model, data = simulator.model, mujoco.MjData(simulator.model)
    substeps = simulator.substeps
    simulator.close()
    rows, most = [], np.zeros(len(states), dtype=int)
    for index in range(len(states)):
        mujoco.mj_resetData(model, data)
        data.qpos[:], data.qvel[:] = states.qpos[index], states.qvel[index]
        data.act[:] = states.act[index]
        for excitation in excitations[:, index].numpy():
            data.ctrl[:] = excitation
            for _ in range(substeps):
                mujoco.mj_step(model, data)
                rows.append(_counts(model, data))
                most[index] = max(most[index], data.nefc)
            if not np.isfinite(data.qpos).all() or np.abs(data.qvel).max() > 1e6:
                break
    return Demand.of(rows), most


def _counts(model: mujoco.MjModel, data: mujoco.MjData) -> tuple[int, ...]:
    iterations = data.solver_niter
    longest = 0
    if data.nefc:
        # Statistics of each constraint island, one after the other.
        per_island = np.asarray(data.solver.neval).reshape(len(iterations), -1)
        for island in np.flatnonzero(iterations):
            longest = max(longest, per_island[island, : iterations[island]].max())
    nonzeros = data.nJ if mujoco.mj_isSparse(model) else 0
    return data.ncon, data.nefc, nonzeros, int(iterations.max()), int(longest), 0


@dataclass(frozen=True)
class WarpDemand:
    """What MuJoCo-Warp needed and had.

    Attributes:
        demand: the counts.
        limits_met: control steps that met each limit of the simulator (see `sim.warp_buffers`).
        nonzero_size: non-zeros a world that it has room for.
    """

    demand: Demand
    limits_met: dict[str, int]
    nonzero_size: int


def measure_demand_on_warp(
    embodiment: Embodiment,
    states: States,
    excitations: torch.Tensor,
    options: SimOptions | None = None,
) -> WarpDemand:
    """Do the same in MuJoCo-Warp on its CPU device, one world at a time, which is slow.

    Counts are those of each control step's last substep. With one world the pools that worlds
    share count for that world alone.

    Args:
        embodiment: the body.
        states: where n worlds start.
        excitations: (steps, n, nu).
        options: of the simulation. Rows beyond `njmax` are counted, their non-zeros are not.
    """
    from sim.warp_sim import WarpSim

    simulator = WarpSim(embodiment, 1, torch.device("cpu"), options)
    everywhere, rows = torch.ones(1, dtype=torch.bool), []
    for index in range(len(states)):
        one = slice(index, index + 1)
        simulator.reset(everywhere, states.qpos[one], states.qvel[one], states.act[one])
        for excitation in excitations[:, one]:
            simulator.step(excitation)
            data = simulator._data
            nefc = int(data.nefc.numpy()[0])
            kept = min(nefc, data.njmax)
            nonzeros = int(data.efc.J_rownnz.numpy()[0, :kept].sum())
            rows.append((int(data.nacon.numpy()[0]), nefc, nonzeros,
                         int(data.solver_niter.numpy()[0]), 0,
                         int(data.ncollision.numpy()[0])))  # fmt: skip
    limits = {kind: int(count) for kind, count in simulator.overflow_counts.items()}
    nonzero_size = simulator._data.njmax_nnz
    simulator.close()
    return WarpDemand(Demand.of(rows), limits, nonzero_size)
