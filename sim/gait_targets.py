"""Where a walking body should go next: the motion's own next frame, made fit to be walked on.

Three things separate a captured gait from one that a body can follow by computed muscle control.
A soft ground lets feet sink by several millimetres, as much as toes clear it by in swing: swinging
feet are lifted. A walker is an inverted pendulum that no ankle holds upright for long: the next
foot is put further to where the body is ahead of, or faster than, its motion (Raibert 1986, Legged
robots that balance; Yin, Loken and van de Panne 2007, SIMBICON). And feet that are off the ground
in the motion are no support, even if they drag.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from sim.computed_muscle_control import Target
from sim.embodiment import Embodiment

_CLEAR = 0.004  # m, from which a foot is off the ground
_SHORT = 0.12  # s, of a phase off the ground that is not a step
_BLEND = 0.15  # s, over which a step's correction sets in
_SHARES = {"hip_flexion": 0.5, "knee_angle": 1.0, "ankle_angle": 0.5}  # of the lift
_SIDES = {"left": ("_l", -1.0), "right": ("_r", 1.0)}  # suffix; sign of adduction to the left


@dataclass(frozen=True)
class Stepping:
    """How steps are adapted.

    Attributes:
        lift: largest added knee flexion in swing (rad).
        ahead, aside: hip angle per metre off the motion, along and across the heading (rad/m).
        faster, sideways: hip angle per speed off the motion, likewise (rad s/m).
        further: hip angle added to every step along the heading (rad).
        release: time over which a correction fades after the foot has landed (s).
        most: largest such angles (rad), along and across.
    """

    lift: float = 0.55
    ahead: float = 0.46
    aside: float = 0.2
    faster: float = 0.64
    sideways: float = 0.3
    most: tuple[float, float] = (0.4, 0.25)
    further: float = -0.05
    release: float = 0.3


class GaitTargets:
    """The targets of one motion.

    Attributes:
        swing: foot to (T,) bool, whether it is off the ground.
    """

    def __init__(
        self,
        embodiment: Embodiment,
        qpos: np.ndarray,
        qvel: np.ndarray,
        act: np.ndarray,
        fps: float,
        stepping: Stepping | None = None,
    ) -> None:
        """Prepare a motion.

        Args:
            embodiment: a body with a root and feet.
            qpos, qvel: the motion, (T, nq) and (T, nv).
            act: (T, nu) its activations by static optimisation.
            fps: its frames a second, the control rate.
            stepping: how steps are adapted.
        """
        self._stepping = stepping or Stepping()
        self._model, self._act = embodiment.model, act
        self._original = qpos, qvel
        self.swing = _swing(embodiment, qpos, round(_SHORT * fps))
        names = list(embodiment.independent_joints)
        columns = {name: embodiment.independent_qpos[i] for i, name in enumerate(names)}
        self._qpos = _lifted(embodiment, columns, qpos, self.swing, self._stepping.lift)
        self._qvel = _velocities(self._model, self._qpos, fps)
        still = [foot for foot in self.swing if not self.swing[foot].any()]
        if len(still) == len(self.swing):
            self._qvel = qvel
        self._qacc = np.gradient(self._qvel, 1.0 / fps, axis=0)
        self._hips = {
            foot: (columns[f"hip_flexion{suffix}"], columns[f"hip_adduction{suffix}"], sign)
            for foot, (suffix, sign) in _SIDES.items()
        }
        blend, release = round(_BLEND * fps), round(self._stepping.release * fps)
        self._share = {foot: _share(off, blend, release) for foot, off in self.swing.items()}

    def __len__(self) -> int:
        return len(self._qpos)

    def at(self, frame: int, qpos: np.ndarray, qvel: np.ndarray) -> Target:
        """Return the target of the control step that leads to a frame.

        Args:
            frame: of the motion, at the end of the step.
            qpos, qvel: (nq,), (nv,) of the body at the step's start, in the motion's place.
        """
        motion_qpos, motion_qvel = (values[max(frame - 1, 0)] for values in self._original)
        forward = _heading(motion_qpos)
        left = np.array([-forward[1], forward[0]])
        off, fast = qpos[:2] - motion_qpos[:2], qvel[:2] - motion_qvel[:2]
        how, goal = self._stepping, self._qpos[frame].copy()
        along = np.clip(
            how.further + how.ahead * forward @ off + how.faster * forward @ fast,
            *_both(how.most[0]),
        )
        across = np.clip(how.aside * left @ off + how.sideways * left @ fast, *_both(how.most[1]))
        for foot, (flexion, adduction, sign) in self._hips.items():
            share = self._share[foot][frame]
            goal[flexion] += share * along
            goal[adduction] += share * sign * across
        swing = tuple(foot for foot, off in self.swing.items() if off[frame])
        return Target(goal, self._qvel[frame], self._qacc[frame], self._act[frame], swing)


def _both(bound: float) -> tuple[float, float]:
    return -bound, bound


def _heading(qpos: np.ndarray) -> np.ndarray:
    """Horizontal unit vector (2,) that the pelvis faces: its own negative y."""
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, qpos[3:7])
    forward = -matrix.reshape(3, 3)[:2, 1]
    return forward / max(np.linalg.norm(forward), 1e-9)


def _swing(embodiment: Embodiment, qpos: np.ndarray, short: int) -> dict[str, np.ndarray]:
    """Whether each foot is off the ground, (T,) bool, in runs that are not short."""
    model, floor = embodiment.model, embodiment.floor_geom
    data = mujoco.MjData(model)
    gap = {foot: np.zeros(len(qpos)) for foot in embodiment.foot_geoms}
    for frame, pose in enumerate(qpos):
        data.qpos[:] = pose
        mujoco.mj_kinematics(model, data)
        for foot, geoms in embodiment.foot_geoms.items():
            gap[foot][frame] = min(
                mujoco.mj_geomDistance(model, data, floor, int(geom), 0.5, None) for geom in geoms
            )
    swing = {}
    for foot, values in gap.items():
        off = values > _CLEAR
        for start, end in _runs(off):
            if end - start < short:
                off[start:end] = False
        swing[foot] = off
    return swing


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Starts and ends of the runs of true."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(int)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _lifted(
    embodiment: Embodiment,
    columns: dict[str, int],
    qpos: np.ndarray,
    swing: dict[str, np.ndarray],
    lift: float,
) -> np.ndarray:
    """The motion with legs bent more while their feet swing; nothing else moves."""
    lifted = qpos.copy()
    for foot, off in swing.items():
        bump = np.zeros(len(qpos))
        for start, end in _runs(off):
            bump[start:end] = np.sin(np.pi * (np.arange(end - start) + 0.5) / (end - start)) ** 2
        for joint, share in _SHARES.items():
            lifted[:, columns[joint + _SIDES[foot][0]]] += lift * share * bump
    return np.stack([embodiment.couplings.complete_qpos(pose) for pose in lifted])


def _velocities(model: mujoco.MjModel, qpos: np.ndarray, fps: float) -> np.ndarray:
    """Central differences (T, nv) on the tangent space."""
    velocity = np.zeros((len(qpos), model.nv))
    for frame in range(len(qpos)):
        before, after = max(frame - 1, 0), min(frame + 1, len(qpos) - 1)
        if after > before:
            dt = (after - before) / fps
            mujoco.mj_differentiatePos(model, velocity[frame], dt, qpos[before], qpos[after])
    return velocity


def _share(off: np.ndarray, blend: int, release: int) -> np.ndarray:
    """Part (T,) of a step's correction that is asked for: all of it in swing, then less and less.

    The hip of a foot put further ahead would else pull the trunk after it as soon as it has landed.
    """
    share = np.zeros(len(off))
    for start, end in _runs(off):
        share[start:end] = np.minimum((np.arange(end - start) + 1) / blend, 1.0)
        fading = share[end : end + release]
        fading[:] = np.maximum(fading, 1.0 - (np.arange(len(fading)) + 1) / (release + 1))
    return share
