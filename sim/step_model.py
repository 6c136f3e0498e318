"""What a control step does to the velocities of a body, as a linear function of its activations.

Muscles, joints and contacts are so stiff and so strongly damped that the acceleration of this
instant says little about the next 10 ms: the squared error of the velocity change that it predicts
exceeds the change itself. Here the step is taken implicitly instead, as one backward Euler step of
length h: with v' = v + h a,

    (M + h B + h² K / 2 + Jᵀ D (h b + h² k / 2) J) a = f - h K v / 2 + Jᵀ D (a* - h k J v / 2)

where B and K are the damping and stiffness of muscles and joints, the rows J of the active
constraints (couplings, limits, contacts) pull to their reference acceleration a* = -b J v - k r
with weight D (MuJoCo documentation, Computation: constraint model), and f is the smooth force.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

_DV, _DL = 1e-4, 1e-6  # of finite differences: tendon velocity (m/s) and length (m)


@dataclass(frozen=True)
class Step:
    """Velocity change per second of one control step, `drift + gain @ (activation - act)`.

    Attributes:
        drift: (nv,) with activations as they are (1/s of qvel).
        gain: (nv, nu) for each unit of activation, throughout the step, above the present one.
    """

    drift: np.ndarray
    gain: np.ndarray


class StepModel:
    """Linearises the control step of one body about a state.

    Attributes:
        rows: indices of the constraints that are active, of `MjData.efc_*`.
    """

    def __init__(self, model: mujoco.MjModel, control_dt: float) -> None:
        """Prepare for a model whose actuators are muscles.

        Args:
            model: with the solver settings of the simulation.
            control_dt: length of the control step (s).
        """
        self.model, self._h = model, control_dt
        self._mass = np.zeros((model.nv, model.nv))
        self._stiffness = np.zeros(model.nv)
        for joint in range(model.njnt):
            if model.jnt_type[joint] >= int(mujoco.mjtJoint.mjJNT_SLIDE):
                spring = np.atleast_1d(model.jnt_stiffness[joint])[0]
                self._stiffness[model.jnt_dofadr[joint]] = spring
        self.rows = np.zeros(0, int)

    def read(self, data: mujoco.MjData) -> None:
        """Take up a state; `data` is forwarded and its activations are left as they were."""
        model, h = self.model, self._h
        mujoco.mj_forward(model, data)
        mujoco.mj_fullM(model, data, self._mass)
        moment = np.zeros((model.nu, model.nv))
        mujoco.mju_sparse2dense(
            moment, data.actuator_moment, data.moment_rownnz, data.moment_rowadr, data.moment_colind
        )
        gain, damping, stiffness = self._muscles(data)
        damp = (moment.T * damping) @ moment
        damp[np.diag_indices(model.nv)] += model.dof_damping
        stiff = (moment.T * stiffness) @ moment
        stiff[np.diag_indices(model.nv)] += self._stiffness
        self._inertia = self._mass + h * damp + 0.5 * h * h * stiff
        self._force = data.qfrc_smooth - 0.5 * h * stiff @ data.qvel
        self._muscle = (moment * gain[:, None]).T
        self._constrain(data)

    @property
    def mass(self) -> np.ndarray:
        """(nv, nv) joint-space inertia of the state taken up."""
        return self._mass

    def step(self, dropped: np.ndarray | None = None) -> Step:
        """Return the step from the state taken up.

        Args:
            dropped: (len(rows),) bool, constraints to leave out.
        """
        keep = slice(None) if dropped is None else ~dropped
        jacobian, weight = self._jacobian[keep], self._weight[keep]
        matrix = self._inertia + (jacobian.T * (weight * self._grip[keep])) @ jacobian
        force = self._force + jacobian.T @ (weight * self._pull[keep])
        solution = np.linalg.solve(matrix, np.column_stack((force, self._muscle)))
        return Step(solution[:, 0], solution[:, 1:])

    def constraint_force(self, acceleration: np.ndarray) -> np.ndarray:
        """Return the force (len(rows),) of each active constraint in a step, were it to hold on.

        A contact that would have to pull lets go instead: its force is negative here.
        """
        pulled = self._reference - self._jacobian @ acceleration
        return self._weight * pulled

    def _muscles(self, data: mujoco.MjData) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Force per activation, damping and stiffness (not below 0) of each muscle, (nu,) each."""
        model, act = self.model, data.act.copy()

        def force() -> np.ndarray:
            mujoco.mj_fwdActuation(model, data)
            return data.actuator_force.copy()

        now = force()
        data.actuator_velocity[:] += _DV
        damping = (now - force()) / _DV
        data.actuator_velocity[:] -= _DV
        data.actuator_length[:] += _DL
        stiffness = (now - force()) / _DL
        data.actuator_length[:] -= _DL
        data.act[:] = 0
        passive = force()
        data.act[:] = 1
        gain = force() - passive
        data.act[:] = act
        mujoco.mj_fwdActuation(model, data)
        return gain, damping, np.maximum(stiffness, 0.0)

    def _constrain(self, data: mujoco.MjData) -> None:
        """Take up the constraints that push or pull now."""
        model, h, count = self.model, self._h, data.nefc
        # By their forces: the solver leaves efc_state stale where it takes islands one by one.
        equality = data.efc_type[:count] == int(mujoco.mjtConstraint.mjCNSTR_EQUALITY)
        self.rows = np.flatnonzero(equality | (data.efc_force[:count] != 0))
        if mujoco.mj_isSparse(model):
            dense = np.zeros((count, model.nv))
            mujoco.mju_sparse2dense(
                dense, data.efc_J, data.efc_J_rownnz, data.efc_J_rowadr, data.efc_J_colind
            )
        else:
            dense = data.efc_J.reshape(count, model.nv)
        self._jacobian = dense[self.rows]
        spring, damper, impedance = data.efc_KBIP[:count][self.rows, :3].T
        self._weight = data.efc_D[:count][self.rows]
        self._reference = data.efc_aref[:count][self.rows]
        spring = spring * impedance
        self._grip = 1.0 + h * damper + 0.5 * h * h * spring
        self._pull = self._reference - 0.5 * h * spring * (self._jacobian @ data.qvel)
