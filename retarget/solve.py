"""Finds the postures whose frames follow their targets, all frames of all clips at once.

Gauss-Newton on the root's pose and the independent joints; dependent joints follow their couplings
exactly, so no joint equality is ever broken. The cost of frame t, with x the independent
coordinates, is

    sum_f w_f |p_f - p_f*|² + u_f |log(R_f R_f*')|²     tracking (retarget.tracks)
    + a weak pull to the neutral posture, or a firmer one to joint angles that are known
    + contact: standing soles stay where they are, at the floor's height and never below it
    + parts of the body that are in each other, in the end (retarget.self_collision)
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
little left to find; the last step is on all frames. Bodies with feet are then leaned so that their
weight rests on them (retarget.balance), and clips in which parts of the body are too near each
other are led around that by a detour (retarget.detour). A detour moves weight, and a lean is not
all that it was meant to be: the lean is found again from what came of both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from retarget import contact
from retarget.balance import Balance
from retarget.detour import Detour, deviation
from retarget.gauss_newton import GaussNewton
from retarget.levels import Level, clip_parts
from retarget.normal_equations import ContactWeights, NormalEquations, Targets
from retarget.self_collision import SelfCollision
from retarget.solve_options import SolveOptions
from retarget.stance import Stance
from sim.embodiment import Embodiment
from sim.rotations import matrix_to_quat


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


@dataclass(frozen=True)
class _Asked:
    """What is asked of the frames of clips, one after another.

    Attributes:
        targets: of all T frames.
        firmness: (T, 4) how firmly parts of the feet are held; None without contact.
        lengths: frames of each clip.
        curvature: (n,) of what tracking costs.
        fps: frames a second.
        still: (T,) how much the body stands on the spot, 0 to 1; None without contact.
    """

    targets: Targets
    firmness: np.ndarray | None
    lengths: Sequence[int]
    curvature: Tensor
    fps: float
    still: np.ndarray | None = None

    def at(self, index: Tensor) -> tuple[Targets, np.ndarray | None]:
        """The targets and firmness of some frames."""
        some = self.targets.at(index)
        return some, None if self.firmness is None else self.firmness[index.cpu().numpy()]


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
        self._collision = SelfCollision(embodiment, self.equations.coordinates)
        self._newton = GaussNewton(embodiment, self.equations, self._collision, self.options)
        self._balance = None if self.equations.feet is None else Balance(embodiment)

    @torch.no_grad()
    def solve(
        self,
        clips: Sequence[tuple[Tensor, Tensor]],
        fps: float,
        postures: Sequence[Tensor] | None = None,
    ) -> list[Solution]:
        """Solve clips together.

        Args:
            clips: targets (T, F, 3) and (T, F, 3, 3) of each.
            fps: frames a second of all.
            postures: (T, m) independent joints (rad) of each to begin at and to be pulled to, NaN
                where they are not known; otherwise the neutral posture is.
        """
        options = self.options
        lengths = [len(position) for position, _ in clips]
        position = torch.cat([p for p, _ in clips]).to(self.device, torch.float64)
        rotation = torch.cat([r for _, r in clips]).to(self.device, torch.float64)
        known = None
        if postures is not None:
            known = torch.cat(list(postures)).to(self.device, torch.float64)
        targets = Targets(position, rotation, posture=known)
        standing = firmness = still = None
        held = options.contact and self.equations.feet is not None
        if held:
            standing, firmness = self.stance.find(targets, lengths, fps, options.contact_speed)
            parts = clip_parts(lengths)
            still = np.concatenate([contact.stillness(standing[part], fps) for part in parts])
        joints, root, curvature, start = self._start(targets, lengths, fps)
        if held:
            self.stance.level_floor(joints, root, targets, start, standing)
        asked = _Asked(targets, firmness, lengths, curvature, fps, still)
        level = start
        steps = {self._middle(fps): options.middle_steps, 1: options.last_steps}
        for stride in sorted(steps, reverse=True):
            joints = level.fill(joints)
            root = None if root is None else level.fill_roots(root)
            level = self._level(lengths, stride)
            joints, root = _rows(level.index, joints, root)
            joints, root = self._improve(joints, root, asked, level, steps[stride])
        for turn in range(options.balance_rounds if held and options.balance else 0):
            # Parts that are led around each other are not where they were: balance counts on it.
            parted = turn > 0 and options.avoid_self_collision
            seen = self._kept_apart(joints, root, asked) if parted else (joints, root)
            joints, root, asked = self._balanced(joints, root, asked, seen)
        if options.avoid_self_collision:
            joints, root = self._kept_apart(joints, root, asked)
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

    def _improve(
        self,
        joints: Tensor,
        root: Tensor | None,
        asked: _Asked,
        level: Level,
        steps: int,
        detour: Detour | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Take steps on the frames of a level, contact held."""
        options, rate = self.options, asked.fps / level.stride
        stiffness = self._stiffness(asked.curvature, options.smoothing_hz, rate)
        targets, firmness = asked.at(level.index)
        for number in range(steps):
            if firmness is not None:
                self.stance.hold(joints, root, targets, firmness, level.lengths, rate)
            scale = options.damping if number else 1.0
            joints, root = self._newton.step(
                joints, root, targets, stiffness, level.link, scale, detour
            )
        return joints, root

    def _balanced(
        self, joints: Tensor, root: Tensor, asked: _Asked, seen: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, _Asked]:
        """Postures (T, ...) whose weight rests on their feet, and what is asked of them then.

        Args:
            joints, root, asked: as they are.
            seen: the postures whose weight should rest there: these, or what becomes of them.
        """
        angles, pose = seen
        qpos = self.equations.coordinates.qpos(angles.to(self.dtype), pose.to(self.dtype)).double()
        qpos[:, :7] = pose  # far from the origin single precision would shake it
        points = self.stance.foot_points(angles, pose)
        margins = (self.options.balance_margin, self.options.standing_margin)
        by = self._balance.find(
            qpos.cpu().numpy(), points, asked.lengths, asked.fps, asked.still, margins
        )
        moved = self._balance.moved(asked.targets.position, by)
        asked = replace(asked, targets=replace(asked.targets, position=moved))
        # Most of the way on fewer frames, as in the solution itself.
        steps, last = self.options.balance_steps
        level = self._level(asked.lengths, self._middle(asked.fps))
        before = _rows(level.index, joints, root)
        after = self._improve(*before, asked, level, steps)
        moved = self._newton.moved(joints, root, level.fill(deviation(*before, *after)))
        return *self._improve(*moved, asked, self._level(asked.lengths, 1), last), asked

    def _kept_apart(
        self, joints: Tensor, root: Tensor | None, asked: _Asked
    ) -> tuple[Tensor, Tensor | None]:
        """The same postures (T, ...), but for clips in which parts of the body are too near."""
        near = self._collision.frames(joints, root)
        parts = [part for part in clip_parts(asked.lengths) if near[part].any()]
        if not parts:
            return joints, root
        index = torch.cat([torch.arange(p.start, p.stop, device=self.device) for p in parts])
        lengths = [part.stop - part.start for part in parts]
        own = _Asked(*asked.at(index), lengths, asked.curvature, asked.fps)
        moved, turned = self._deviate(*_rows(index, joints, root), own)
        joints = joints.index_copy(0, index, moved)
        return joints, None if root is None else root.index_copy(0, index, turned)

    def _deviate(
        self, joints: Tensor, root: Tensor | None, asked: _Asked
    ) -> tuple[Tensor, Tensor | None]:
        """Postures that deviate smoothly from those given, so that parts stay apart."""
        options, plain, found = self.options, (joints, root), None
        slow = min(options.detour_hz, options.smoothing_hz)
        coarse = max(1, int(asked.fps / (options.detour_rate * slow)))
        for stride, steps in zip((coarse, 1), options.detour_steps, strict=True):
            level = self._level(asked.lengths, stride)
            rate = asked.fps / stride
            joints, root = _rows(level.index, *plain)
            more = self._stiffness(asked.curvature, slow, rate) - self._stiffness(
                asked.curvature, options.smoothing_hz, rate
            )
            detour = Detour(joints, root, more)
            if found is not None:
                joints, root = self._newton.moved(joints, root, found)
            joints, root = self._improve(joints, root, asked, level, steps, detour)
            found = level.fill(detour.deviation(joints, root))
        return joints, root

    def _middle(self, fps: float) -> int:
        """Frames between those of the second level."""
        options = self.options
        return max(1, int(fps / (options.middle_rate * options.smoothing_hz)))

    def _level(self, lengths: Sequence[int], stride: int) -> Level:
        return Level(lengths, stride, self.dtype, self.device)

    def _stiffness(self, curvature: Tensor, frequency: float, rate: float) -> Tensor:
        """Cost of squared acceleration that halves motion at `frequency` (Hz)."""
        return curvature / (2 * math.pi * frequency / rate) ** 4

    def _start(
        self, targets: Targets, lengths: Sequence[int], fps: float
    ) -> tuple[Tensor, Tensor | None, Tensor, Level]:
        """Postures of the first level, and the curvature of what tracking costs there."""
        options = self.options
        level = self._level(lengths, options.start_stride)
        few = targets.at(level.index)
        joints = self._newton.wanted(few)[0].expand(len(level.index), -1)
        root = self._root_from_main_site(few)
        none = torch.zeros(self.equations.coordinates.width, dtype=self.dtype, device=self.device)
        for _ in range(options.start_steps):
            joints, root = self._newton.step(joints, root, few, none, level.link)
        hessian, _ = self.equations(joints, root, few)
        curvature = hessian.diagonal(dim1=1, dim2=2).mean(0).clamp_min(options.least_curvature)
        for frequency in options.start_hz:
            stiffness = self._stiffness(curvature, frequency, fps / level.stride)
            joints, root = self._newton.step(joints, root, few, stiffness, level.link)
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


def _rows(index: Tensor, joints: Tensor, root: Tensor | None) -> tuple[Tensor, Tensor | None]:
    return joints[index], None if root is None else root[index]
