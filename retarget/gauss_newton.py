"""One step of the solution: Gauss-Newton for all frames, inside the joints' limits."""

from __future__ import annotations

import torch
from torch import Tensor

from retarget.detour import Detour, turn_between
from retarget.normal_equations import NormalEquations, Targets
from retarget.self_collision import SelfCollision
from retarget.smooth_solve import SmoothSystem, second_difference, second_difference_transposed
from retarget.solve_options import SolveOptions
from retarget.tracks import LEAST_ELEVATION, TWIST
from sim.embodiment import Embodiment
from sim.rotations import quat_multiply
from sim.static_optimization import held_range


class GaussNewton:
    """Takes steps from postures to better ones.

    Attributes:
        neutral: (m,) independent joints of the neutral posture (rad).
    """

    def __init__(
        self,
        embodiment: Embodiment,
        equations: NormalEquations,
        collision: SelfCollision,
        options: SolveOptions,
    ) -> None:
        """Args: of one body; ``collision`` counts in steps with a detour."""
        self.equations, self._collision = equations, collision
        self.dtype = equations.dtype
        self._pull, self._posture = options.neutral, options.posture
        self._iterations = options.solver_iterations
        coordinates = equations.coordinates
        self._lower, self._upper = coordinates.lower.clone(), coordinates.upper.clone()
        for column, name in enumerate(embodiment.independent_joints):
            if name.startswith("shoulder_elv"):
                self._lower[column] = LEAST_ELEVATION
            if name == TWIST:
                low, high = held_range(embodiment, name, options.twist_effort)
                self._lower[column] = self._lower[column].clamp_min(low)
                self._upper[column] = self._upper[column].clamp_max(high)
        neutral = embodiment.model.qpos0[embodiment.independent_qpos]
        self.neutral = torch.as_tensor(neutral, dtype=torch.float64, device=equations.device).clamp(
            self._lower.double(), self._upper.double()
        )

    def wanted(self, targets: Targets) -> tuple[Tensor, Tensor]:
        """The joints that postures are pulled to (rad), and how firmly (per rad²), (1 or T, m)."""
        neutral, trace = self.neutral[None], torch.full_like(self.neutral, self._pull)[None]
        if targets.posture is None:
            return neutral, trace
        known = targets.posture.isfinite()
        inside = targets.posture.clamp(self._lower.double(), self._upper.double())
        return torch.where(known, inside, neutral), torch.where(known, self._posture, trace)

    def step(
        self,
        joints: Tensor,
        root: Tensor | None,
        targets: Targets,
        stiffness: Tensor,
        link: Tensor,
        scale: float = 1.0,
        detour: Detour | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Take one step.

        Args:
            joints, root: (T, m) and (T, 7).
            targets: what is asked of the frames.
            stiffness: (n,) cost of squared acceleration.
            link: (T - 2,) one where three successive frames belong together.
            scale: share of the step that is taken.
            detour: what the postures may only deviate from smoothly, with the body's parts apart.
        """
        first = self.equations.coordinates.root
        hessian, gradient = self.equations(joints, root, targets)
        q = joints.to(self.dtype)
        wanted, pull = (part.to(self.dtype) for part in self.wanted(targets))
        gradient[:, first:] += pull * (q - wanted)
        # A trace of damping for directions that nothing fixes.
        hessian.diagonal(dim1=1, dim2=2).add_(1e-5)
        hessian.diagonal(dim1=1, dim2=2)[:, first:].add_(pull)
        tied = bool(stiffness.any() or detour is not None) and len(joints) > 2
        if not tied:
            link = torch.zeros_like(link)
        bent = self._acceleration(joints, root, link) * stiffness
        if detour is not None:
            self._collision.add(hessian, gradient, joints, root)
            deviation = detour.deviation(joints, root).to(self.dtype)
            bent = bent + second_difference(deviation, link) * detour.stiffness
            stiffness = stiffness + detour.stiffness
        gradient += second_difference_transposed(bent, link)
        step = self._bounded(hessian, -gradient, stiffness, link, q)
        # Far from the solution the linear model is trusted for half a radian only.
        largest = step[:, 3 * bool(first) :].abs().amax(1, keepdim=True)
        step = (scale * step * (0.5 / largest.clamp_min(0.5))).double()
        return self.moved(joints, root, step)

    def moved(
        self, joints: Tensor, root: Tensor | None, step: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Postures after a step (T, n), inside the joints' limits."""
        first = self.equations.coordinates.root
        joints = joints + step[:, first:]
        joints = torch.minimum(torch.maximum(joints, self._lower.double()), self._upper.double())
        if root is not None:
            turn = quat_multiply(root[:, 3:], _small_rotation(step[:, 3:6]))
            root = torch.cat((root[:, :3] + step[:, :3], turn), dim=1)
            root = _unit(root)
        return joints, root

    def _bounded(
        self, hessian: Tensor, rhs: Tensor, stiffness: Tensor, link: Tensor, joints: Tensor
    ) -> Tensor:
        """Solve for a step that leaves the joints inside their limits."""
        first = self.equations.coordinates.root
        below, above = self._lower - joints, self._upper - joints
        push = rhs[:, first:]
        stuck = ((below >= -1e-6) & (push < 0)) | ((above <= 1e-6) & (push > 0))
        free = torch.ones_like(rhs)
        free[:, first:][stuck] = 0
        system = SmoothSystem(hessian, stiffness, link, free)
        # Frames on their own are solved by their own blocks, in one step.
        look, finish = self._iterations if link.any() else (1, 2)
        step = system.solve(rhs, torch.zeros_like(rhs), look)
        # What would pass its limit goes just there, and the others are found again.
        moved = step[:, first:]
        beyond = (moved < below) | (moved > above)
        system.free[:, first:][beyond] = 0
        start = step.clone()
        start[:, first:] = torch.clamp(moved, below, above)
        start[:, first:][stuck] = 0
        return system.solve(rhs, start, finish)

    def _acceleration(self, joints: Tensor, root: Tensor | None, link: Tensor) -> Tensor:
        """Second differences (T - 2, n) of the independent coordinates."""
        parts = [joints]
        if root is not None:
            parts = [root[:, :3], torch.zeros_like(root[:, :3]), joints]
        difference = second_difference(torch.cat(parts, dim=1), link.double())
        if root is not None:
            turn = turn_between(root[:-1, 3:], root[1:, 3:])
            difference[:, 3:6] = (turn[1:] - turn[:-1]) * link[:, None]
        return difference.to(self.dtype)


def _unit(root: Tensor) -> Tensor:
    return torch.cat((root[:, :3], root[:, 3:] / root[:, 3:].norm(dim=1, keepdim=True)), dim=1)


def _small_rotation(vector: Tensor) -> Tensor:
    """Unit quaternions (T, 4) of rotation vectors (T, 3)."""
    angle = vector.norm(dim=1, keepdim=True)
    half = angle / 2
    factor = torch.where(angle < 1e-8, 0.5, half.sin() / angle.clamp_min(1e-12))
    return torch.cat((half.cos(), factor * vector), dim=1)
