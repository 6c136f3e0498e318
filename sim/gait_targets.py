"""Where a walking body should go next: the motion's own next frame, made fit to be walked on.

Four things separate a captured gait from one that a body can follow by computed muscle control.
A soft ground lets feet sink by several millimetres, as much as toes clear it by in a walk's swing:
feet that swing low are lifted. A walker is an inverted pendulum that no ankle holds upright for
long: the next foot is put further to where the body is ahead of, or faster than, its motion
(Raibert 1986, Legged robots that balance; Yin, Loken and van de Panne 2007, SIMBICON), on the
ground and in time: for a longer step the pelvis sinks as far as the leg is too short. Feet that are
off the ground in the motion are no support, even if they drag, unless the whole body is off: who
flies less far than his motion has to land on the foot that is there. And what trembles in a
captured motion grows each time it is differentiated, and would end as joint moments that no person
needs: velocities are smoothed.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from sim.computed_muscle_control import Target, leg_joints
from sim.embodiment import Embodiment
from sim.gait_phases import (
    STILL,
    about_landing,
    correction_share,
    grip,
    landings,
    lift_share,
    running_phases,
    standing_phases,
    swing_phases,
)
from sim.leg import Leg

_SHORT = 0.12  # s, of a phase off the ground that is not a step
_BLEND = 0.15  # s, over which a step's correction sets in
_SHARES = 0.5, 1.0, 0.5  # of the lift: hip, knee, ankle
_ALONE = 0.05  # s before a flight of a run, in which one foot is off the ground
_ABOUT_FLIGHT = 0.3  # s before and after it that are of the run
_FADE = 0.1  # s over which a motion comes to be followed as a run
_ABOUT = 0.12  # s, before and after a landing that are about it


@dataclass(frozen=True)
class Stepping:
    """How steps are adapted.

    Attributes:
        lift: largest added knee flexion in swing (rad), of feet that swing low.
        ahead, aside: how much further from the body a foot is put per metre that the body's centre
            of mass is off the motion's, along and across the heading (m/m).
        faster, sideways: the same per speed of the centre of mass off the motion's (m s/m).
        most: furthest that it is put so (m), along and across.
        straight: least knee flexion that a step is reached with (rad).
        release: time over which a correction fades after the foot has landed (s).
        smoothing_hz: frequency at which the motion's velocities are halved (Hz), its accelerations
            with them; infinite for none.
        running_hz: the same where the motion runs.
        landing_hz: the same of a leg's about its landing; None for no difference.
        yielding: time before landing (s) within which the swinging leg is let go.
    """

    lift: float = 0.3
    ahead: float = 0.2
    aside: float = 0.09
    faster: float = 0.27
    sideways: float = 0.32
    most: tuple[float, float] = (0.35, 0.22)
    straight: float = 0.05
    release: float = 0.3
    smoothing_hz: float = 4.0
    running_hz: float = 8.0
    landing_hz: float | None = None
    yielding: float = 0.0


@dataclass(frozen=True)
class _Balance:
    """Centre of mass of every frame, its position and velocity, (T, 2) each (m, m/s)."""

    position: np.ndarray
    velocity: np.ndarray


class GaitTargets:
    """The targets of one motion.

    Attributes:
        swing: foot to (T,) bool, whether it is off the ground.
        standing: (T,) bool, whether none is, for a while.
        running: (T,) bool, whether all are at times, and one pushes off at a time.
    """

    def __init__(
        self,
        embodiment: Embodiment,
        qpos: np.ndarray,
        qvel: np.ndarray,
        act: np.ndarray,
        fps: float,
        stepping: Stepping | None = None,
        share: float = 1.0,
    ) -> None:
        """Prepare a motion.

        Args:
            embodiment: a body with a root and feet.
            qpos, qvel: the motion, (T, nq) and (T, nv).
            act: (T, nu) its activations by static optimisation.
            fps: its frames a second, the control rate.
            stepping: how steps are adapted.
            share: part of the activations to stay close to where the body does not stand.
        """
        self._stepping, self._model = stepping or Stepping(), embodiment.model
        self._couplings = embodiment.couplings
        self._data = mujoco.MjData(self._model)
        self._original = qpos
        self.swing, height = swing_phases(embodiment, qpos, fps, round(_SHORT * fps))
        off = np.stack(list(self.swing.values()))
        self._aloft = off.all(0)
        self.running = running_phases(off, round(_ABOUT_FLIGHT * fps), round(_ALONE * fps))
        self.standing = standing_phases(off.any(0), round(STILL * fps))
        self._act = np.where(self.standing[:, None], act, share * act)
        self._legs = {foot: Leg.of(embodiment, foot) for foot in self.swing}
        steps, lift = self.swing.items(), self._stepping.lift
        lifts = {foot: lift * lift_share(off, height[foot]) for foot, off in steps}
        self._qpos = _lifted(embodiment, self._legs, qpos, lifts)
        self._qvel = _velocities(self._model, self._qpos, fps)
        if not off.any():
            self._qvel = qvel
        self._qvel, self._qacc = self._followed(embodiment, self._qvel, fps)
        self._reach = {foot: self._vectors(leg) for foot, leg in self._legs.items()}
        balance = [self._centre(*state) for state in zip(qpos, qvel, strict=True)]
        self._balance = _Balance(*(np.array(part) for part in zip(*balance, strict=True)))
        blend, release = round(_BLEND * fps), round(self._stepping.release * fps)
        self._share = {foot: correction_share(off, blend, release) for foot, off in steps}
        self._landing = {foot: landings(off) for foot, off in steps}
        self._grip = {foot: grip(off, self._stepping.yielding * fps) for foot, off in steps}

    def _followed(
        self, embodiment: Embodiment, qvel: np.ndarray, fps: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Velocities and accelerations (T, nv) to follow: smoothed, in runs and landings less.

        What trembles in a motion goes into the moments, so all of it is smoothed; but a foot is
        slowed down in the few hundredths of a second before it lands, and not to do so is to hit
        the ground. In a run, steps are three a second, and what holds the body up comes and goes
        with them.
        """

        def smoothed(halved: float) -> tuple[np.ndarray, np.ndarray]:
            velocity = _smoothed(qvel, halved / fps)
            return velocity, np.gradient(velocity, 1.0 / fps, axis=0)

        slow = smoothed(self._stepping.smoothing_hz)
        if self.running.any():
            window = np.ones(round(_FADE * fps))
            share = np.convolve(self.running, window / window.sum(), mode="same")[:, None]
            for values, sharp in zip(slow, smoothed(self._stepping.running_hz), strict=True):
                values += share * (sharp - values)
        if self._stepping.landing_hz is None:
            return slow
        quick, legs = smoothed(self._stepping.landing_hz), leg_joints(embodiment)
        for foot, off in self.swing.items():
            share, dofs = about_landing(off, _ABOUT * fps), embodiment.independent_dofs[legs[foot]]
            for values, sharp in zip(slow, quick, strict=True):
                values[:, dofs] += share[:, None] * (sharp[:, dofs] - values[:, dofs])
        return slow

    def __len__(self) -> int:
        return len(self._qpos)

    def at(self, frame: int, qpos: np.ndarray, qvel: np.ndarray) -> Target:
        """Return the target of the control step that leads to a frame.

        Args:
            frame: of the motion, at the end of the step.
            qpos, qvel: (nq,), (nv,) of the body at the step's start, in the motion's place.
        """
        before = max(frame - 1, 0)
        goal, sunk = self._qpos[frame].copy(), 0.0
        offset = self._offset(before, qpos, qvel)
        for foot, leg in self._legs.items():
            share, swings = self._share[foot][frame], self.swing[foot][frame]
            if share == 0:
                continue
            here = self._ahead_left_up(frame, self._reach[foot][frame])
            there = here + share * np.append(offset, 0.0)
            if swings:
                # A body that hangs low has its foot on the ground the earlier: a shorter leg.
                there[2] -= share * (qpos[2] - self._original[before, 2])
                sunk = max(sunk, self._lack(foot, frame, offset))
            goal = leg.moved(goal, here, there, self._stepping.straight)
        goal[2] -= sunk
        swinging = {foot: self._grip[foot][frame] for foot, off in self.swing.items() if off[frame]}
        goal = self._couplings.complete_qpos(goal)
        motion = (self._qvel[frame], self._qacc[frame], self._act[frame])
        phases = (bool(of[frame]) for of in (self.standing, self.running, self._aloft))
        return Target(goal, *motion, swinging, *phases)

    def _offset(self, frame: int, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        """How much further ahead and to the left (2,) of the body the next foot should be (m)."""
        how, axes = self._stepping, _axes(self._original[frame])
        position, velocity = self._centre(qpos, qvel)
        off = axes @ (position - self._balance.position[frame])
        fast = axes @ (velocity - self._balance.velocity[frame])
        offset = (
            np.array([how.ahead, how.aside]) * off + np.array([how.faster, how.sideways]) * fast
        )
        return np.clip(offset, -np.array(how.most), how.most)

    def _lack(self, foot: str, frame: int, offset: np.ndarray) -> float:
        """How far (m) the pelvis should be below the motion's for the foot to land that far off.

        Nothing in the first half of the swing, then more and more until it lands.
        """
        start, land = self._landing[foot][frame]
        reach = self._ahead_left_up(land, self._reach[foot][land])
        longest = self._legs[foot].longest(self._stepping.straight)
        flat = np.hypot(*(reach[:2] + offset))
        short = -reach[2] - np.sqrt(max(longest**2 - flat**2, 0.1))
        done = (frame - start + 1) / max(land - start, 1)
        return float(max(short, 0.0) * np.clip(2 * done - 1, 0.0, 1.0))

    def _centre(self, qpos: np.ndarray, qvel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Horizontal position and velocity (2,) of the centre of mass."""
        model, data = self._model, self._data
        data.qpos[:], data.qvel[:] = qpos, qvel
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_comVel(model, data)
        mujoco.mj_subtreeVel(model, data)
        return data.subtree_com[0, :2].copy(), data.subtree_linvel[0, :2].copy()

    def _vectors(self, leg: Leg) -> np.ndarray:
        """From hip to ankle (T, 3) in the lifted motion (m)."""
        vectors = np.zeros((len(self._qpos), 3))
        for frame, pose in enumerate(self._qpos):
            self._data.qpos[:] = pose
            mujoco.mj_kinematics(self._model, self._data)
            vectors[frame] = self._data.xpos[leg.bodies[2]] - self._data.xpos[leg.bodies[0]]
        return vectors

    def _ahead_left_up(self, frame: int, vector: np.ndarray) -> np.ndarray:
        """A vector (3,) of the world along the motion's heading, to its left, and up."""
        return np.append(_axes(self._original[frame]) @ vector[:2], vector[2])


def _axes(qpos: np.ndarray) -> np.ndarray:
    """(2, 2), rows: the heading and its left."""
    forward = _heading(qpos)
    return np.stack((forward, [-forward[1], forward[0]]))


def _heading(qpos: np.ndarray) -> np.ndarray:
    """Horizontal unit vector (2,) that the pelvis faces: its own negative y."""
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, qpos[3:7])
    forward = -matrix.reshape(3, 3)[:2, 1]
    return forward / max(np.linalg.norm(forward), 1e-9)


def _lifted(
    embodiment: Embodiment, legs: dict[str, Leg], qpos: np.ndarray, lift: dict[str, np.ndarray]
) -> np.ndarray:
    """The motion with legs bent more, by (T,) at the knee (rad); nothing else moves."""
    lifted = qpos.copy()
    for foot, bent in lift.items():
        leg = legs[foot]
        for column, share in zip((leg.hip, leg.knee, leg.ankle), _SHARES, strict=True):
            lifted[:, column] += share * bent
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


def _smoothed(values: np.ndarray, halved: float) -> np.ndarray:
    """Convolve (T, n) with a Gaussian that halves that frequency (cycles per frame).

    Its transform is exp(-2 pi² sigma² f²). Ends go on as they end.
    """
    sigma = np.sqrt(np.log(2) / 2) / (np.pi * halved)
    reach = int(np.ceil(4 * sigma))
    if reach == 0:
        return values
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    padded = np.pad(values, ((reach, reach), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=0)
    return windows @ (kernel / kernel.sum())
