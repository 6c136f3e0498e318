"""OpenSim coordinates as joints of the body: legs, trunk, arms and pelvis.

OpenSim's ground has X forwards, Y up, Z to the right. The body faces -y of a world with z up, so
these are -y, z and -x. All signs below were checked against the model's joint axes.

Two families of models count differently. In that of gait2392 (Delp et al. 1990, Hamner et al.
2010) flexion of the knee is negative and the toes' extension positive; in that of Rajagopal et al.
2016 flexion of knee and toes is positive, as in this body. Knees flex much further than they
overextend, so the sign of the largest knee angle tells which it is.
"""

from __future__ import annotations

import mujoco
import numpy as np

from retarget.importers.posture import PostureClip, no_match
from retarget.importers.shoulder import COORDINATES, JOINTS, rotation, shoulder_angles
from retarget.importers.source import SourceClip, SourceError
from retarget.importers.storage import TRANSLATIONS
from sim.embodiment import Embodiment

#: Ground axes X, Y, Z of OpenSim as columns in the world.
TO_WORLD = np.array([[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
#: Body-fixed rotations of the pelvis about Z, X and Y, in this order.
PELVIS_ROTATIONS = ("pelvis_tilt", "pelvis_list", "pelvis_rotation")
_PELVIS_AXES = np.eye(3)[[2, 0, 1]]
#: Trunk joint of each lumbar rotation.
LUMBAR = {
    "lumbar_extension": "flex_extension",
    "lumbar_bending": "lat_bending",
    "lumbar_rotation": "axial_rotation",
}
#: Joint of each coordinate of a limb, its sign and what is added (rad). OpenSim counts pronation
#: from the supinated forearm, the body from midway. Deviation of the wrist is ulnar in OpenSim.
_LIMB = {
    "hip_flexion": ("hip_flexion", 1.0, 0.0),
    "hip_adduction": ("hip_adduction", 1.0, 0.0),
    "hip_rotation": ("hip_rotation", 1.0, 0.0),
    "knee_angle": ("knee_angle", 1.0, 0.0),
    "ankle_angle": ("ankle_angle", 1.0, 0.0),
    "subtalar_angle": ("subtalar_angle", 1.0, 0.0),
    "mtp_angle": ("mtp_angle", 1.0, 0.0),
    "elbow_flex": ("elbow_flex", 1.0, 0.0),
    "pro_sup": ("pro_sup", 1.0, -np.pi / 2),
    "wrist_flex": ("flexion", 1.0, 0.0),
    "wrist_dev": ("deviation", -1.0, 0.0),
}
#: Coordinates whose sign is that of the knee's family.
_BY_FAMILY = ("knee_angle", "mtp_angle")


def matched_coordinates(clip: SourceClip, embodiment: Embodiment) -> list[str]:
    """Return the columns that the body can use.

    Raises:
        SourceError: there is none, or the pelvis' orientation is missing for a free root.
    """
    independent, matched = set(embodiment.independent_joints), []
    for name in clip.columns:
        stem, _, side = name.rpartition("_")
        if side in ("r", "l") and stem in COORDINATES:
            # A rotation needs all three; where a table has the body's own shoulder, that counts.
            triple = all(f"{coordinate}_{side}" in clip.columns for coordinate in COORDINATES)
            if triple and f"elv_angle_{side}" not in clip.columns:
                matched.append(name)
        elif side in ("r", "l") and stem in _LIMB:
            if f"{_LIMB[stem][0]}_{side}" in independent:
                matched.append(name)
        elif LUMBAR.get(name, name) in independent:
            matched.append(name)
    if not matched:
        raise no_match(clip, embodiment)
    if embodiment.has_root:
        for name in PELVIS_ROTATIONS:
            if name not in clip.columns:
                raise SourceError(
                    f"{clip.path}: no column {name!r}: {embodiment.name} needs the orientation of "
                    f"the pelvis, add the column or import with embodiment=bimanual"
                )
        pelvis = (*TRANSLATIONS, *PELVIS_ROTATIONS)
        matched += [name for name in pelvis if name in clip.columns]
    return matched


def postures_from_opensim(clip: SourceClip, embodiment: Embodiment) -> PostureClip:
    """Return the postures of a clip in OpenSim coordinates."""
    matched = matched_coordinates(clip, embodiment)
    notes, joints = [], {}
    family = 1.0
    if any(name.startswith("knee_angle") for name in matched):
        family = knee_sign(clip)
        largest = np.degrees(max(np.abs(_knees(clip)).max(), 0.0))
        notes.append(
            f"knee flexion is {'positive' if family > 0 else 'negative'} in the file "
            f"(its largest knee angle is {family * largest:.0f} deg)"
        )
    for name in matched:
        stem, _, side = name.rpartition("_")
        if stem in COORDINATES or name in (*TRANSLATIONS, *PELVIS_ROTATIONS):
            continue
        if name in LUMBAR:
            joints[LUMBAR[name]] = clip.columns[name] / lumbar_gain(embodiment, LUMBAR[name])
        elif stem in _LIMB:
            joint, sign, offset = _LIMB[stem]
            sign *= family if stem in _BY_FAMILY else 1.0
            # Tables with the body's own shoulder count the forearm as the body does.
            offset *= f"elv_angle_{side}" not in clip.columns
            joints[f"{joint}_{side}"] = sign * clip.columns[name] + offset
        else:
            joints[name] = clip.columns[name]
    for side in ("r", "l"):
        arm = [f"{coordinate}_{side}" for coordinate in COORDINATES]
        if arm[0] in matched:
            angles = np.stack([clip.columns[name] for name in arm], axis=1)
            solved = shoulder_angles(embodiment, angles, side).T
            joints |= dict(zip((f"{joint}_{side}" for joint in JOINTS), solved, strict=True))
    root = None
    if embodiment.has_root:
        root = _root(clip)
        missing = [name for name in TRANSLATIONS if name not in clip.columns]
        if missing:
            notes.append(f"the root stands still along {', '.join(missing)}: no such column")
    return PostureClip(
        joints=joints,
        root=root,
        unmatched=tuple(name for name in clip.columns if name not in matched),
        foreign_height=True,
        notes=tuple(notes),
    )


def _knees(clip: SourceClip) -> np.ndarray:
    names = [f"knee_angle_{side}" for side in "rl" if f"knee_angle_{side}" in clip.columns]
    return np.concatenate([clip.columns[name] for name in names])


def knee_sign(clip: SourceClip) -> float:
    """Return +1 where the file's knees flex with positive angles, -1 where with negative ones."""
    knees = _knees(clip)
    return 1.0 if knees.max() >= -knees.min() else -1.0


def lumbar_gain(embodiment: Embodiment, joint: str) -> float:
    """Return the rotation of the thorax against the pelvis per unit of a trunk joint.

    The joint's followers spread it over the lumbar vertebrae; measured over +-0.1 rad.
    """
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    half, relative = 0.1, []
    for value in (-half, half):
        qpos = model.qpos0.copy()
        qpos[model.joint(joint).qposadr[0]] = value
        data.qpos[:] = embodiment.couplings.complete_qpos(qpos)
        mujoco.mj_kinematics(model, data)
        thorax, pelvis = (data.body(name).xmat.reshape(3, 3) for name in ("thorax", "pelvis"))
        relative.append(pelvis.T @ thorax)
    trace = np.trace(relative[0].T @ relative[1])
    return float(np.arccos(np.clip((trace - 1) / 2, -1, 1)) / (2 * half))


def _root(clip: SourceClip) -> np.ndarray:
    """Return (T, 7): the pelvis' frame, whose origin and axes are those of the free root."""
    frames = len(clip.time)
    zero = np.zeros(frames)
    position = np.stack([clip.columns.get(name, zero) for name in TRANSLATIONS], axis=1)
    matrix = np.tile(np.eye(3), (frames, 1, 1))
    for name, axis in zip(PELVIS_ROTATIONS, _PELVIS_AXES, strict=True):
        matrix = matrix @ rotation(axis, clip.columns[name])
    matrix = TO_WORLD @ matrix @ TO_WORLD.T
    root = np.zeros((frames, 7))
    root[:, :3] = position @ TO_WORLD.T
    for row, rotated in zip(root, matrix, strict=True):
        mujoco.mju_mat2Quat(row[3:], rotated.ravel())
    return root
