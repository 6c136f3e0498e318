"""Finds the postures whose frames follow their targets, all frames of all clips at once.

Gauss-Newton on the root's pose and the independent joints; dependent joints follow their couplings
exactly, so no joint equality is ever broken. The cost of frame t, with x the independent
coordinates, is

    sum_f w_f |p_f - p_f*|² + u_f |log(R_f R_f*')|²     tracking (retarget.tracks)
    + a weak pull to the neutral posture
    + contact: standing soles stay where they are, at the floor's height and never below it
    + parts of the body stay out of each other (retarget.self_collision)
    + stiffness * |x_{t-1} - 2 x_t + x_{t+1}|²           smoothness between frames.

The stiffness is set by a frequency: with h the mean curvature of the tracking cost, stiffness =
h / (2 pi f / fps)^4 passes motion at frequency f' by 1 / (1 + (f'/f)^4), without delay. (For one
coordinate and a constant h this is exact.)

Joint limits are bounds, kept by projected Newton steps (Bertsekas 1982): a joint at a limit that
the cost pushes outwards is fixed for the step, the others move and are clipped. Penalties could
only balance against the rest; a clip after the last step would move feet that were in place.

Time is refined in three levels. On every twelfth frame the postures are found from the neutral one;
those that are equally near their targets (a forearm turned either way) must be chosen alike in
neighbouring frames, so the smoothness begins stiff there and is released step by step. Most of the
work is done on frames two to three times as dense as the smoothing frequency, beyond which there is
little left to find; the last step is on all frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from retarget.detour import Detour
from retarget.levels import Level, clip_parts
from retarget.normal_equations import ContactWeights, NormalEquations, Targets
from retarget.self_collision import SelfCollision
from retarget.smooth_solve import SmoothSystem, second_difference, second_difference_transposed
from retarget.solve_options import SolveOptions
from retarget.stance import Stance
from retarget.tracks import LEAST_ELEVATION
from sim.embodiment import Embodiment
from sim.rotations import matrix_to_quat, quat_conjugate, quat_multiply


@dataclass
class Solution:
    """Postures of one clip.

    Attributes:
        joints: (T, m) independent joints (rad).
        root: (T, 7) position and quaternion, or None.
        standing: (T, 4) bool: left heel, left toes, right heel, right toes on the ground; or None.
        target_position, target_rotation: (T, F, 3) and (T, F, 3, 3) targets, with the clip's floor
            moved to height zero.
    """

    joints: Tensor
    root: Tensor | None
    standing: np.ndarray | None
    target_position: Tensor
    target_rotation: Tensor


class Solver:
    """Solves clips for one body."""

    def __init__(
        self,
        embodiment: Embodiment,
        options: SolveOptions | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        weights: ContactWeights | None = None,
    ) -> None:
        """Prepare a body; float32 is enough, since every step measures its errors afresh."""
        self.options = options or SolveOptions()
        self.embodiment = embodiment
        self.equations = NormalEquations(embodiment, dtype, device, weights)
        self.dtype, self.device = dtype, torch.device(device)
        self.stance = Stance(embodiment, self.equations)
        coordinates = self.equations.coordinates
        self._collision = SelfCollision(embodiment, coordinates)
        self._lower, self._upper = coordinates.lower.clone(), coordinates.upper
        for column, name in enumerate(embodiment.independent_joints):
            if name.startswith("shoulder_elv"):
                self._lower[column] = LEAST_ELEVATION
        neutral = embodiment.model.qpos0[embodiment.independent_qpos]
        self._neutral = torch.as_tensor(neutral, dtype=torch.float64, device=device).clamp(
            self._lower.double(), self._upper.double()
        )

    @torch.no_grad()
    def solve(self, clips: Sequence[tuple[Tensor, Tensor]], fps: float) -> list[Solution]:
        """Solve clips together.

        Args:
            clips: targets (T, F, 3) and (T, F, 3, 3) of each.
            fps: frames a second of all.
        """
        options = self.options
        lengths = [len(position) for position, _ in clips]
        position = torch.cat([p for p, _ in clips]).to(self.device, torch.float64)
        rotation = torch.cat([r for _, r in clips]).to(self.device, torch.float64)
        targets = Targets(position, rotation)
        standing = firmness = None
        held = options.contact and self.equations.feet is not None
        if held:
            standing, firmness = self.stance.find(targets, lengths, fps)
        joints, root, curvature, start = self._start(targets, lengths, fps)
        if held:
            self.stance.level_floor(joints, root, targets, start, standing)
        middle = max(1, int(fps / (options.middle_rate * options.smoothing_hz)))
        level = start
        steps = {middle: options.middle_steps, 1: options.last_steps}
        for stride in sorted(steps, reverse=True):
            joints = level.fill(joints)
            root = None if root is None else level.fill_roots(root)
            level = Level(lengths, stride, self.dtype, self.device)
            joints = joints[level.index]
            root = None if root is None else root[level.index]
            stiffness = self._stiffness(curvature, options.smoothing_hz, fps / stride)
            some = Targets(targets.position[level.index], targets.rotation[level.index])
            for number in range(steps[stride]):
                if firmness is not None:
                    own = firmness[level.index.cpu().numpy()]
                    self.stance.hold(joints, root, some, own, level.lengths, fps / stride)
                scale = options.damping if number else 1.0
                joints, root = self._step(joints, root, some, stiffness, level.link, scale)
        if options.avoid_self_collision:
            self._part(joints, root, targets, curvature, firmness, lengths, fps)
        return [
            Solution(
                joints[part],
                None if root is None else root[part],
                None if standing is None else standing[part],
                targets.position[part],
                targets.rotation[part],
            )
            for part in clip_parts(lengths)
        ]

    def _part(
        self,
        joints: Tensor,
        root: Tensor | None,
        targets: Targets,
        curvature: Tensor,
        firmness: np.ndarray | None,
        lengths: Sequence[int],
        fps: float,
    ) -> None:
        """Take parts of the body out of each other, in place, in the clips where they are."""
        near = self._collision.frames(joints, root)
        parts = [part for part in clip_parts(lengths) if near[part].any()]
        if not parts:
            return
        index = torch.cat([torch.arange(p.start, p.stop, device=self.device) for p in parts])
        few = Targets(targets.position[index], targets.rotation[index])
        own = None if firmness is None else firmness[index.cpu().numpy()]
        counts = [part.stop - part.start for part in parts]
        plain = joints[index], None if root is None else root[index]
        joints[index], turned = self._detour(*plain, few, curvature, own, counts, fps)
        if root is not None:
            root[index] = turned

    def _detour(
        self,
        joints: Tensor,
        root: Tensor | None,
        targets: Targets,
        curvature: Tensor,
        firmness: np.ndarray | None,
        lengths: Sequence[int],
        fps: float,
    ) -> tuple[Tensor, Tensor | None]:
        """Postures (T, ...) that deviate smoothly from others so that parts stay apart."""
        options, plain, deviation = self.options, (joints, root), None
        slow = min(options.detour_hz, options.smoothing_hz)
        coarse = max(1, int(fps / (options.detour_rate * slow)))
        for stride, steps in zip((coarse, 1), options.detour_steps, strict=True):
            level = Level(lengths, stride, self.dtype, self.device)
            some = Targets(targets.position[level.index], targets.rotation[level.index])
            joints, root = (None if part is None else part[level.index] for part in plain)
            stiffness = self._stiffness(curvature, options.smoothing_hz, fps / stride)
            slower = self._stiffness(curvature, slow, fps / stride)
            detour = Detour(joints, root, slower - stiffness)
            if deviation is not None:
                joints, root = self._moved(joints, root, deviation)
            for number in range(steps):
                if firmness is not None:
                    own = firmness[level.index.cpu().numpy()]
                    self.stance.hold(joints, root, some, own, level.lengths, fps / stride)
                scale = options.damping if number else 1.0
                joints, root = self._step(joints, root, some, stiffness, level.link, scale, detour)
            deviation = level.fill(detour.deviation(joints, root))
        return joints, root

    def _stiffness(self, curvature: Tensor, frequency: float, rate: float) -> Tensor:
        """Cost of squared acceleration that halves motion at `frequency` (Hz)."""
        return curvature / (2 * math.pi * frequency / rate) ** 4

    def _start(
        self, targets: Targets, lengths: Sequence[int], fps: float
    ) -> tuple[Tensor, Tensor | None, Tensor, Level]:
        """Postures of the first level, and the curvature of what tracking costs there."""
        options = self.options
        level = Level(lengths, options.start_stride, self.dtype, self.device)
        few = Targets(targets.position[level.index], targets.rotation[level.index])
        joints = self._neutral.expand(len(level.index), -1)
        root = self._root_from_main_site(few)
        none = torch.zeros(self.equations.coordinates.width, dtype=self.dtype, device=self.device)
        for _ in range(options.start_steps):
            joints, root = self._step(joints, root, few, none, level.link)
        hessian, _ = self.equations(joints, root, few)
        curvature = hessian.diagonal(dim1=1, dim2=2).mean(0).clamp_min(options.least_curvature)
        for frequency in options.start_hz:
            stiffness = self._stiffness(curvature, frequency, fps / level.stride)
            joints, root = self._step(joints, root, few, stiffness, level.link)
        return joints, root, curvature, level

    def _root_from_main_site(self, targets: Targets) -> Tensor | None:
        """The root pose that puts the main site (rigid on the root) on its target."""
        if not self.equations.coordinates.root:
            return None
        model = self.embodiment.model
        neutral = torch.as_tensor(model.qpos0, dtype=self.dtype, device=self.device)
        pose = self.equations.kinematics.pose(neutral[:, None])
        # At qpos0 the root's axes are known; the site's pose in them does not change.
        axes = pose.root[..., 0].double()
        turn = axes.T @ pose.rotation[0, ..., 0].double()
        shift = axes.T @ (pose.position[0, :, 0] - pose.origin[:, 0]).double()
        rotation = targets.rotation[:, 0] @ turn.T
        origin = targets.position[:, 0] - rotation @ shift
        return torch.cat((origin, matrix_to_quat(rotation)), dim=1)

    def _step(
        self,
        joints: Tensor,
        root: Tensor | None,
        targets: Targets,
        stiffness: Tensor,
        link: Tensor,
        scale: float = 1.0,
        detour: Detour | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """One Gauss-Newton step, or `scale` of it."""
        options, first = self.options, self.equations.coordinates.root
        hessian, gradient = self.equations(joints, root, targets)
        q = joints.to(self.dtype)
        gradient[:, first:] += options.neutral * (q - self._neutral.to(self.dtype))
        # A trace of damping for directions that nothing fixes.
        hessian.diagonal(dim1=1, dim2=2).add_(1e-5)
        hessian.diagonal(dim1=1, dim2=2)[:, first:].add_(options.neutral)
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
        return self._moved(joints, root, step)

    def _moved(
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
        look, finish = self.options.solver_iterations if link.any() else (1, 2)
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
            relative = quat_multiply(quat_conjugate(root[:-1, 3:]), root[1:, 3:])
            relative = torch.where(relative[:, :1] < 0, -relative, relative)
            turn = 2 * relative[:, 1:]  # the rotation vector, for the small turns between frames
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
