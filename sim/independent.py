"""Independent coordinates in torch: what is free in a body's posture, and what follows from it.

The independent coordinates are the root's pose (where there is one) and the independent joints;
dependent joints follow by their couplings (sim.couplings has the same polynomials in numpy).
"""

from __future__ import annotations

import mujoco
import numpy as np
import torch
from torch import Tensor

from sim.embodiment import Embodiment


class IndependentCoordinates:
    """Maps independent joints to complete postures.

    Attributes:
        joint_qpos: (n,) addresses in qpos of the independent joints.
        column_of_dof: (nv,) column of the reduced velocity (root first, then the independent
            joints) that moves each degree of freedom; -1 where nothing does.
        lower, upper: (n,) limits (rad) within which no coupled joint leaves its own range.
        width: number of reduced velocities: 6 for a root, plus n.
    """

    def __init__(
        self,
        embodiment: Embodiment,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        """Read the couplings of a body."""
        model, couplings = embodiment.model, embodiment.couplings
        self.root = 6 * embodiment.has_root
        self.width = self.root + len(embodiment.independent_qpos)

        def index(array: np.ndarray) -> Tensor:
            return torch.as_tensor(array, dtype=torch.int64, device=device)

        def tensor(array: np.ndarray) -> Tensor:
            return torch.as_tensor(array, dtype=dtype, device=device)

        self.joint_qpos = index(embodiment.independent_qpos)
        column = np.full(model.nv, -1)
        column[: self.root] = np.arange(self.root)
        column[embodiment.independent_dofs] = self.root + np.arange(self.width - self.root)
        driven = couplings.has_driver
        column[couplings.dof_adr[driven]] = column[couplings.driver_dof_adr[driven]]
        self.column_of_dof = index(column)
        self._adr = index(couplings.qpos_adr)
        self._dof = index(couplings.dof_adr)
        self._driver = index(couplings.driver_qpos_adr)
        self._has_driver = tensor(driven.astype(float))
        self._rest, self._driver_rest = tensor(couplings.rest), tensor(couplings.driver_rest)
        self._coef = tensor(couplings.coef)
        self._neutral = tensor(model.qpos0)
        lower, upper = joint_limits(embodiment)
        self.lower, self.upper = tensor(lower), tensor(upper)
        self._nv = model.nv

    def qpos(self, joints: Tensor, root: Tensor | None = None) -> Tensor:
        """Return postures (..., nq) of independent joints (..., n) and roots (..., 7)."""
        qpos = self._neutral.expand(*joints.shape[:-1], -1).index_copy(-1, self.joint_qpos, joints)
        if root is not None:
            qpos = torch.cat((root, qpos[..., 7:]), dim=-1)
        return qpos.index_copy(-1, self._adr, self._positions(qpos))

    def _positions(self, qpos: Tensor) -> Tensor:
        x, c = self._offset(qpos), self._coef
        value = c[:, 0] + x * (c[:, 1] + x * (c[:, 2] + x * (c[:, 3] + x * c[:, 4])))
        return self._rest + value

    def _offset(self, qpos: Tensor) -> Tensor:
        return (qpos[..., self._driver] - self._driver_rest) * self._has_driver

    def slopes(self, qpos: Tensor) -> Tensor:
        """Return (..., nv): the velocity of each degree of freedom per unit of its column's.

        One for the root and the independent joints, dy/dx for a joint that follows, zero for a
        joint that is fixed.
        """
        x, c = self._offset(qpos), self._coef
        slope = c[:, 1] + x * (2 * c[:, 2] + x * (3 * c[:, 3] + x * 4 * c[:, 4]))
        ones = torch.ones(*qpos.shape[:-1], self._nv, dtype=qpos.dtype, device=qpos.device)
        return ones.index_copy(-1, self._dof, slope * self._has_driver)


def joint_limits(embodiment: Embodiment) -> tuple[np.ndarray, np.ndarray]:
    """Return limits (n,), (n,) of the independent joints that keep coupled joints in range too.

    Of each joint's range, the part around its neutral position is kept in which every joint that
    follows it stays inside its own range. Followers that leave their range by less than 0.1 degrees
    (or 0.1 mm) somewhere within are rounding of the model (knee_angle_rotation2 and the patella)
    and do not count. An unlimited joint gets infinite limits.
    """
    model, couplings = embodiment.model, embodiment.couplings
    lower, upper = [], []
    for name in embodiment.independent_joints:
        joint = model.joint(name)
        if not model.jnt_limited[joint.id]:
            lower.append(-np.inf)
            upper.append(np.inf)
            continue
        grid = np.linspace(*joint.range, 2001)
        qpos = np.tile(model.qpos0, (len(grid), 1))
        qpos[:, joint.qposadr[0]] = grid
        positions = couplings.positions(qpos)
        allowed = np.ones(len(grid), dtype=bool)
        for row in np.flatnonzero(couplings.driver_qpos_adr == joint.qposadr[0]):
            follower = model.eq_obj1id[row]
            if not couplings.has_driver[row] or not model.jnt_limited[follower]:
                continue
            low, high = model.jnt_range[follower]
            slide = model.jnt_type[follower] == mujoco.mjtJoint.mjJNT_SLIDE
            rounding = 1e-4 if slide else np.radians(0.1)
            excess = np.maximum(low - positions[:, row], positions[:, row] - high)
            if excess.max() > rounding:
                allowed &= excess <= 0
        start = int(np.argmin(np.abs(grid - np.clip(model.qpos0[joint.qposadr[0]], *joint.range))))
        first, last = start, start
        while first > 0 and allowed[first - 1]:
            first -= 1
        while last < len(grid) - 1 and allowed[last + 1]:
            last += 1
        lower.append(grid[first])
        upper.append(grid[last])
    return np.array(lower), np.array(upper)
