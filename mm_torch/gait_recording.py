"""What a gait laboratory measures of a walking policy: angles, ground forces, moments, muscles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from torch import Tensor

from mm_torch.gait_cycle import COMPARED, LANDED, landings
from mm_torch.recording import Recording, play
from mm_torch.task import ImitationTask
from sim.embodiment import Embodiment
from sim.laboratory import SIDES, Laboratory
from sim.simulator import SimOptions

JOINTS = tuple(names[0] for names, _ in COMPARED["kinematics"].values())


class GaitLaboratory(Laboratory):
    """Measures what gait cycles are compared by, per body weight and mass."""

    def __init__(self, embodiment: Embodiment, options: SimOptions) -> None:
        """Prepare; the options are those of the simulation (its solver settings)."""
        super().__init__(embodiment, options)
        model = self._model
        self._mass = float(model.body_mass.sum())
        self._weight = self._mass * float(np.linalg.norm(model.opt.gravity))
        pairs = [[name + end for end in SIDES.values()] for name in JOINTS]
        self._qpos = np.array([[model.joint(name).qposadr[0] for name in pair] for pair in pairs])
        names = embodiment.independent_joints
        self._rows = np.array([[names.index(name) for name in pair] for pair in pairs])

    def angles(self, qpos: np.ndarray) -> np.ndarray:
        """Joint angles (6, 2) of a posture, right and left (deg)."""
        return np.degrees(qpos[self._qpos])

    def moments(self) -> np.ndarray:
        """Moments (6, 2) of muscles and passive tissue about the joints, per mass (Nm/kg)."""
        return self.joint_moments()[self._rows] / self._mass

    def ground_forces(self) -> np.ndarray:
        """Forces (2, 3) of the floor on the right and the left foot, world axes (% body weight)."""
        return 100.0 * self.ground_force().force / self._weight


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
    names, fps = list(simulator.embodiment.muscle_names), 1.0 / simulator.control_dt
    played = play(task, policy, clip, frame)
    return [_walk(_rows(laboratory, one), fps, names) for one in played if len(one) > 1]


def _rows(laboratory: GaitLaboratory, played: Recording) -> list[_Row]:
    return [
        _Row(
            laboratory.angles(played.qpos[step]), laboratory.angles(played.reference[step]),
            laboratory.ground_forces(), laboratory.moments(), played.act[step],
            played.qpos[step, :2],
        )
        for step in played.replay(laboratory)
    ]  # fmt: skip


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
