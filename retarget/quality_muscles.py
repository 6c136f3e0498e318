"""Tendon jumps: lengths and moment arms that change faster than a smooth motion lets them.

A path that slips off a wrapping surface, or a joint that jumps, makes a tendon's length or its
moment arms discontinuous; a controller that follows such a motion meets forces out of nowhere.
"""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

_EMA_RATE = 0.01
_EMA_FACTOR = 10.0
_SMALLEST_JUMP = 1e-3  # rest lengths a step
_SMALLEST_LENGTH = 1e-6  # m
_WRAP_JUMP = 1e-3  # m: the demo walk stays below 5e-6
_ARM_JUMP = 0.01  # m a step: the demo walk stays below 0.003


class TendonJumps:
    """Counts jumps frame by frame; all tendons of the model take part, muscles or not.

    Three definitions:

    - tendon jump, MuscleMimic's: with r = |dL| / L0 of a step (L0 the length at `qpos0`) and m its
      moving average, m <- 0.99 m + 0.01 r, begun at the first step's r and updated before the test,
      a step is a jump if r > max(10 m, 1e-3). The clip's number is the largest r of a jump, 0
      without one; the largest r of all steps is kept besides. Rates are per step: comparable only
      between clips of the same frame rate (MuscleMimic's and ours are 100 Hz).
    - wrap jump: a step whose length change differs by more than 1 mm from what the moment arms make
      of the step's joint motion (trapezoidal rule).
    - moment-arm jump: a step in which a moment arm about a hinge changes by more than 1 cm.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        """Prepare for clips of `model`."""
        self._model = model
        self._rest = np.maximum(model.tendon_length0, _SMALLEST_LENGTH)
        # One entry for each nonzero of the tendon Jacobian: its structure is the model's.
        self._row = np.repeat(np.arange(model.ntendon), model.ten_J_rownnz)
        self._dof = model.ten_J_colind.copy()
        joint_type = model.jnt_type[model.dof_jntid[self._dof]]
        self._hinge = (joint_type == mujoco.mjtJoint.mjJNT_HINGE).astype(float)
        self._before: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        self._average: np.ndarray | None = None
        self._step = np.zeros(model.nv)
        self._jump, self._rate = np.zeros(model.ntendon), np.zeros(model.ntendon)
        self._wrap, self._arm = np.zeros(model.ntendon), np.zeros(len(self._row))
        self._jumps = self._wrap_jumps = self._arm_jumps = 0

    def add(self, data: mujoco.MjData) -> None:
        """Take the next frame, for which `mj_tendon` has been called."""
        qpos, length, arms = data.qpos.copy(), data.ten_length.copy(), data.ten_J.copy()
        before, self._before = self._before, (qpos, length, arms)
        if before is None:
            return
        qpos_before, length_before, arms_before = before
        change = length - length_before
        self._add_rate(np.abs(change) / self._rest)
        mujoco.mj_differentiatePos(self._model, self._step, 1.0, qpos_before, qpos)
        moved = 0.5 * (arms + arms_before) * self._step[self._dof]
        unexplained = np.abs(change - np.bincount(self._row, moved, len(change)))
        self._wrap_jumps += int((unexplained > _WRAP_JUMP).sum())
        np.maximum(self._wrap, unexplained, out=self._wrap)
        arm_change = np.abs(arms - arms_before) * self._hinge
        if arm_change.max() > _ARM_JUMP:
            self._arm_jumps += len(np.unique(self._row[arm_change > _ARM_JUMP]))
        np.maximum(self._arm, arm_change, out=self._arm)

    def _add_rate(self, rate: np.ndarray) -> None:
        if self._average is None:
            self._average = rate.copy()
        self._average += _EMA_RATE * (rate - self._average)
        jumped = rate > np.maximum(_EMA_FACTOR * self._average, _SMALLEST_JUMP)
        self._jumps += int(jumped.sum())
        np.maximum(self._jump, np.where(jumped, rate, 0.0), out=self._jump)
        np.maximum(self._rate, rate, out=self._rate)

    def metrics(self) -> dict[str, Any]:
        """Return the fields of `Quality` about tendons; the muscle is None where nothing moved."""
        jump, wrap, arm = self._jump.argmax(), self._wrap.argmax(), self._arm.argmax()
        return {
            "tendon_jump_max": float(self._jump[jump]),
            "tendon_jump_muscle": self._name(jump, self._jump[jump]),
            "tendon_jump_count": self._jumps,
            "tendon_rate_max": float(self._rate.max()),
            "wrap_jump_count": self._wrap_jumps,
            "wrap_jump_max_mm": float(1e3 * self._wrap[wrap]),
            "wrap_jump_muscle": self._name(wrap, self._wrap[wrap]),
            "moment_arm_jump_count": self._arm_jumps,
            "moment_arm_jump_max_mm": float(1e3 * self._arm[arm]),
            "moment_arm_jump_muscle": self._name(self._row[arm], self._arm[arm]),
        }

    def _name(self, tendon: int, value: float) -> str | None:
        return self._model.tendon(int(tendon)).name if value > 0 else None
