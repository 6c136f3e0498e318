"""The soles of a solution: when they stand, where the floor is, and what is asked of them.

Between the numbers of `retarget.contact`, which knows heights, speeds and places of points only,
and the targets of `retarget.normal_equations`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from retarget import contact
from retarget.foot_geometry import GROUPS
from retarget.levels import Level, clip_parts
from retarget.normal_equations import NormalEquations, Targets
from retarget.tracks import tracks
from sim.embodiment import Embodiment


class Stance:
    """Finds and holds the standing feet of one body."""

    def __init__(self, embodiment: Embodiment, equations: NormalEquations) -> None:
        """Use the kinematics of the equations, which have feet if the body has."""
        self.embodiment, self.equations = embodiment, equations
        self.dtype, self.device = equations.dtype, equations.device

    def find(
        self,
        targets: Targets,
        lengths: Sequence[int],
        fps: float,
        limits: tuple[float, float] = contact.SPEED,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Level the floor and find when each part of a foot stands, from the targets alone.

        Args:
            targets: of all frames; their heights change with the floor's.
            lengths: frames of each clip.
            fps: frames a second.
            limits: speeds of standing parts, as `contact.detect` takes them.

        Returns:
            (T, 4) bool and (T, 4) how firmly it is held.
        """
        points = self._wanted_foot_points(targets)
        group = self.equations.feet.group.flatten(0, 1).cpu().numpy()
        sides = [np.flatnonzero(self.equations.feet.side.cpu().numpy() == side) for side in (0, 1)]
        standing, firmness = [], []
        for part in clip_parts(lengths):
            own = points[part]
            speed = contact.point_speed(own, fps)
            rows = np.arange(len(own))
            lowest = [side[own[:, side, 2].argmin(1)] for side in sides]
            plane = contact.floor_plane(
                np.stack([own[rows, k] for k in lowest], 1),
                np.stack([speed[rows, k] for k in lowest], 1),
            )
            # A sheared space has a level floor; at a slope of a degree bones change by 0.02 %.
            place = targets.position[part]
            place[..., 2] -= contact.floor_height(plane, place[..., 0], place[..., 1])
            above = own[..., 2] - contact.floor_height(plane, own[..., 0], own[..., 1])
            height = np.stack([above[:, g].min(1) for g in group], axis=1)
            slowest = np.stack([speed[:, g].min(1) for g in group], axis=1)
            pace = contact.pace(place[:, 0, :2].double().cpu().numpy(), fps)
            found = contact.detect(height, slowest / pace[:, None], fps, limits)
            firmness.append(contact.hold(found, fps, pace))
            # While the hold sets in or lets go the foot is coming down or leaving.
            standing.append(firmness[-1] >= 0.5)
        return np.concatenate(standing), np.concatenate(firmness)

    def _wanted_foot_points(self, targets: Targets) -> np.ndarray:
        """Lowest points (T, K, 3) of soles that are just where their targets are."""
        feet, names = self.equations.feet, [t.frame for t in tracks(self.embodiment)]
        neutral = torch.as_tensor(self.embodiment.model.qpos0, dtype=self.dtype).to(self.device)
        pose = self.equations.kinematics.pose(neutral[:, None])
        origins, axes = [], []
        for side in ("left", "right"):
            ankle, foot = names.index(f"{side}_ankle_mimic"), names.index(f"calcn_{side[0]}")
            toes = names.index(f"{side}_toes_mimic")
            # The heel's body as it lies under the ankle in the neutral posture.
            turn = pose.rotation[foot, ..., 0].double()
            offset = turn.T @ (pose.position[foot] - pose.position[ankle])[:, 0].double()
            origins += [
                targets.position[:, ankle] + targets.rotation[:, foot] @ offset,
                targets.position[:, toes],
            ]
            axes += [targets.rotation[:, foot], targets.rotation[:, toes]]
        order = [self.embodiment.model.body(b).name for b in feet.bodies]
        rank = [order.index(n) for n in ("calcn_l", "toes_l", "calcn_r", "toes_r")]
        position, rotation = torch.stack(origins, 1)[:, rank], torch.stack(axes, 1)[:, rank]
        points, _ = feet.points(
            position.permute(1, 2, 0).to(self.dtype), rotation.permute(1, 2, 3, 0).to(self.dtype)
        )
        return points.permute(2, 0, 1).double().cpu().numpy()

    def level_floor(
        self,
        joints: Tensor,
        root: Tensor,
        targets: Targets,
        level: Level,
        standing: np.ndarray,
    ) -> None:
        """Move each clip so that what stands does so at height zero, by the first postures."""
        points = self.foot_points(joints, root)[..., 2]
        group = self.equations.feet.group.flatten(0, 1).cpu().numpy()
        heights = np.stack([points[:, g].min(1) for g in group], axis=1)
        down = standing[level.index.cpu().numpy()]
        for few, part in zip(clip_parts(level.lengths), clip_parts(level.clips), strict=True):
            own = heights[few][down[few]]
            # A clip without contact is put on its lowest point.
            floor = float(np.median(own)) if len(own) else float(heights[few].min())
            targets.position[part, :, 2] -= floor
            root[few, 2] -= floor

    def hold(
        self,
        joints: Tensor,
        root: Tensor,
        targets: Targets,
        firmness: np.ndarray,
        lengths: Sequence[int],
        fps: float,
    ) -> None:
        """Set what is asked of the soles, from where they are now."""
        feet, points = self.equations.feet, self.foot_points(joints, root)
        hold = np.zeros(points.shape[:2])
        anchor = points[..., :2].copy()
        parts = len(GROUPS)
        group, sole = feet.group.cpu().numpy(), feet.sole.cpu().numpy()
        for side in (0, 1):
            own = firmness[:, parts * side : parts * (side + 1)]
            # The middle of the sole is down when both ends are.
            for points_of, firm in (
                (group[side, 0], own[:, 0]),
                (group[side, 1], own[:, 1]),
                (sole[side], own.min(1)),
            ):
                hold[:, points_of] = firm[:, None]
                for part in clip_parts(lengths):
                    anchor[part, points_of] = contact.anchors(
                        points[part][:, points_of, :2], firm[part], fps
                    )
        # The lowest point of each part carries it; the others only tend to the floor.
        press = 0.2 * hold
        for member in (*group.reshape(-1, group.shape[-1]), *sole):
            index = np.flatnonzero(member)
            lowest = index[points[:, index, 2].argmin(1)]
            rows = np.arange(len(points))
            press[rows, lowest] = hold[rows, lowest]

        def tensor(array: np.ndarray) -> Tensor:
            return torch.as_tensor(array, dtype=self.dtype, device=self.device)

        targets.hold, targets.anchor, targets.press = tensor(hold), tensor(anchor), tensor(press)

    def foot_points(self, joints: Tensor, root: Tensor) -> np.ndarray:
        """Lowest points (T, K, 3) of the feet."""
        found = []
        for start in range(0, len(joints), 1024):
            part = slice(start, start + 1024)
            pose = self.equations.pose(joints[part].to(self.dtype), root[part].to(self.dtype))
            found.append(self.equations.foot_points(pose)[0].permute(2, 0, 1))
        return torch.cat(found).double().cpu().numpy()
