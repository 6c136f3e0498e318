"""Joint couplings: the polynomial equalities that drive dependent joints.

A dependent joint y follows its driver x by a quartic about the reference pose (MuJoCo's joint
equality): y = y0 + sum_k c_k (x - x0)^k. Those without a driver are fixed at y0 + c_0.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np


@dataclass(frozen=True)
class JointCouplings:
    """The couplings of a model as flat arrays, one entry for each dependent joint.

    Attributes:
        qpos_adr: (ndep,) position address of the dependent joint.
        dof_adr: (ndep,) velocity address of the dependent joint.
        driver_qpos_adr: (ndep,) position address of the driver; its own where there is no driver.
        driver_dof_adr: (ndep,) velocity address of the driver.
        has_driver: (ndep,) bool.
        rest: (ndep,) reference position y0 (rad or m).
        driver_rest: (ndep,) reference position x0 of the driver.
        coef: (ndep, 5) polynomial coefficients, constant first.
    """

    qpos_adr: np.ndarray
    dof_adr: np.ndarray
    driver_qpos_adr: np.ndarray
    driver_dof_adr: np.ndarray
    has_driver: np.ndarray
    rest: np.ndarray
    driver_rest: np.ndarray
    coef: np.ndarray

    @classmethod
    def of(cls, model: mujoco.MjModel) -> JointCouplings:
        """Read the couplings of a compiled model; every equality must be a joint equality."""
        if np.any(model.eq_type != mujoco.mjtEq.mjEQ_JOINT):
            raise ValueError("the model has equality constraints other than joint couplings")
        dependent, driver = model.eq_obj1id, model.eq_obj2id
        has_driver = driver >= 0
        driver = np.where(has_driver, driver, dependent)
        return cls(
            qpos_adr=model.jnt_qposadr[dependent],
            dof_adr=model.jnt_dofadr[dependent],
            driver_qpos_adr=model.jnt_qposadr[driver],
            driver_dof_adr=model.jnt_dofadr[driver],
            has_driver=has_driver,
            rest=model.qpos0[model.jnt_qposadr[dependent]],
            driver_rest=model.qpos0[model.jnt_qposadr[driver]],
            coef=model.eq_data[:, :5].copy(),
        )

    def _driver_offset(self, qpos: np.ndarray) -> np.ndarray:
        return np.where(self.has_driver, qpos[..., self.driver_qpos_adr] - self.driver_rest, 0.0)

    def positions(self, qpos: np.ndarray) -> np.ndarray:
        """Return the (..., ndep) dependent positions that `qpos` (..., nq) implies (rad or m)."""
        x = self._driver_offset(qpos)
        c = self.coef
        # Horner's scheme, highest power first.
        return self.rest + c[:, 0] + x * (c[:, 1] + x * (c[:, 2] + x * (c[:, 3] + x * c[:, 4])))

    def slopes(self, qpos: np.ndarray) -> np.ndarray:
        """Return dy/dx, (..., ndep), zero where there is no driver."""
        x = self._driver_offset(qpos)
        c = self.coef
        slope = c[:, 1] + x * (2 * c[:, 2] + x * (3 * c[:, 3] + x * 4 * c[:, 4]))
        return np.where(self.has_driver, slope, 0.0)

    def complete_qpos(self, qpos: np.ndarray) -> np.ndarray:
        """Return a copy of `qpos` (..., nq) whose dependent joints satisfy the equalities."""
        qpos = np.array(qpos, dtype=np.float64)
        qpos[..., self.qpos_adr] = self.positions(qpos)
        return qpos

    def complete_qvel(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        """Return a copy of `qvel` (..., nv) whose dependent velocities follow their drivers'."""
        qvel = np.array(qvel, dtype=np.float64)
        qvel[..., self.dof_adr] = self.slopes(qpos) * qvel[..., self.driver_dof_adr]
        return qvel

    def residual(self, qpos: np.ndarray) -> np.ndarray:
        """Return how far (..., ndep) the dependent joints are from their equalities (rad or m)."""
        return qpos[..., self.qpos_adr] - self.positions(qpos)
