"""How far WarpSim is from MujocoSim after control steps from the same states."""

from __future__ import annotations

from dataclasses import dataclass, replace

import mujoco
import numpy as np
import torch

from sim.embodiment import Embodiment
from sim.mujoco_sim import MujocoSim
from sim.simulator import SimOptions, Simulator

_SPEED = 0.5  # standard deviation of sampled joint velocities (rad/s)
_CLEARANCE = (-0.002, 0.01)  # height of the lowest geom above the floor (m)


@dataclass(frozen=True)
class States:
    """Start states and excitations of `n` control steps.

    Attributes:
        qpos: (n, nq) float32, dependent joints on their couplings.
        qvel: (n, nv) float32.
        act: (n, nu) float32 activations.
        excitations: (n, nu) float32.
    """

    qpos: torch.Tensor
    qvel: torch.Tensor
    act: torch.Tensor
    excitations: torch.Tensor

    def __len__(self) -> int:
        return len(self.qpos)


def states_of(qpos: np.ndarray, qvel: np.ndarray, nu: int, rng: np.random.Generator) -> States:
    """Give states (n, nq), (n, nv) random activations and excitations, uniform in [0, 1]."""
    # Rounded to float32 here, so that both simulators start from exactly the same numbers.
    single = [torch.as_tensor(array, dtype=torch.float32) for array in (qpos, qvel)]
    random = [torch.as_tensor(rng.random((len(qpos), nu)), dtype=torch.float32) for _ in range(2)]
    return States(*single, *random)


def sample_states(embodiment: Embodiment, count: int, rng: np.random.Generator) -> States:
    """Sample `count` states like those of a reference motion.

    Independent joints lie in the middle 40 % of their range and move modestly, dependent ones
    follow, and a body with a root stands near the floor.
    """
    model, couplings = embodiment.model, embodiment.couplings
    joints = [model.joint(name).id for name in embodiment.independent_joints]
    limited = model.jnt_limited[joints].astype(bool)
    low, high = model.jnt_range[joints].T
    rest = model.qpos0[embodiment.independent_qpos]
    low, high = np.where(limited, low, rest - 0.5), np.where(limited, high, rest + 0.5)
    qpos = np.tile(model.qpos0, (count, 1))
    share = rng.uniform(0.3, 0.7, (count, len(joints)))
    qpos[:, embodiment.independent_qpos] = low + share * (high - low)
    qpos = couplings.complete_qpos(qpos)
    qvel = np.zeros((count, model.nv))
    qvel[:, embodiment.independent_dofs] = rng.normal(0.0, _SPEED, (count, len(joints)))
    if embodiment.has_root:
        qvel[:, :6] = rng.normal(0.0, _SPEED, (count, 6))
        for row in qpos:
            row[2] += rng.uniform(*_CLEARANCE) - floor_clearance(embodiment, row)
    qvel = couplings.complete_qvel(qpos, qvel)
    return states_of(qpos, qvel, model.nu, rng)


def floor_clearance(embodiment: Embodiment, qpos: np.ndarray) -> float:
    """Return the height (m) of the lowest colliding geom above the floor, of qpos (nq,)."""
    model = embodiment.model
    data = mujoco.MjData(model)
    data.qpos[:] = qpos
    mujoco.mj_kinematics(model, data)
    colliding = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
    geoms = np.flatnonzero(colliding & (model.geom_bodyid > 0))
    floor = embodiment.floor_geom
    return min(mujoco.mj_geomDistance(model, data, floor, geom, 10.0, None) for geom in geoms)


@dataclass(frozen=True)
class Parity:
    """Absolute differences between two simulators after a control step.

    Attributes:
        qpos: (n, nq) positions (rad, m, quaternion entries).
        act: (n, nu) activations.
        force: (n, nu) muscle forces as a share of the muscle's peak isometric force.
        invalid: (n,) states that either simulator declared invalid; zero in the arrays above.
        joint_of: (nq,) name of the joint of each position.
        muscle_names: (nu,).
    """

    qpos: np.ndarray
    act: np.ndarray
    force: np.ndarray
    invalid: np.ndarray
    joint_of: tuple[str, ...]
    muscle_names: tuple[str, ...]

    def summary(self) -> dict[str, float]:
        """Return the median and 99th percentile of each difference over states and entries."""
        parts = {"qpos": self.qpos, "act": self.act, "force": self.force}
        return {
            f"{name}_{label}": float(np.percentile(part, percent))
            for name, part in parts.items()
            for label, percent in (("median", 50), ("p99", 99), ("max", 100))
        }

    def worst_joints(self, count: int = 5) -> list[tuple[str, float]]:
        """Return the joints that differ most in any state, and by how much (rad, m)."""
        return _worst(self.qpos, self.joint_of, count)

    def worst_muscles(self, count: int = 5) -> list[tuple[str, float]]:
        """Return the muscles whose force differs most, as a share of their peak force."""
        return _worst(self.force, self.muscle_names, count)


def _worst(difference: np.ndarray, names: tuple[str, ...], count: int) -> list[tuple[str, float]]:
    largest: dict[str, float] = {}
    for name, value in zip(names, difference.max(0), strict=True):
        largest[name] = max(largest.get(name, 0.0), float(value))
    return sorted(largest.items(), key=lambda item: -item[1])[:count]


def compare_step(simulator: Simulator, states: States, threads: int = 1) -> Parity:
    """Take one control step with `simulator` and with MujocoSim, and compare.

    Args:
        simulator: what to test; its options hold for MujocoSim too. The states are taken in batches
            of its world count.
        states: at least one.
        threads: of MujocoSim.
    """
    return compare_steps(simulator, states, states.excitations.unsqueeze(0), threads)[0]


def compare_steps(
    simulator: Simulator,
    states: States,
    excitations: torch.Tensor,
    threads: int = 1,
    options: SimOptions | None = None,
) -> list[Parity]:
    """Take control steps with `simulator` and with MujocoSim under the same excitations.

    Neither is put back in between: what differs after a step goes into the next.

    Args:
        simulator: what to test. The states are taken in batches of its world count.
        states: where the n worlds start, at least one.
        excitations: (steps, n, nu), in place of those of `states`.
        threads: of MujocoSim.
        options: of MujocoSim; those of `simulator` if None. Others show what options change.

    Returns:
        The differences after each step. A state that was invalid once stays invalid.
    """
    body = simulator.embodiment
    options = replace(options or simulator.options, threads=threads)
    reference = MujocoSim(body, simulator.nworld, options, dtype=torch.float64)
    gaps: dict[str, list[list[np.ndarray]]] = {
        name: [[] for _ in excitations] for name in ("qpos", "act", "muscle_force", "invalid")
    }
    for start in range(0, len(states), simulator.nworld):
        # The last batch is filled up with its first states, which are then left out.
        chosen = torch.arange(start, min(start + simulator.nworld, len(states)))
        filled = chosen[torch.arange(simulator.nworld) % len(chosen)]
        everywhere = torch.ones(simulator.nworld, dtype=torch.bool)
        for sim in (simulator, reference):
            batch = [part[filled].to(sim.device) for part in (states.qpos, states.qvel, states.act)]
            sim.reset(everywhere.to(sim.device), *batch)
        invalid = torch.zeros_like(everywhere)
        for step, excitation in enumerate(excitations):
            for sim in (simulator, reference):
                sim.step(excitation[filled].to(sim.device))
            invalid = invalid | simulator.invalid.cpu() | reference.invalid
            for name in ("qpos", "act", "muscle_force"):
                gap = (getattr(simulator, name).cpu().double() - getattr(reference, name)).abs()
                gap = gap.masked_fill(invalid[:, None], 0.0)
                gaps[name][step].append(gap[: len(chosen)].numpy())
            gaps["invalid"][step].append(invalid[: len(chosen)].numpy())
    reference.close()
    peak = np.maximum(body.model.actuator_gainprm[:, 2], 1.0)
    rows = [[np.concatenate(parts) for parts in steps] for steps in gaps.values()]
    return [
        Parity(qpos, act, force / peak, invalid, _joint_of(body), body.muscle_names)
        for qpos, act, force, invalid in zip(*rows, strict=True)
    ]


def _joint_of(body: Embodiment) -> tuple[str, ...]:
    """Return the name of the joint that each entry of qpos belongs to."""
    model = body.model
    joint_of = [""] * model.nq
    sizes = {mujoco.mjtJoint.mjJNT_FREE: 7, mujoco.mjtJoint.mjJNT_BALL: 4}
    for joint, name in enumerate(body.joint_names):
        address = model.jnt_qposadr[joint]
        for entry in range(address, address + sizes.get(model.jnt_type[joint], 1)):
            joint_of[entry] = name
    return tuple(joint_of)
