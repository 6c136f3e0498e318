"""The Gauss-Newton model of what tracking and foot contact cost, frame by frame.

Every term is a squared error of a frame fixed to a body. Its Gauss-Newton Hessian and gradient
are first gathered as a 6 x 6 matrix and a 6-vector on the frame's twist (linear over angular
velocity),

    W_f = sum G' D G,   v_f = sum G' D e,   with G = [1, -[r]x] for a point at arm r,

and then carried to the independent coordinates by the frame's Jacobian: H = sum_f J_f' W_f J_f and
g = sum_f J_f' v_f. Orientation errors are rotation vectors in world axes.

A frame of one limb is moved by few coordinates: frames are gathered in groups (four on a body with
arms and legs) whose Jacobians are small and full.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from retarget.foot_geometry import FootGeometry
from retarget.tracks import track_frames, tracks
from sim.embodiment import Embodiment
from sim.independent import IndependentCoordinates
from sim.kinematics import Kinematics, Pose

#: Orientation errors beyond this (rad) lose their weight (scale of Cauchy's loss).
ANGLE_SCALE = 0.6
_CHUNK = 512  # frames whose Jacobians are in the processor's cache at a time


@dataclass
class Targets:
    """What is asked of each frame.

    Attributes:
        position: (T, F, 3) wanted origins of the tracked frames (m, world).
        rotation: (T, F, 3, 3) wanted axes.
        hold: (T, K) how firmly a foot point is held in place, 0 to 1; None without contact terms.
        anchor: (T, K, 2) where it is held (m).
        press: (T, K) how firmly it is pressed to the floor's height, 0 to 1.
        posture: (T, m) independent joints (rad) that postures are pulled to, NaN where any will do;
            or None.
    """

    position: Tensor
    rotation: Tensor
    hold: Tensor | None = None
    anchor: Tensor | None = None
    press: Tensor | None = None
    posture: Tensor | None = None

    def at(self, index: Tensor) -> Targets:
        """What is wanted of some frames; what is held is found for them anew."""
        posture = None if self.posture is None else self.posture[index]
        return Targets(self.position[index], self.rotation[index], posture=posture)


@dataclass(frozen=True)
class ContactWeights:
    """Costs per m² of a foot point: moving along the floor, off its height, and through it."""

    slide: float = 20.0
    height: float = 20.0
    sink: float = 1000.0
    margin: float = 0.01


@dataclass(frozen=True)
class _Group:
    """Frames that the same few coordinates move, by the same joints where they do.

    Attributes:
        frames: (G,) which frames.
        columns: (C,) which coordinates.
        moves: (G, C, 1, 1) one where a coordinate moves a frame.
        node: (P,) joints, each with the coordinate that drives it in `drives` (P,), places in C.
        dof: (P,) the velocity address of each joint.
    """

    frames: Tensor
    columns: Tensor
    moves: Tensor
    node: Tensor
    drives: Tensor
    dof: Tensor


class NormalEquations:
    """Builds H (T, n, n) and g (T, n) at given postures.

    Attributes:
        coordinates: the independent coordinates.
        feet: the soles, or None for a body without feet.
    """

    def __init__(
        self,
        embodiment: Embodiment,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        contact: ContactWeights | None = None,
    ) -> None:
        """Prepare a body."""
        self.contact = contact or ContactWeights()
        self.dtype, self.device = dtype, torch.device(device)
        self.coordinates = IndependentCoordinates(embodiment, dtype, device)
        frames = track_frames(embodiment)
        self.tracked = len(frames)
        self.feet = None
        self._foot_rows: Tensor | None = None
        if embodiment.foot_geoms.get("left") is not None and len(embodiment.foot_geoms["left"]):
            self.feet = FootGeometry(embodiment, dtype, device)
            rows = []
            for foot in self.feet.frames():
                # A tracked frame at the body's own origin serves for the foot as well.
                same = [
                    i for i, f in enumerate(frames) if f.body == foot.body and not f.position.any()
                ]
                if not same:
                    frames.append(foot)
                rows.append(same[0] if same else len(frames) - 1)
            self._foot_rows = torch.as_tensor(rows, device=device)
        self.kinematics = Kinematics(embodiment.model, frames, dtype, device)
        weights = torch.zeros(len(frames), 6, dtype=dtype, device=device)
        for row, track in enumerate(tracks(embodiment)):
            weights[row, :3], weights[row, 3:] = track.position, track.orientation
        self.weights = weights
        self._groups = self._group(self.kinematics)

    def _group(self, kinematics: Kinematics) -> list[_Group]:
        """Gather frames along a limb, whose coordinates include one another's."""
        frame, node = (index.tolist() for index in kinematics.pairs)
        dof = kinematics.node_dof.tolist()
        column = self.coordinates.column_of_dof.tolist()
        first = self.coordinates.root
        # The joints by which each coordinate moves each frame.
        by: list[dict[int, set[int]]] = [{} for _ in kinematics.frames]
        for f, n in zip(frame, node, strict=True):
            if column[dof[n]] >= 0:
                by[f].setdefault(column[dof[n]], set()).add(n)
        chains: list[tuple[list[int], dict[int, set[int]]]] = []
        for f in sorted(range(len(by)), key=lambda f: -len(by[f])):
            for members, joints in chains:
                # A coordinate of several joints moves a frame by all of them, or it is no member.
                if all(joints.get(c) == nodes for c, nodes in by[f].items()):
                    members.append(f)
                    break
            else:
                chains.append(([f], by[f]))

        def index(values: list[int]) -> Tensor:
            return torch.as_tensor(values, dtype=torch.int64, device=self.device)

        groups = []
        for members, joints in chains:
            own = sorted(joints)
            drivers = [(n, place) for place, c in enumerate(own) for n in sorted(joints[c])]
            moves = torch.tensor(
                [[1.0] * first + [float(c in by[f]) for c in own] for f in members]
            )
            groups.append(
                _Group(
                    frames=index(members),
                    columns=index([*range(first), *own]),
                    moves=moves.to(self.device, self.dtype)[:, :, None, None],
                    node=index([n for n, _ in drivers]),
                    drives=index([first + place for _, place in drivers]),
                    dof=index([dof[n] for n, _ in drivers]),
                )
            )
        return groups

    def __call__(
        self, joints: Tensor, root: Tensor | None, targets: Targets
    ) -> tuple[Tensor, Tensor]:
        """Return H (T, n, n) and g (T, n) at independent joints (T, m) and roots (T, 7)."""
        blocks, gradients = [], []
        for start in range(0, len(joints), _CHUNK):
            part = slice(start, start + _CHUNK)
            block, gradient = self._chunk(
                joints[part].to(self.dtype),
                None if root is None else root[part].to(self.dtype),
                targets,
                part,
            )
            blocks.append(block)
            gradients.append(gradient)
        return torch.cat(blocks), torch.cat(gradients)

    def pose(self, joints: Tensor, root: Tensor | None) -> Pose:
        """The frames at postures."""
        return self.kinematics.pose(self.coordinates.qpos(joints, root).T)

    def foot_points(self, pose: Pose) -> tuple[Tensor, Tensor]:
        """Lowest points of the feet and their arms, (K, 3, T) each."""
        rows = self._foot_rows
        return self.feet.points(pose.position[rows], pose.rotation[rows])

    def _chunk(
        self, joints: Tensor, root: Tensor | None, targets: Targets, part: slice
    ) -> tuple[Tensor, Tensor]:
        qpos = self.coordinates.qpos(joints, root)
        pose = self.kinematics.pose(qpos.T)
        frames, count = len(self.kinematics.frames), len(joints)
        force = torch.zeros(frames, 6, count, dtype=self.dtype, device=self.device)
        force[: self.tracked] = self._tracking_error(pose, targets, part)
        weight = self.weights[..., None].repeat(1, 1, count)
        # Cauchy's loss: an orientation that the body cannot take must not tear at it.
        angle = force[:, 3:].norm(dim=1, keepdim=True)
        weight[:, 3:] /= 1 + (angle / ANGLE_SCALE) ** 2
        force *= weight
        matrix = torch.diag_embed(weight.permute(2, 0, 1))  # (T, F, 6, 6)
        if self.feet is not None:
            stance, pull = self._foot_cost(pose, targets, part)
            force[self._foot_rows] += pull
            matrix[:, self._foot_rows] += stance.permute(3, 0, 1, 2)
        turn, shift = self._twists(pose)
        slopes = self.coordinates.slopes(qpos).T
        width = self.coordinates.width
        hessian = torch.zeros(count, width * width, dtype=self.dtype, device=self.device)
        gradient = torch.zeros(count, width, dtype=self.dtype, device=self.device)
        force = force.permute(2, 0, 1)
        for group in self._groups:
            jacobian = self._jacobian(group, pose, turn, shift, slopes)  # (T, G, 6, C)
            flat = jacobian.flatten(1, 2)
            weighted = (matrix[:, group.frames] @ jacobian).flatten(1, 2)
            block = (flat.transpose(1, 2) @ weighted).flatten(1)
            pulled = flat.transpose(1, 2) @ force[:, group.frames].reshape(count, -1, 1)
            spot = (group.columns[:, None] * width + group.columns).flatten()
            hessian.index_add_(1, spot, block)
            gradient.index_add_(1, group.columns, pulled.squeeze(-1))
        return hessian.view(count, width, width), gradient

    def _twists(self, pose: Pose) -> tuple[Tensor, Tensor]:
        """Each joint's angular velocity and the velocity it gives to the world's origin (N, 3, T).

        A point at p then moves with shift + turn x p.
        """
        hinge = self.kinematics.hinge
        turn = pose.axis * hinge
        shift = torch.linalg.cross(pose.anchor, turn, dim=1) + pose.axis * (1 - hinge)
        return turn, shift

    def _jacobian(
        self, group: _Group, pose: Pose, turn: Tensor, shift: Tensor, slopes: Tensor
    ) -> Tensor:
        """The Jacobian (T, G, 6, C) of a group's frames by its coordinates."""
        count = turn.shape[-1]
        # What a coordinate does is the sum over the joints that follow it.
        total = turn.new_zeros(2, len(group.columns), 3, count)
        share = slopes[group.dof][:, None]
        total[0].index_add_(0, group.drives, turn[group.node] * share)
        total[1].index_add_(0, group.drives, shift[group.node] * share)
        if self.coordinates.root:
            axes = pose.root.transpose(0, 1)  # (axis, 3, T)
            total[0, 3:6] = axes
            total[1, 3:6] = torch.linalg.cross(pose.origin.expand(3, 3, -1), axes, dim=1)
            total[1, :3] = torch.eye(3, dtype=turn.dtype, device=turn.device)[..., None]
        turning, shifting = total[0], total[1]
        point = pose.position[group.frames]
        # cross(turning, point) written out: (G, C, 3, T)
        w, p = turning[None], point[:, None]
        linear = torch.stack(
            (
                w[:, :, 1] * p[:, :, 2] - w[:, :, 2] * p[:, :, 1],
                w[:, :, 2] * p[:, :, 0] - w[:, :, 0] * p[:, :, 2],
                w[:, :, 0] * p[:, :, 1] - w[:, :, 1] * p[:, :, 0],
            ),
            dim=2,
        )
        linear = (linear + shifting) * group.moves
        full = torch.cat((linear, turning * group.moves), dim=2)
        return full.permute(3, 0, 2, 1).contiguous()

    def _tracking_error(self, pose: Pose, targets: Targets, part: slice) -> Tensor:
        """Errors (F, 6, T) of the tracked frames."""
        wanted = targets.position[part].to(self.dtype).permute(1, 2, 0)
        axes = targets.rotation[part].to(self.dtype).permute(1, 2, 3, 0)
        linear = pose.position[: self.tracked] - wanted
        angular = rotation_error(pose.rotation[: self.tracked], axes)
        return torch.cat((linear, angular), dim=1)

    def _foot_cost(self, pose: Pose, targets: Targets, part: slice) -> tuple[Tensor, Tensor]:
        """The soles' cost on the twists of the feet's bodies: (B, 6, 6, T) and (B, 6, T)."""
        point, arm = self.foot_points(pose)
        weight, error = torch.zeros_like(point), torch.zeros_like(point)
        height = point[:, 2]
        if targets.hold is not None:
            hold = targets.hold[part].T.to(self.dtype)
            weight[:, :2] = self.contact.slide * hold[:, None]
            error[:, :2] = point[:, :2] - targets.anchor[part].permute(1, 2, 0).to(self.dtype)
            press = self.contact.height * targets.press[part].T.to(self.dtype)
            sink = self.contact.sink * (height < 0)
            near = self.contact.sink * (height < self.contact.margin)
            weight[:, 2] = press + torch.where(press > 0, sink, near)
            error[:, 2] = height * (press + sink) / weight[:, 2].clamp_min(1e-12)
        # D G and D e of each point, then G' from the left; G = [1, -[r]x].
        lever = _minus_cross(arm)  # (K, 3, 3, T)
        upper = torch.diag_embed(weight.transpose(1, 2)).permute(0, 2, 3, 1)  # D
        mixed = weight[:, :, None] * lever
        lower = torch.einsum("kijt,kilt->kjlt", lever, mixed)
        top = torch.cat((upper, mixed), dim=2)
        bottom = torch.cat((mixed.transpose(1, 2), lower), dim=2)
        matrix = torch.cat((top, bottom), dim=1)
        pull = weight * error
        pull = torch.cat((pull, torch.einsum("kijt,kit->kjt", lever, pull)), dim=1)
        bodies = len(self.feet.bodies)
        total = matrix.new_zeros(bodies, *matrix.shape[1:])
        force = pull.new_zeros(bodies, *pull.shape[1:])
        total.index_add_(0, self.feet.point_body, matrix)
        force.index_add_(0, self.feet.point_body, pull)
        return total, force


def rotation_error(rotation: Tensor, wanted: Tensor) -> Tensor:
    """Rotation vectors (F, 3, T), world axes, that turn `wanted` into `rotation` (F, 3, 3, T)."""
    r = torch.einsum("fikt,fjkt->fijt", rotation, wanted)
    sine = torch.stack(
        (r[:, 2, 1] - r[:, 1, 2], r[:, 0, 2] - r[:, 2, 0], r[:, 1, 0] - r[:, 0, 1]), 1
    )
    length = sine.norm(dim=1, keepdim=True)
    trace = (r[:, 0, 0] + r[:, 1, 1] + r[:, 2, 2])[:, None]
    angle = torch.atan2(length, trace - 1)
    return sine * torch.where(length < 1e-6, 0.5, angle / length.clamp_min(1e-12))


def _minus_cross(arm: Tensor) -> Tensor:
    """-[r]x (K, 3, 3, T) of arms (K, 3, T): the velocity of a point by angular velocity."""
    x, y, z = arm.unbind(1)
    zero = torch.zeros_like(x)
    rows = (zero, z, -y, -z, zero, x, y, -x, zero)
    return torch.stack(rows, dim=1).unflatten(1, (3, 3))
