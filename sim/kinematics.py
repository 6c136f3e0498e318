"""Forward kinematics in torch, batched over postures and differentiable.

Only the part of the tree that carries the asked-for frames is evaluated. Every joint is one node
whose transform from its parent node is

    R(q) = A + sin(q - q0) B + (1 - cos(q - q0)) C,
    p(q) = a + sin(q - q0) b + (1 - cos(q - q0)) c + (q - q0) d,

Rodrigues' formula with the constant transforms between the joints folded in (for a hinge d = 0, for
a slide B = C = b = c = 0), so that all local transforms are evaluated at once and only their
composition goes down the tree, level by level. Results equal mj_kinematics; Jacobians follow
MuJoCo's conventions (free joint: linear velocity in world axes, angular velocity in body axes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
import torch
from torch import Tensor

from sim.embodiment import Embodiment
from sim.rotations import quat_to_matrix


@dataclass(frozen=True)
class BodyFrame:
    """A frame fixed to a body.

    Attributes:
        body: body id.
        position: (3,) in the body's axes (m).
        rotation: (3, 3) in the body's axes.
    """

    body: int
    position: np.ndarray
    rotation: np.ndarray

    @classmethod
    def of_site(cls, model: mujoco.MjModel, site: int) -> BodyFrame:
        """The frame of a site."""
        return cls(
            int(model.site_bodyid[site]), model.site_pos[site], _matrix(model.site_quat[site])
        )

    @classmethod
    def of_body(cls, model: mujoco.MjModel, name: str) -> BodyFrame:
        """The frame of a body."""
        return cls(int(model.body(name).id), np.zeros(3), np.eye(3))


@dataclass(frozen=True)
class Pose:
    """A posture's frames, and what their Jacobian needs. Time (the batch) is the last axis.

    Attributes:
        position: (F, 3, T) frame origins (m, world).
        rotation: (F, 3, 3, T) frame axes.
        axis: (N, 3, T) joint axes in world axes, one for each node.
        anchor: (N, 3, T) a point on each joint's axis.
        root: (3, 3, T) axes of the free joint, or None.
        origin: (3, T) position of the free joint, or None.
    """

    position: Tensor
    rotation: Tensor
    axis: Tensor
    anchor: Tensor
    root: Tensor | None
    origin: Tensor | None


class Kinematics:
    """Positions, orientations and Jacobians of frames of a model.

    Attributes:
        frames: the frames, in the order of every output.
        node_dof: (N,) velocity address of each node's joint.
        hinge: (N, 1, 1) one for a hinge, zero for a slide.
        pairs: frame (P,) and node (P,) of every joint that moves a frame, the free joint left out.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        frames: Sequence[BodyFrame],
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        """Fold the model's constant transforms.

        Raises:
            ValueError: the model has a ball joint, or a free joint other than as its first.
        """
        self.frames = tuple(frames)
        tree = _Tree(model, self.frames)
        self.has_root, self.nv = tree.has_root, model.nv

        def tensor(array: np.ndarray) -> Tensor:
            return torch.as_tensor(np.asarray(array), dtype=dtype, device=device)

        def index(array: Sequence[int]) -> Tensor:
            return torch.as_tensor(np.asarray(array, dtype=np.int64), device=device)

        self.node_dof = index(tree.dof)
        self._qpos, self._rest = index(tree.qpos), tensor(tree.rest)[:, None]
        # One column for each of: 1, sin, 1 - cos, displacement. (N, 3, 4, 4)
        self._local = tensor(tree.local)
        self._axis, self._point = tensor(tree.axis), tensor(tree.point)
        self.hinge = tensor(tree.hinge)[:, None, None]
        self._levels = [(len(nodes), index(parents)) for nodes, parents in tree.levels]
        self._frame_node = index(tree.frame_node)
        self._frame_rotation = tensor(tree.frame_rotation)
        self._frame_position = tensor(tree.frame_position)
        self.pairs = (index(tree.pairs[0]), index(tree.pairs[1]))
        self._frame_moves = tensor(tree.frame_moves)[:, None, None]

    @classmethod
    def of_sites(
        cls,
        embodiment: Embodiment,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> Kinematics:
        """The mimic sites of a body."""
        model = embodiment.model
        frames = [BodyFrame.of_site(model, site) for site in embodiment.site_ids]
        return cls(model, frames, dtype, device)

    def __call__(self, qpos: Tensor) -> tuple[Tensor, Tensor]:
        """Return positions (..., F, 3) in m and rotations (..., F, 3, 3) at postures (..., nq)."""
        pose = self.pose(qpos.reshape(-1, qpos.shape[-1]).T)
        batch = (*qpos.shape[:-1], len(self.frames))
        position = pose.position.permute(2, 0, 1).reshape(*batch, 3)
        return position, pose.rotation.permute(3, 0, 1, 2).reshape(*batch, 3, 3)

    def jacobian(self, qpos: Tensor) -> Tensor:
        """Return Jacobians (..., F, 6, nv), linear over angular rows, at postures (..., nq)."""
        pose = self.pose(qpos.reshape(-1, qpos.shape[-1]).T)
        frames = len(self.frames)
        full = qpos.new_zeros(frames * self.nv, 6, pose.position.shape[-1])
        frame, node, columns = self.pair_columns(pose)
        full[frame * self.nv + self.node_dof[node]] = columns
        full = full.view(frames, self.nv, 6, -1)
        if self.has_root:
            full[:, :6] = self.root_columns(pose)
        return full.permute(3, 0, 2, 1).reshape(*qpos.shape[:-1], frames, 6, self.nv)

    def pose(self, qpos: Tensor) -> Pose:
        """Evaluate postures, qpos (nq, T) with time last."""
        count = qpos.shape[-1]
        angle = qpos[self._qpos] - self._rest
        basis = torch.stack(
            (torch.ones_like(angle), angle.sin(), 1 - angle.cos(), angle), dim=1
        )  # (N, 4, T)
        nodes = len(self._local)
        local = (self._local.view(nodes, 12, 4) @ basis).view(nodes, 3, 4, count)
        if self.has_root:
            origin = qpos[:3]
            root = quat_to_matrix(qpos[3:7].T).permute(1, 2, 0)
            above = torch.cat((root, origin[:, None]), dim=1)[None]  # (1, 3, 4, T)
        else:
            origin = root = None
            above = torch.eye(3, 4, dtype=qpos.dtype, device=qpos.device)[None, :, :, None]
            above = above.expand(1, 3, 4, count)
        worlds, start = [above], 0
        for size, parents in self._levels:
            parent = worlds[-1][parents]
            child = local[start : start + size]
            world = parent[:, :, 0, None] * child[:, None, 0]
            world = torch.addcmul(world, parent[:, :, 1, None], child[:, None, 1])
            world = torch.addcmul(world, parent[:, :, 2, None], child[:, None, 2])
            shift = torch.cat((torch.zeros_like(parent[:, :, :3]), parent[:, :, 3:]), dim=2)
            worlds.append(world + shift)
            start += size
        world = torch.cat(worlds)  # node i is row i + 1; row 0 is the root or the world
        moving = world[1:]
        rotation, position = moving[:, :, :3], moving[:, :, 3]
        carrier = world[self._frame_node]
        return Pose(
            position=_apply(carrier[:, :, :3], self._frame_position) + carrier[:, :, 3],
            rotation=torch.einsum("fijt,fjk->fikt", carrier[:, :, :3], self._frame_rotation),
            axis=_apply(rotation, self._axis),
            anchor=_apply(rotation, self._point) + position,
            root=root,
            origin=origin,
        )

    def pair_columns(self, pose: Pose) -> tuple[Tensor, Tensor, Tensor]:
        """Return the Jacobian's non-zero columns, the free joint left out.

        Returns:
            frame (P,), node (P,) and the columns (P, 6, T): how joint `node` moves `frame`.
        """
        frame, node = self.pairs
        axis, hinge = pose.axis[node], self.hinge[node]
        arm = pose.position[frame] - pose.anchor[node]
        linear = torch.linalg.cross(axis, arm, dim=1) * hinge + axis * (1 - hinge)
        return frame, node, torch.cat((linear, axis * hinge), dim=1)

    def root_columns(self, pose: Pose) -> Tensor:
        """Return how the free joint moves each frame, (F, 6 dofs, 6 rows, T)."""
        frames, count = pose.position.shape[0], pose.position.shape[-1]
        columns = pose.position.new_zeros(frames, 6, 6, count)
        columns[:, :3, :3] = torch.eye(3, dtype=columns.dtype, device=columns.device)[..., None]
        axes = pose.root.transpose(0, 1)[None]  # (1, axis, 3, T)
        arm = (pose.position - pose.origin)[:, None]
        columns[:, 3:, :3] = torch.linalg.cross(*torch.broadcast_tensors(axes, arm), dim=2)
        columns[:, 3:, 3:] = axes
        return columns * self._frame_moves[..., None]


def _apply(rotation: Tensor, vector: Tensor) -> Tensor:
    """(n, 3, 3, T) rotations of constant vectors (n, 3)."""
    return (rotation * vector[:, None, :, None]).sum(2)


def _matrix(quat: np.ndarray) -> np.ndarray:
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, quat)
    return matrix.reshape(3, 3)


def _cross_matrix(v: np.ndarray) -> np.ndarray:
    return np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])


class _Tree:
    """The joints that move some frames, as arrays in level order (numpy; built once)."""

    def __init__(self, model: mujoco.MjModel, frames: Sequence[BodyFrame]) -> None:
        kinds = model.jnt_type
        hinge, slide = mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE
        self.has_root = bool(model.njnt) and kinds[0] == mujoco.mjtJoint.mjJNT_FREE
        if not np.isin(kinds[int(self.has_root) :], (hinge, slide)).all():
            raise ValueError("kinematics: only hinges, slides and one free root are supported")
        root_body = int(model.jnt_bodyid[0]) if self.has_root else -1
        nodes: list[int] = []  # joint ids
        parent: dict[int, int] = {}  # joint id -> joint id above, -1 for root or world
        before: dict[int, tuple[np.ndarray, np.ndarray]] = {}

        def carrier(body: int) -> tuple[int, np.ndarray, np.ndarray]:
            """The last joint above (and on) a body, and the constant transform from there."""
            if body in (0, root_body):
                return -1, np.eye(3), np.zeros(3)
            joint, rotation, position = carrier(int(model.body_parentid[body]))
            position = position + rotation @ model.body_pos[body]
            rotation = rotation @ _matrix(model.body_quat[body])
            first = int(model.body_jntadr[body])
            for own in range(first, first + int(model.body_jntnum[body])):
                if own not in parent:
                    nodes.append(own)
                    parent[own], before[own] = joint, (rotation, position)
                joint, rotation, position = own, np.eye(3), np.zeros(3)
            return joint, rotation, position

        carried = [carrier(frame.body) for frame in frames]
        depth = {-1: -1}
        for joint in nodes:
            depth[joint] = depth[parent[joint]] + 1
        nodes.sort(key=lambda joint: (depth[joint], joint))
        row = {joint: i for i, joint in enumerate(nodes)} | {-1: -1}
        self.dof, self.qpos = model.jnt_dofadr[nodes], model.jnt_qposadr[nodes]
        self.rest = model.qpos0[self.qpos]
        self.axis, self.point = model.jnt_axis[nodes], model.jnt_pos[nodes]
        self.hinge = (kinds[nodes] == hinge).astype(float)
        self.local = np.zeros((len(nodes), 3, 4, 4))
        for i, joint in enumerate(nodes):
            self.local[i] = _local(*before[joint], self.axis[i], self.point[i], self.hinge[i])
        self.levels = []
        previous = [-1]
        for level in range(max(depth.values()) + 1):
            members = [joint for joint in nodes if depth[joint] == level]
            self.levels.append((members, [previous.index(parent[joint]) for joint in members]))
            previous = members
        # Row 0 of the world transforms is the root (or the world itself).
        self.frame_node = [row[joint] + 1 for joint, _, _ in carried]
        self.frame_rotation = np.stack(
            [r @ f.rotation for (_, r, _), f in zip(carried, frames, strict=True)]
        )
        self.frame_position = np.stack(
            [p + r @ f.position for (_, r, p), f in zip(carried, frames, strict=True)]
        )
        # A frame on a body that does not hang from the free joint stays where it is.
        self.frame_moves = np.array(
            [float(self.has_root and model.body_rootid[f.body] == root_body) for f in frames]
        )
        if self.has_root and not self.frame_moves.all():
            raise ValueError("kinematics: every frame must hang from the free root")
        pairs = []
        for i, (joint, _, _) in enumerate(carried):
            while joint >= 0:
                pairs.append((i, row[joint]))
                joint = parent[joint]
        self.pairs = np.array(sorted(pairs), dtype=int).reshape(-1, 2).T


def _local(
    rotation: np.ndarray, position: np.ndarray, axis: np.ndarray, point: np.ndarray, hinge: float
) -> np.ndarray:
    """Coefficients (3, 4, 4) of a joint's transform on (1, sin, 1 - cos, displacement)."""
    k = _cross_matrix(axis)
    local = np.zeros((3, 4, 4))
    local[:, :3, 0], local[:, 3, 0] = rotation, position
    if not hinge:
        local[:, 3, 3] = rotation @ axis
        return local
    # Turning about `point`: x -> point + Rot (x - point), with Rot = 1 + sin K + (1 - cos) K².
    for column, matrix in ((1, rotation @ k), (2, rotation @ k @ k)):
        local[:, :3, column], local[:, 3, column] = matrix, -matrix @ point
    return local
