"""The constraints that a control step meets, as rows of one linear system.

MuJoCo's own list holds the contacts that are closed now. A step of 10 ms closes others, and a
controller that does not count on them stands on the heel alone as long as the ball of the foot is
a millimetre off the ground: no muscle seems to move its centre of pressure forward, and the body
tips over its heel. The soles' contacts can therefore be anticipated: with `near` above 0 those
within that distance of closing are listed too, as if they touched.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import mujoco
import numpy as np


@dataclass(frozen=True)
class Constraints:
    """Rows of couplings, limits and contacts; contacts have several (pyramidal friction cones).

    Attributes:
        jacobian: (n, nv).
        weight: (n,) D, force for each unit of acceleration that a row lacks.
        damper, spring: (n,) b and k, impedance included (1/s, 1/s²).
        reference: (n,) acceleration that a row pulls to.
        contact: (n,) bool, whether the row is of a contact.
        geoms: (n, 2) those in contact, -1 in other rows.
    """

    jacobian: np.ndarray
    weight: np.ndarray
    damper: np.ndarray
    spring: np.ndarray
    reference: np.ndarray
    contact: np.ndarray
    geoms: np.ndarray


def acting(model: mujoco.MjModel, data: mujoco.MjData) -> tuple[np.ndarray, Constraints]:
    """Return the constraints that push or pull in a forwarded state, and their rows in `efc_*`."""
    # By their forces: the solver leaves efc_state stale where it takes islands one by one.
    equality = data.efc_type == int(mujoco.mjtConstraint.mjCNSTR_EQUALITY)
    rows = np.flatnonzero(equality | (data.efc_force != 0))
    return rows, _read(model, data, rows)


class Anticipation:
    """Lists constraints with contacts of some geoms that are about to close."""

    def __init__(self, model: mujoco.MjModel, geoms: np.ndarray, near: float) -> None:
        """Prepare.

        Args:
            model: with the solver settings of the simulation.
            geoms: those whose contacts are anticipated.
            near: distance from which they are (m).
        """
        self._margin = model.geom_margin.copy()
        self._model = copy.copy(model)
        self._model.geom_margin[geoms] = near
        self._data = mujoco.MjData(self._model)

    def __call__(self, data: mujoco.MjData) -> tuple[mujoco.MjData, Constraints]:
        """List couplings, violated limits, and contacts that are closed or near.

        Args:
            data: a state, which is left as it is.

        Returns:
            The state with all that follows from it but accelerations and constraint forces, and
            its constraints. The first is overwritten by the next call.
        """
        model, own = self._model, self._data
        own.qpos[:], own.qvel[:], own.act[:] = data.qpos, data.qvel, data.act
        mujoco.mj_fwdPosition(model, own)
        mujoco.mj_fwdVelocity(model, own)
        mujoco.mj_fwdActuation(model, own)
        mujoco.mj_fwdAcceleration(model, own)
        kinds = mujoco.mjtConstraint
        limit = (own.efc_type == int(kinds.mjCNSTR_LIMIT_JOINT)) | (
            own.efc_type == int(kinds.mjCNSTR_LIMIT_TENDON)
        )
        rows = np.flatnonzero(~limit | (own.efc_pos < 0))
        found = _read(model, own, rows)
        # What is not closed yet neither pushes nor is pulled to the ground.
        depth = np.minimum(own.efc_pos[rows] - self._margin[found.geoms].max(1), 0.0)
        closing = -found.damper * (found.jacobian @ own.qvel) - found.spring * depth
        found.reference[found.contact] = closing[found.contact]
        return own, found


def _read(model: mujoco.MjModel, data: mujoco.MjData, rows: np.ndarray) -> Constraints:
    count = data.nefc
    if mujoco.mj_isSparse(model):
        dense = np.zeros((count, model.nv))
        mujoco.mju_sparse2dense(
            dense, data.efc_J, data.efc_J_rownnz, data.efc_J_rowadr, data.efc_J_colind
        )
    else:
        dense = data.efc_J.reshape(count, model.nv)
    geoms = np.full((count, 2), -1)
    for contact in data.contact:
        if contact.efc_address >= 0:
            size = 2 * (contact.dim - 1) if contact.dim > 1 else 1
            geoms[contact.efc_address : contact.efc_address + size] = contact.geom
    spring, damper, impedance = data.efc_KBIP[rows, :3].T
    return Constraints(
        jacobian=dense[rows],
        weight=data.efc_D[rows],
        damper=damper,
        spring=spring * impedance,
        reference=data.efc_aref[rows].copy(),
        contact=geoms[rows, 0] >= 0,
        geoms=geoms[rows],
    )
