"""What a motion laboratory tells of a body: joint moments, ground forces, muscle forces."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import mujoco
import numpy as np

from sim.embodiment import Embodiment
from sim.simulator import SimOptions, apply_options

#: Sides in the order of all that is measured of both, with the endings of their names.
SIDES = {"right": "_r", "left": "_l"}


@dataclass(frozen=True)
class GroundForce:
    """What the floor does to the right and the left foot; world axes, z up.

    Attributes:
        force: (2, 3) N.
        centre: (2, 3) centre of pressure on the floor (m); zero where no force is.
        torque: (2,) free moment about the vertical through it (Nm).
    """

    force: np.ndarray
    centre: np.ndarray
    torque: np.ndarray


class Laboratory:
    """Measures a body in one state at a time, with MuJoCo C, whatever simulates it."""

    def __init__(self, embodiment: Embodiment, options: SimOptions) -> None:
        """Prepare; the options are those of the simulation (its solver settings)."""
        self._model = model = copy.copy(embodiment.model)
        apply_options(model, options)
        self._data = mujoco.MjData(model)
        self._couplings = embodiment.couplings
        self._dofs = embodiment.independent_dofs
        self._floor = embodiment.floor_geom
        self._height = float(model.geom_pos[self._floor, 2])
        self._feet = [embodiment.foot_geoms[side] for side in SIDES]

    def place(self, qpos: np.ndarray, qvel: np.ndarray, act: np.ndarray, ctrl: np.ndarray) -> None:
        """Put the body into a state; excitations (nu,) count for what bypasses activation."""
        data = self._data
        data.qpos[:], data.qvel[:], data.act[:], data.ctrl[:] = qpos, qvel, act, ctrl
        mujoco.mj_forward(self._model, data)

    def joint_moments(self) -> np.ndarray:
        """Moments (nind,) of muscles and passive tissue about the independent joints (Nm, N).

        Those about joints that a joint drives count with it; stops at the joints' ends do not.
        """
        moment = self._data.qfrc_actuator + self._data.qfrc_passive
        couplings, total = self._couplings, moment.copy()
        slopes = couplings.slopes(self._data.qpos)
        driven = couplings.has_driver
        dependent = moment[couplings.dof_adr[driven]] * slopes[driven]
        np.add.at(total, couplings.driver_dof_adr[driven], dependent)
        return total[self._dofs]

    def muscle_tensions(self) -> np.ndarray:
        """Forces (nu,) with which muscles pull, active and passive (N)."""
        return -self._data.actuator_force

    def muscle_lengths(self) -> np.ndarray:
        """Lengths (nu,) of muscles with their tendons (m)."""
        return self._data.actuator_length.copy()

    def ground_force(self) -> GroundForce:
        """What the floor does to the feet."""
        model, data, wrench = self._model, self._data, np.zeros(6)
        force, moment = np.zeros((len(self._feet), 3)), np.zeros((len(self._feet), 3))
        for index, contact in enumerate(data.contact):
            first, second = contact.geom
            if self._floor not in (first, second):
                continue
            mujoco.mj_contactForce(model, data, index, wrench)
            # It acts on the second geom, in the contact's frame, whose axes are rows.
            frame = contact.frame.reshape(3, 3)
            for foot, geoms in enumerate(self._feet):
                sign = float(second in geoms) or -float(first in geoms)
                if sign:
                    pushed = sign * wrench[:3] @ frame
                    arm = contact.pos - (0.0, 0.0, self._height)
                    force[foot] += pushed
                    moment[foot] += np.cross(arm, pushed) + sign * wrench[3:] @ frame
        # On the floor, the point about which the moment has no horizontal part.
        centre, up = np.zeros_like(force), force[:, 2]
        bears = up > 0.0
        centre[bears, 0] = -moment[bears, 1] / up[bears]
        centre[bears, 1] = moment[bears, 0] / up[bears]
        torque = np.where(bears, (moment - np.cross(centre, force))[:, 2], 0.0)
        centre[bears, 2] = self._height
        return GroundForce(force, centre, torque)
