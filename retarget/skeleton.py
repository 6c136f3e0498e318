"""The source skeleton, fitted to a body: what the captured joint rotations are played on.

A performer's bones differ from the model's. The SMPL skeleton is therefore given the model's
proportions once, and every clip's joint rotations move this fitted skeleton:

1. shape: the betas and the scale s that bring the SMPL joint centres nearest to the model's in the
   T-pose. With J(β) = J0 + D β the unknowns s and s β enter linearly: one ridge regression.
2. segments: what shape cannot give is made up by segment. Each limb bone gets exactly the model's
   length along SMPL's own direction, hips and shoulders the model's positions, the spine one scale.
3. frames: each tracked frame has a constant offset from its SMPL joint, found in the T-pose, where
   the model's limb segments are first turned by the smallest rotation onto SMPL's bone directions.

The translation of the root is scaled by the ratio of leg lengths, model over performer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from retarget.body_model import JOINT_NAMES, BodyModel
from retarget.tracks import track_frames, tracks
from sim.embodiment import Embodiment
from sim.kinematics import Kinematics
from sim.rotations import quat_to_matrix

#: SMPL's axes (y up, facing +z) in the world's (z up, facing -y).
SMPL_TO_WORLD = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
#: Number of joints that all SMPL-family models share: the body without fingers and face.
BODY_JOINTS = 22
_NAMES = JOINT_NAMES["smplh"][:BODY_JOINTS]
#: Limb bones, by the joint at their upper and at their lower end.
_BONES = (("hip", "knee"), ("knee", "ankle"), ("ankle", "foot"),
          ("shoulder", "elbow"), ("elbow", "wrist"))  # fmt: skip
_SITE_OF_JOINT = {"hip": "hip", "knee": "knee", "ankle": "ankle", "foot": "toes",
                  "shoulder": "shoulder", "elbow": "elbow", "wrist": "hand"}  # fmt: skip
_RIDGE = 1e-4


@dataclass(frozen=True)
class FittedSkeleton:
    """An SMPL skeleton with a body's proportions.

    Attributes:
        names: (J,) joint names.
        parents: (J,) with -1 for the root.
        offsets: (J, 3) each joint in its parent's axes, SMPL axes at rest (m); zero for the root.
        base: index of the joint that is the root of the motion: the pelvis, or the chest (spine3)
            of a body whose thorax is fixed.
        base_position: (3,) world position of a fixed base, or None.
        frame_joint: (F,) joint that each track follows.
        frame_position: (F, 3) the frame's origin in its joint's axes.
        frame_rotation: (F, 3, 3) the frame's axes in its joint's axes.
        betas: (B,) fitted shape.
        scale: fitted scale, model over SMPL.
        leg_length: hip to ankle (m).
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: np.ndarray
    base: int
    base_position: np.ndarray | None
    frame_joint: np.ndarray
    frame_position: np.ndarray
    frame_rotation: np.ndarray
    betas: np.ndarray
    scale: float
    leg_length: float

    def pose(self, quat: Tensor, root: Tensor) -> tuple[Tensor, Tensor]:
        """Play joint rotations.

        Args:
            quat: (T, J, 4) local joint rotations, w first; for the root in world axes.
            root: (T, 3) world position of the base; ignored where the base is fixed.

        Returns:
            (T, J, 3) joint positions and (T, J, 3, 3) joint axes in the world.
        """
        local = quat_to_matrix(quat)
        above = _ancestors(self.parents, self.base)
        offsets = torch.as_tensor(self.offsets, dtype=quat.dtype, device=quat.device)
        positions: list[Tensor] = [torch.empty(0)] * len(self.parents)
        rotations: list[Tensor] = [torch.empty(0)] * len(self.parents)
        for joint, parent in enumerate(self.parents):
            if parent < 0:
                rotations[joint], positions[joint] = local[:, joint], torch.zeros_like(root)
                continue
            rotations[joint] = rotations[parent] @ local[:, joint]
            positions[joint] = positions[parent] + rotations[parent] @ offsets[joint]
        position, rotation = torch.stack(positions, 1), torch.stack(rotations, 1)
        if self.base_position is None:
            return position + root[:, None], rotation
        # Seen from the chest, which does not move: what is above it in the tree has no meaning.
        upright = torch.as_tensor(SMPL_TO_WORLD, dtype=quat.dtype, device=quat.device)
        turn = upright @ rotation[:, self.base].transpose(-1, -2)
        origin = torch.as_tensor(self.base_position, dtype=quat.dtype, device=quat.device)
        position = origin + torch.einsum(
            "tij,tkj->tki", turn, position - position[:, self.base : self.base + 1]
        )
        position[:, above] = origin
        return position, turn[:, None] @ rotation

    def frames(self, position: Tensor, rotation: Tensor) -> tuple[Tensor, Tensor]:
        """Where posed joints want the tracked frames: (T, F, 3) and (T, F, 3, 3)."""

        def constant(array: np.ndarray) -> Tensor:
            return torch.as_tensor(array, dtype=position.dtype, device=position.device)

        axes = rotation[:, self.frame_joint]
        offset = torch.einsum("tfij,fj->tfi", axes, constant(self.frame_position))
        wanted = position[:, self.frame_joint] + offset
        return wanted, axes @ constant(self.frame_rotation)


def leg_length(joints: np.ndarray) -> float:
    """Hip to knee to ankle (m), mean of both sides, of SMPL joint positions (J, 3)."""
    lengths = [
        np.linalg.norm(joints[_NAMES.index(f"{side}_{lower}")] - joints[_NAMES.index(upper_name)])
        for side in ("left", "right")
        for upper_name, lower in ((f"{side}_hip", "knee"), (f"{side}_knee", "ankle"))
    ]
    return float(np.sum(lengths) / 2)


def fit_skeleton(body_model: BodyModel, embodiment: Embodiment) -> FittedSkeleton:
    """Give a body model's skeleton the proportions of a body (once for each pair; cached)."""
    key = (body_model.path, body_model.model_type, body_model.gender, embodiment.fingerprint)
    return _fit(_Key(key, body_model, embodiment))


class _Key:
    """Hashes as its key, and carries what the fit needs."""

    def __init__(self, key: tuple, body_model: BodyModel, embodiment: Embodiment) -> None:
        self.key, self.body_model, self.embodiment = key, body_model, embodiment

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.key == other.key


@lru_cache(maxsize=32)
def _fit(key: _Key) -> FittedSkeleton:
    body_model, embodiment = key.body_model, key.embodiment
    centres, frame_position, frame_rotation = _model_t_pose(embodiment)
    betas, scale = _fit_shape(body_model, centres)
    joints = scale * body_model.joints(betas) @ SMPL_TO_WORLD.T
    fitted = _fit_segments(joints, body_model.parents, centres)
    names = JOINT_NAMES[body_model.model_type]
    follows = tracks(embodiment)
    frame_joint = np.array([names.index(track.joint) for track in follows])
    turn = np.stack([_onto_bone(track.joint, centres, fitted) for track in follows])
    rotation = SMPL_TO_WORLD.T @ turn @ frame_rotation
    offset = np.zeros((len(follows), 3))
    for row, track in enumerate(follows):
        if track.is_site and not _is_limb(track.joint):
            # The shift between limb frames and their joints is nought: bones have equal lengths.
            offset[row] = (frame_position[row] - fitted[frame_joint[row]]) @ SMPL_TO_WORLD
    parents = tuple(int(parent) for parent in body_model.parents)
    offsets = np.array(
        [fitted[i] - fitted[p] if p >= 0 else np.zeros(3) for i, p in enumerate(parents)]
    )
    base = 0 if embodiment.has_root else names.index("spine3")
    return FittedSkeleton(
        names=names,
        parents=parents,
        offsets=offsets @ SMPL_TO_WORLD,
        base=base,
        base_position=None if embodiment.has_root else fitted[base],
        frame_joint=frame_joint,
        frame_position=offset,
        frame_rotation=rotation,
        betas=betas,
        scale=scale,
        leg_length=leg_length(fitted) if embodiment.has_root else 0.0,
    )


def _model_t_pose(embodiment: Embodiment) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Joint centres by SMPL name, and the tracked frames, of the model in its T-pose."""
    model = embodiment.model
    qpos = np.stack((model.qpos0, model.qpos0))
    for side in "lr":
        # Arms straight out to the sides, palms down and thumbs forward as in SMPL's rest pose.
        qpos[1, model.joint(f"shoulder_elv_{side}").qposadr[0]] = np.pi / 2
    qpos = torch.as_tensor(embodiment.couplings.complete_qpos(qpos))
    position, rotation = Kinematics(model, track_frames(embodiment))(qpos)
    sites = dict(zip(embodiment.mimic_sites, position[1].numpy(), strict=False))
    resting = dict(zip(embodiment.mimic_sites, position[0].numpy(), strict=False))
    centres: dict[str, np.ndarray] = {}
    for side in ("left", "right"):
        # SMPL's shoulders do not rise with the arms at rest: take the model's with arms hanging.
        lift = resting[f"{side}_shoulder_mimic"] - sites[f"{side}_shoulder_mimic"]
        for joint, site in _SITE_OF_JOINT.items():
            name = f"{side}_{site}_mimic"
            if name in sites:
                arm = joint in ("shoulder", "elbow", "wrist")
                centres[f"{side}_{joint}"] = sites[name] + (lift if arm else 0.0)
    return centres, position[1].numpy(), rotation[1].numpy()


def _fit_shape(body_model: BodyModel, centres: dict[str, np.ndarray]) -> tuple[np.ndarray, float]:
    """Betas (B,) and scale that bring SMPL's joint centres to the model's."""
    known = [name for name in _NAMES if name in centres]
    index = [_NAMES.index(name) for name in known]
    template = body_model.template[index] @ SMPL_TO_WORLD.T
    directions = np.einsum("ij,kjb->kib", SMPL_TO_WORLD, body_model.directions[index])
    count = directions.shape[-1]
    betas, scale = np.zeros(count), 1.0
    for _ in range(5):
        # The model's bones in the directions that SMPL's have at present.
        joints = body_model.joints(betas) @ SMPL_TO_WORLD.T
        wanted = _fit_segments(scale * joints, body_model.parents, centres)[index]
        columns = np.concatenate((template[..., None], directions), axis=-1)
        # Where the skeleton stands is free.
        columns, wanted = columns - columns.mean(0), wanted - wanted.mean(0)
        matrix = columns.reshape(-1, count + 1)
        ridge = _RIDGE * np.eye(count + 1) * len(known)
        ridge[0, 0] = 0.0
        solution = np.linalg.solve(matrix.T @ matrix + ridge, matrix.T @ wanted.ravel())
        scale = float(solution[0])
        betas = solution[1:] / scale
    return betas, scale


def _fit_segments(
    joints: np.ndarray, parents: np.ndarray, centres: dict[str, np.ndarray]
) -> np.ndarray:
    """Give joints (J, 3), in world axes, the model's bone lengths and hip and shoulder places."""
    fitted = joints.copy()
    spot = {name: i for i, name in enumerate(_NAMES)}
    sides = ("left", "right")

    def middle(part: str) -> np.ndarray:
        return sum(joints[spot[f"{side}_{part}"]] for side in sides) / 2

    trunk = [i for i, name in enumerate(_NAMES) if not _is_limb(name)]
    shoulder = sum(centres[f"{side}_shoulder"] for side in sides) / 2
    if f"{sides[0]}_hip" in centres:
        hip = sum(centres[f"{side}_hip"] for side in sides) / 2
        stretch = (shoulder - hip)[2] / (middle("shoulder") - middle("hip"))[2]
        fitted[trunk] = hip + stretch * (joints[trunk] - middle("hip"))
    else:
        fitted[trunk] = shoulder + (joints[trunk] - middle("shoulder"))
    for side in sides:
        for part in ("hip", "shoulder"):
            if f"{side}_{part}" in centres:
                fitted[spot[f"{side}_{part}"]] = centres[f"{side}_{part}"]
        for upper, lower in _BONES:
            above, below = f"{side}_{upper}", f"{side}_{lower}"
            if below not in centres:
                continue
            bone = joints[spot[below]] - joints[spot[above]]
            length = np.linalg.norm(centres[below] - centres[above])
            fitted[spot[below]] = fitted[spot[above]] + bone * length / np.linalg.norm(bone)
    # Fingers move with the wrist.
    for joint in range(len(_NAMES), len(joints)):
        fitted[joint] = fitted[parents[joint]] + joints[joint] - joints[parents[joint]]
    return fitted


def _onto_bone(joint: str, centres: dict[str, np.ndarray], fitted: np.ndarray) -> np.ndarray:
    """The smallest rotation (3, 3) of the model's segment at `joint` onto SMPL's bone."""
    side, _, part = joint.partition("_")
    if side not in ("left", "right"):
        return np.eye(3)
    # A hand or a toe that is straight at rest stays straight.
    part = {"wrist": "elbow", "foot": "ankle"}.get(part, part)
    part = "elbow" if part[-1].isdigit() else part
    for upper, lower in _BONES:
        above, below = f"{side}_{upper}", f"{side}_{lower}"
        if part == upper and below in centres:
            model = centres[below] - centres[above]
            smpl = fitted[_NAMES.index(below)] - fitted[_NAMES.index(above)]
            if upper == "ankle":
                # Both soles are flat at rest: only the direction in which the foot points differs.
                model, smpl = model * [1, 1, 0], smpl * [1, 1, 0]
            return _smallest_rotation(model, smpl)
    return np.eye(3)


def _smallest_rotation(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    start, end = start / np.linalg.norm(start), end / np.linalg.norm(end)
    axis, cosine = np.cross(start, end), float(start @ end)
    k = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + k + k @ k / (1 + cosine)


def _is_limb(joint: str) -> bool:
    return joint.partition("_")[2] in _SITE_OF_JOINT


def _ancestors(parents: tuple[int, ...], joint: int) -> list[int]:
    above = []
    while joint >= 0:
        above.append(joint)
        joint = parents[joint]
    return above
