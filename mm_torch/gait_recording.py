"""What a gait laboratory measures of a walking policy: angles, ground forces, moments, muscles."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import mujoco
import numpy as np
import torch
from torch import Tensor

from mm_torch.gait_cycle import COMPARED, LANDED, landings
from mm_torch.task import ImitationTask
from sim.embodiment import Embodiment
from sim.simulator import SimOptions, apply_options

JOINTS = tuple(names[0] for names, _ in COMPARED["kinematics"].values())
SIDES = {"right": "_r", "left": "_l"}


class GaitLaboratory:
    """Measures a full body in one state at a time, with MuJoCo C, whatever simulates it."""

    def __init__(self, embodiment: Embodiment, options: SimOptions) -> None:
        """Prepare; the options are those of the simulation (its solver settings)."""
        self._model = model = copy.copy(embodiment.model)
        apply_options(model, options)
        self._data = mujoco.MjData(model)
        self._couplings = embodiment.couplings
        self._floor = embodiment.floor_geom
        self._feet = [embodiment.foot_geoms[side] for side in SIDES]
        self._mass = float(model.body_mass.sum())
        self._weight = self._mass * float(np.linalg.norm(model.opt.gravity))
        joints = [[model.joint(name + end) for end in SIDES.values()] for name in JOINTS]
        self._qpos = np.array([[joint.qposadr[0] for joint in pair] for pair in joints])
        self._dofs = np.array([[joint.dofadr[0] for joint in pair] for pair in joints])

    def place(self, qpos: np.ndarray, qvel: np.ndarray, act: np.ndarray, ctrl: np.ndarray) -> None:
        """Put the body into a state; excitations (nu,) count for what bypasses activation."""
        data = self._data
        data.qpos[:], data.qvel[:], data.act[:], data.ctrl[:] = qpos, qvel, act, ctrl
        mujoco.mj_forward(self._model, data)

    def angles(self, qpos: np.ndarray) -> np.ndarray:
        """Joint angles (6, 2) of a posture, right and left (deg)."""
        return np.degrees(qpos[self._qpos])

    def moments(self) -> np.ndarray:
        """Moments (6, 2) of muscles and passive tissue about the joints, per mass (Nm/kg).

        Those about joints that a joint drives count with it; stops at the joints' ends do not.
        """
        moment = self._data.qfrc_actuator + self._data.qfrc_passive
        couplings, total = self._couplings, moment.copy()
        slopes = couplings.slopes(self._data.qpos)
        driven = couplings.has_driver
        dependent = moment[couplings.dof_adr[driven]] * slopes[driven]
        np.add.at(total, couplings.driver_dof_adr[driven], dependent)
        return total[self._dofs] / self._mass

    def ground_forces(self) -> np.ndarray:
        """Forces (2, 3) of the floor on the right and the left foot, world axes (% body weight)."""
        model, data, wrench = self._model, self._data, np.zeros(6)
        forces = np.zeros((len(self._feet), 3))
        for index, contact in enumerate(data.contact):
            first, second = contact.geom
            if self._floor not in (first, second):
                continue
            mujoco.mj_contactForce(model, data, index, wrench)
            # It acts on the second geom, in the contact's frame, whose axes are rows.
            force = wrench[:3] @ contact.frame.reshape(3, 3)
            for foot, geoms in enumerate(self._feet):
                if second in geoms:
                    forces[foot] += force
                elif first in geoms:
                    forces[foot] -= force
        return 100.0 * forces / self._weight


@dataclass(frozen=True)
class Walk:
    """One walk, a row a control step.

    Attributes:
        fps: rows a second.
        quantities: table (as in `gait_cycle.COMPARED`) to quantity to (T, 2), right and left.
        motion: joint angles of the motion that is followed, likewise (deg).
        root: (T, 2) horizontal position of the root (m).
    """

    fps: float
    quantities: dict[str, dict[str, np.ndarray]]
    motion: dict[str, np.ndarray]
    root: np.ndarray

    def landings(self, side: int) -> np.ndarray:
        """Samples at which a foot lands, 0 for the right one."""
        return landings(self.quantities["grf"]["up"][:, side], self.fps)

    def speed(self) -> float:
        """Distance from start to end over time (m/s)."""
        return float(np.linalg.norm(self.root[-1] - self.root[0])) * self.fps / (len(self.root) - 1)

    def stance(self, side: int) -> list[float]:
        """Share of each stride that the foot is on the ground."""
        on, starts = self.quantities["grf"]["up"][:, side] > LANDED, self.landings(side)
        return [float(on[first:last].mean()) for first, last in pairwise(starts)]


@torch.no_grad()
def record(
    task: ImitationTask, policy: Callable[[Tensor], Tensor], clip: Tensor, frame: Tensor
) -> list[Walk]:
    """Play from the reference's own states until a termination or the clip's end.

    Args:
        task: of the full body; its number of worlds is the number of starts.
        policy: observation (nworld, obs_dim) to raw action (nworld, nu).
        clip, frame: (nworld,) where each world starts.

    Returns:
        The walks of the worlds that made two steps at least.
    """
    simulator = task.simulator
    laboratory = GaitLaboratory(simulator.embodiment, simulator.options)
    everywhere = torch.ones(simulator.nworld, dtype=torch.bool, device=simulator.device)
    task.place(everywhere, clip.to(simulator.device), frame.to(simulator.device))
    rows: list[list[_Row]] = [[] for _ in range(simulator.nworld)]
    alive = everywhere.clone()
    while bool(alive.any()):
        outcome = task.step(policy(task.observe()))
        alive &= ~outcome.terminated
        motion = task.library.frames(task.clip, task.frame).qpos
        moving = (motion, simulator.qpos, simulator.qvel, simulator.act, simulator.ctrl)
        goal, *state = (part.double().cpu().numpy() for part in moving)
        for world in alive.nonzero().flatten().tolist():
            laboratory.place(*(part[world] for part in state))
            rows[world].append(
                _Row(
                    laboratory.angles(state[0][world]), laboratory.angles(goal[world]),
                    laboratory.ground_forces(), laboratory.moments(),
                    state[2][world], state[0][world][:2],
                )
            )  # fmt: skip
        alive &= ~outcome.truncated
    names = [simulator.embodiment.model.actuator(i).name for i in range(task.action_dim)]
    return [_walk(world, 1.0 / simulator.control_dt, names) for world in rows if len(world) > 1]


@dataclass(frozen=True)
class _Row:
    angles: np.ndarray
    motion: np.ndarray
    forces: np.ndarray
    moments: np.ndarray
    act: np.ndarray
    root: np.ndarray


def _walk(rows: list[_Row], fps: float, muscles: list[str]) -> Walk:
    angles, motion, forces, moments, act, root = (
        np.array([getattr(row, name) for row in rows])
        for name in ("angles", "motion", "forces", "moments", "act", "root")
    )
    heading = root[-1] - root[0]
    heading = heading / max(float(np.linalg.norm(heading)), 1e-9)
    right = np.array([heading[1], -heading[0]])
    pairs = {
        name[:-2]: [muscles.index(name[:-2] + end) for end in SIDES.values()]
        for name in muscles
        if name.endswith("_r") and name[:-2] + "_l" in muscles
    }
    quantities = {
        "kinematics": {name: angles[:, row] for row, name in enumerate(JOINTS)},
        "grf": {
            "up": forces[..., 2],
            "forwards": forces[..., :2] @ heading,
            "outwards": forces[..., :2] @ right * (1.0, -1.0),
        },
        "joint_torques": {name: moments[:, row] for row, name in enumerate(JOINTS)},
        "emg": {name: act[:, columns] for name, columns in pairs.items()},
    }
    followed = {name: motion[:, row] for row, name in enumerate(JOINTS)}
    return Walk(fps, quantities, followed, root)
