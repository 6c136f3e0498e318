"""Least-squares fit of the measured gait to the body's own proportions and to the floor.

The measured angles belong to another person's legs: played on this body they slip and sink. The fit
finds the root's translation and small periodic corrections of the leg joints, all low-order Fourier
series, so that the foot on the ground neither slips, sinks nor floats. Only the right foot is
evaluated: the left side is its mirror image half a cycle later.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from retarget.demo.foot_contact import FootCycle
from retarget.demo.gait_pose import LEG_JOINTS, gait_qpos, leg_angles
from retarget.demo.gait_table import STEP_WIDTH, STRIDE_LENGTH, harmonic_basis, symmetric_curve
from retarget.demo.leg_clearance import LegClearances
from sim.embodiment import CONTROL_HZ, Embodiment

#: Harmonics of the root's translation (x sideways changes sign from step to step, y forwards and z
#: do not) and of the leg corrections.
_ROOT_HARMONICS = ((1, 3, 5), (2, 4, 6), (2, 4, 6))
_LEG_HARMONICS = tuple(range(1, 11))
#: Phases of the right foot on the ground, flat on it, and well above it.
_STANCE = (0.0, 0.64)
_FLAT = (0.10, 0.36)
_SWING = (0.72, 0.94)
#: Standard deviations of what is fitted: the leg joints' corrections (deg) ...
_LEG_SIGMA = np.array([1.0, 1.0, 2.0, 1.5, 1.5, 2.5, 10.0])
#: ... the root's translation about the measured one (m) ...
_ROOT_SIGMA = (0.006, 0.004, 0.004)
#: ... accelerations of the corrections (rad/s^2), of the root about the measured one (m/s^2) ...
_LEG_ACCELERATION_SIGMA = np.array([20.0, 20.0, 20.0, 30.0, 30.0, 30.0, 60.0])
_ROOT_ACCELERATION_SIGMA = (0.3, 0.6, 0.8)
#: ... heights of the foot below the floor, in contact, flat on it (m), and its slip (m/s).
_PENETRATION_SIGMA, _CONTACT_SIGMA, _FLAT_SIGMA, _SLIP_SIGMA = 2e-4, 1e-3, 4e-3, 0.015
_STEP_WIDTH_SIGMA = 1e-4
#: Height over the floor wanted while the foot swings (m), and the range of the toes' joint (rad).
_CLEARANCE, _CLEARANCE_SIGMA = 0.01, 2e-3
#: Distance kept between the legs (m).
_LEGS_APART, _LEGS_APART_SIGMA = 3e-3, 1e-3
_TOE_RANGE, _TOE_RANGE_SIGMA = (-0.48, 0.2), 5e-3
_ITERATIONS = 40


@dataclass(frozen=True)
class GaitCycle:
    """One fitted stride.

    Attributes:
        qpos: (T, nq) postures; the first has x = y = 0, after the last the body has advanced by
            `STRIDE_LENGTH` along -y.
        corrections: (T, 7) what was added to the measured angles of the right leg (rad).
    """

    qpos: np.ndarray
    corrections: np.ndarray


def fit_gait(embodiment: Embodiment, frames: int) -> GaitCycle:
    """Fit one stride of `frames` frames (even) to the floor."""
    phase = np.arange(frames) / frames
    problem = _Problem(embodiment, phase)
    unknowns = np.zeros(problem.size)
    # Damped Gauss-Newton: the damping fades, the last steps are full ones.
    for iteration in range(_ITERATIONS):
        residual, jacobian = problem.linearise(unknowns)
        damping = 100.0 * 0.3**iteration
        normal = jacobian.T @ jacobian + damping * np.eye(problem.size)
        unknowns -= np.linalg.solve(normal, jacobian.T @ residual)
    qpos, corrections = problem.postures(unknowns)
    qpos[:, :2] -= qpos[0, :2]
    return GaitCycle(qpos=qpos, corrections=corrections)


def _window(phase: np.ndarray, begin: float, end: float, ramp: float) -> np.ndarray:
    """Return weights (T,) that are 1 between two phases, with straight ramps inside the ends."""
    return np.clip(np.minimum(phase - begin, end - phase) / ramp, 0.0, 1.0)


class _Problem:
    """Residuals of the fit, each over its standard deviation, and their Jacobian.

    Unknowns: root x, y, z series, then one series with a mean for each leg joint.
    """

    def __init__(self, embodiment: Embodiment, phase: np.ndarray):
        self.embodiment, self.phase = embodiment, phase
        self.measured = leg_angles(phase)
        self.clearance = LegClearances(embodiment, _LEGS_APART)
        ones = np.ones((len(phase), 1))
        self.leg_basis = np.hstack([ones, harmonic_basis(phase, _LEG_HARMONICS)])
        root = [harmonic_basis(phase, harmonics) for harmonics in _ROOT_HARMONICS]
        root[2] = np.hstack([ones, root[2]])
        root_size = sum(basis.shape[1] for basis in root)
        self.size = root_size + len(LEG_JOINTS) * self.leg_basis.shape[1]
        # (T, 3, size): how the root's translation depends on the unknowns.
        self.root_basis = np.zeros((len(phase), 3, self.size))
        start = 0
        for axis, basis in enumerate(root):
            self.root_basis[:, axis, start : start + basis.shape[1]] = basis
            start += basis.shape[1]
        # (T, 7, size): how the corrections depend on the unknowns.
        self.leg_slice = slice(root_size, self.size)
        spread = np.einsum("jk,tb->tjkb", np.eye(len(LEG_JOINTS)), self.leg_basis)
        self.correction_basis = np.zeros((len(phase), len(LEG_JOINTS), self.size))
        self.correction_basis[:, :, self.leg_slice] = spread.reshape(*spread.shape[:2], -1)
        # Measured course of the root less its mean and its steady advance.
        forwards, up, rightwards = (
            symmetric_curve(name, phase, parity)
            for name, parity in (("pelvis_tx", "even"), ("pelvis_ty", "even"), ("pelvis_tz", "odd"))
        )
        forwards += STRIDE_LENGTH * phase - forwards.mean()
        self.root_offset = np.stack([-rightwards, -forwards, up], axis=1)

    def postures(self, unknowns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return postures (T, nq) and corrections (T, 7)."""
        corrections = self.correction_basis @ unknowns
        qpos = gait_qpos(self.embodiment, self.phase, self.measured + corrections)
        qpos[:, :3] = self.root_offset + self.root_basis @ unknowns
        return qpos, corrections

    def linearise(self, unknowns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the residuals (R,) and their Jacobian (R, size)."""
        qpos, corrections = self.postures(unknowns)
        foot = FootCycle.of(self.embodiment, qpos)
        local = foot.local_points()
        height = foot.points[..., 2]
        _, slope = self._moved(foot, local, 0)
        slope = slope[:, :, 2]
        residuals = [self._prior(unknowns, corrections)]

        below = height < 0.0
        residuals.append((height[below] / _PENETRATION_SIGMA, slope[below] / _PENETRATION_SIGMA))
        swing = _window(self.phase, *_SWING, 0.05)[:, None] * (height < _CLEARANCE) > 0
        residuals.append(
            ((height[swing] - _CLEARANCE) / _CLEARANCE_SIGMA, slope[swing] / _CLEARANCE_SIGMA)
        )
        # The lowest point of the foot is on the floor; a soft minimum, so that it may change.
        above = height - height.min(axis=1, keepdims=True)
        share = np.exp(-above / 1e-3)
        share *= (_window(self.phase, *_STANCE, 0.03) / share.sum(axis=1))[:, None] / _CONTACT_SIGMA
        residuals.append(((share * height).sum(axis=1), np.einsum("tp,tpn->tn", share, slope)))
        flat = _window(self.phase, *_FLAT, 0.05)[:, None] * (foot.segment == 0) / _FLAT_SIGMA
        residuals.append((flat * height, flat[..., None] * slope))
        residuals.append(self._slip(foot, local, above))
        residuals.append(self._step_width(foot, local))
        residuals.append(self._apart(qpos))

        residual = np.concatenate([part.ravel() for part, _ in residuals])
        jacobian = np.concatenate([part.reshape(-1, self.size) for _, part in residuals])
        return residual, jacobian

    def _moved(
        self, foot: FootCycle, local: np.ndarray, step: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """`FootCycle.follow` with the advance over the cycle's end: (T, P, 3), (T, P, 3, size)."""
        position, by_joint = foot.follow(local, step)
        frame = np.arange(len(self.phase)) + step
        position[..., 1] -= STRIDE_LENGTH * (frame // len(self.phase))[:, None]
        corrections = np.roll(self.correction_basis, -step, axis=0)
        derivative = np.einsum("tpij,tjn->tpin", by_joint, corrections)
        return position, derivative + np.roll(self.root_basis, -step, axis=0)[:, None]

    def _prior(
        self, unknowns: np.ndarray, corrections: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Corrections are small and smooth, the root moves as measured, the toes stay in range."""
        scale = 1.0 / np.radians(_LEG_SIGMA)
        parts = [(corrections * scale, self.correction_basis * scale[:, None])]
        # The mean height is free: the measured one is that of another person's legs.
        fluctuation = self.root_basis - self.root_basis.mean(axis=0)
        scale = 1.0 / np.array(_ROOT_SIGMA)
        parts.append((fluctuation @ unknowns * scale, fluctuation * scale[:, None]))
        for basis, sigma in (
            (self.correction_basis, _LEG_ACCELERATION_SIGMA),
            (self.root_basis, np.array(_ROOT_ACCELERATION_SIGMA)),
        ):
            around = np.roll(basis, 1, axis=0) + np.roll(basis, -1, axis=0)
            acceleration = (around - 2.0 * basis) * CONTROL_HZ**2 / sigma[:, None]
            parts.append((acceleration @ unknowns, acceleration))
        toes = self.measured[:, -1] + corrections[:, -1]
        excess = (toes - np.clip(toes, *_TOE_RANGE)) / _TOE_RANGE_SIGMA
        slope = self.correction_basis[:, -1] * (excess != 0)[:, None] / _TOE_RANGE_SIGMA
        parts.append((excess, slope))
        return (
            np.concatenate([part.ravel() for part, _ in parts]),
            np.concatenate([part.reshape(-1, self.size) for _, part in parts]),
        )

    def _slip(
        self, foot: FootCycle, local: np.ndarray, above: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Horizontal velocity of the material points that bear the foot."""
        share = np.exp(-above / 4e-3)
        share *= (_window(self.phase, *_STANCE, 0.08) / share.sum(axis=1))[:, None]
        after, after_slope = self._moved(foot, local, 1)
        before, before_slope = self._moved(foot, local, -1)
        weight = (np.sqrt(share) * 0.5 * CONTROL_HZ / _SLIP_SIGMA)[..., None]
        velocity = (after - before)[..., :2] * weight
        return velocity, (after_slope - before_slope)[:, :, :2] * weight[..., None]

    def _apart(self, qpos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The legs pass each other without touching; the second step mirrors the first."""
        half = len(qpos) // 2
        legs = self.clearance(qpos[:half])
        left = np.roll(self.correction_basis, -half, axis=0)[legs.frame]
        slope = np.einsum("cj,cjn->cn", legs.by_right, self.correction_basis[legs.frame])
        slope += np.einsum("cj,cjn->cn", legs.by_left, left)
        return (legs.distance - _LEGS_APART) / _LEGS_APART_SIGMA, slope / _LEGS_APART_SIGMA

    def _step_width(self, foot: FootCycle, local: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Half the measured step width between the flat foot's heel and the middle."""
        weight = _window(self.phase, *_FLAT, 0.05)[:, None] * (foot.segment == 0)
        weight /= weight.sum() * _STEP_WIDTH_SIGMA
        position, slope = self._moved(foot, local, 0)
        sideways = (weight * position[..., 0]).sum() + 0.5 * STEP_WIDTH / _STEP_WIDTH_SIGMA
        return np.array([sideways]), np.einsum("tp,tpn->n", weight, slope[:, :, 0])[None]
