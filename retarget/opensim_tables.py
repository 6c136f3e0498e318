"""The body's postures, joint moments and ground forces under OpenSim's names, axes and signs.

The inverse of `retarget.importers.opensim`: what is written so is read back as it was. Joints of
the limbs keep their names, most of which are OpenSim's (those of the shoulder are the body's own,
an elevation and its plane). Knees and toes flex with positive angles, as in Rajagopal et al. 2016.
"""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np

from retarget.importers.opensim import LUMBAR, PELVIS_ROTATIONS, TO_WORLD, lumbar_gain
from retarget.importers.storage import TRANSLATIONS
from sim.embodiment import Embodiment

_LUMBAR_OF = {joint: coordinate for coordinate, joint in LUMBAR.items()}


def coordinates(embodiment: Embodiment, qpos: np.ndarray) -> dict[str, np.ndarray]:
    """Return coordinates (T,) by name of postures (T, nq): the pelvis, then independent joints.

    Angles are in rad, translations in m.
    """
    columns = _pelvis(qpos) if embodiment.has_root else {}
    for joint, address in zip(
        embodiment.independent_joints, embodiment.independent_qpos, strict=True
    ):
        name, gain = _named(embodiment, joint)
        columns[name] = gain * qpos[:, address]
    return columns


def moments(embodiment: Embodiment, values: np.ndarray) -> dict[str, np.ndarray]:
    """Return generalised forces (T,) by label of moments (T, nind) about the independent joints.

    Each does the work of the coordinate that it is called after.
    """
    columns = {}
    for joint, row in zip(embodiment.independent_joints, values.T, strict=True):
        name, gain = _named(embodiment, joint)
        columns[f"{name}_moment"] = row / gain
    return columns


def ground_forces(
    force: np.ndarray, centre: np.ndarray, torque: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the columns of an external load's file.

    Args:
        force, centre: (T, 2, 3) on the right and the left foot (N), and where (m); world axes.
        torque: (T, 2) free moment about the vertical (Nm).
    """
    columns = {}
    for side, foot in (("r", 0), ("l", 1)):
        for kind, vectors in (("v", force), ("p", centre)):
            turned = vectors[:, foot] @ TO_WORLD
            columns |= {f"ground_force_{side}_{kind}{a}": turned[:, i] for i, a in enumerate("xyz")}
        zero = np.zeros(len(torque))
        free = {"x": zero, "y": torque[:, foot], "z": zero}
        columns |= {f"ground_torque_{side}_{axis}": row for axis, row in free.items()}
    return columns


def in_degrees(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return coordinates with their angles in degrees."""
    return {n: v if n in TRANSLATIONS else np.degrees(v) for n, v in columns.items()}


def _named(embodiment: Embodiment, joint: str) -> tuple[str, float]:
    """Return the coordinate of a joint, and its value per unit of the joint's."""
    if joint in _LUMBAR_OF:
        return _LUMBAR_OF[joint], lumbar_gain(embodiment, joint)
    return joint, 1.0


def _pelvis(qpos: np.ndarray) -> dict[str, np.ndarray]:
    """Return translations and body-fixed rotations about Z, X and Y of roots (T, 7 or more)."""
    rotations = np.empty((len(qpos), 9))
    for matrix, quaternion in zip(rotations, qpos[:, 3:7], strict=True):
        mujoco.mju_quat2Mat(matrix, quaternion)
    r = TO_WORLD.T @ rotations.reshape(-1, 3, 3) @ TO_WORLD
    angles: Sequence[np.ndarray] = (
        np.unwrap(np.arctan2(-r[:, 0, 1], r[:, 1, 1])),
        np.arcsin(np.clip(r[:, 2, 1], -1.0, 1.0)),
        np.unwrap(np.arctan2(-r[:, 2, 0], r[:, 2, 2])),
    )
    position = qpos[:, :3] @ TO_WORLD
    return dict(zip(PELVIS_ROTATIONS, angles, strict=True)) | dict(
        zip(TRANSLATIONS, position.T, strict=True)
    )
