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

from sim.step_constraints import Anticipation, Constraints, acting

_DV, _DL = 1e-4, 1e-6  # of finite differences: tendon velocity (m/s) and length (m)


@dataclass(frozen=True)
class Step:
    """Velocity change per second of one control step, `drift + gain @ (activation - act)`.

    Attributes:
        compliance: (nv, nv) such a change for each unit of generalised force.
        force: (nv,) generalised force with activations as they are.
        muscle: (nv, nu) the same for each unit of activation, throughout the step, above those.
    """

    compliance: np.ndarray
    force: np.ndarray
    muscle: np.ndarray

    @property
    def drift(self) -> np.ndarray:
        """(nv,) with activations as they are (1/s of qvel)."""
        return self.compliance @ self.force

    @property
    def gain(self) -> np.ndarray:
        """(nv, nu) for each unit of activation above the present one."""
        return self.gain_of(slice(None))

    def gain_of(self, dofs: np.ndarray | slice) -> np.ndarray:
        """Return some rows of the gain."""
        return self.compliance[dofs] @ self.muscle

    def change(self, more: np.ndarray) -> np.ndarray:
        """Return the change (nv,) with activations above the present ones by (nu,)."""
        return self.compliance @ (self.force + self.muscle @ more)


class StepModel:
    """Linearises the control step of one body about a state.

    Attributes:
        constraints: those of the state taken up.
        rows: their indices in `MjData.efc_*`; none where contacts are anticipated.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        control_dt: float,
        soles: np.ndarray | None = None,
        near: float = 0.0,
    ) -> None:
        """Prepare for a model whose actuators are muscles.

        Args:
            model: with the solver settings of the simulation.
            control_dt: length of the control step (s).
            soles: geoms whose contacts are anticipated (see :mod:`sim.step_constraints`).
            near: distance from which they are (m); 0 for those alone that act.
        """
        self.model, self._h = model, control_dt
        self._mass = np.zeros((model.nv, model.nv))
        self._stiffness = np.zeros(model.nv)
        for joint in range(model.njnt):
            if model.jnt_type[joint] >= int(mujoco.mjtJoint.mjJNT_SLIDE):
                spring = np.atleast_1d(model.jnt_stiffness[joint])[0]
                self._stiffness[model.jnt_dofadr[joint]] = spring
        self.rows = np.zeros(0, int)
        anticipates = near > 0 and soles is not None and len(soles) > 0
        self._anticipate = Anticipation(model, soles, near) if anticipates else None

    def read(self, data: mujoco.MjData) -> None:
        """Take up a state, which stays what it is; without anticipation `data` is forwarded."""
        model, h = self.model, self._h
        if self._anticipate is None:
            mujoco.mj_forward(model, data)
            self.rows, constraints = acting(model, data)
        else:
            data, constraints = self._anticipate(data)
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
        self.constraints: Constraints = constraints
        damper, spring = constraints.damper, constraints.spring
        self._grip = 1.0 + h * damper + 0.5 * h * h * spring
        self._pull = constraints.reference - 0.5 * h * spring * (constraints.jacobian @ data.qvel)

    @property
    def mass(self) -> np.ndarray:
        """(nv, nv) joint-space inertia of the state taken up."""
        return self._mass

    def step(self, dropped: np.ndarray | None = None) -> Step:
        """Return the step from the state taken up.

        Args:
            dropped: (n,) bool, constraints to leave out.
        """
        keep = slice(None) if dropped is None else ~dropped
        jacobian, weight = self.constraints.jacobian[keep], self.constraints.weight[keep]
        matrix = self._inertia + (jacobian.T * (weight * self._grip[keep])) @ jacobian
        force = self._force + jacobian.T @ (weight * self._pull[keep])
        return Step(np.linalg.inv(matrix), force, self._muscle)

    def constraint_force(self, acceleration: np.ndarray) -> np.ndarray:
        """Return the force (n,) of each constraint in a step, were it to hold on.

        A contact that would have to pull lets go instead: its force is negative here.
        """
        constraints = self.constraints
        return constraints.weight * (constraints.reference - constraints.jacobian @ acceleration)

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
