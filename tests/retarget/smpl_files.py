"""Writes small synthetic SMPL-family body models and clips, so that tests need no licensed files.

The body model is an upright person of plain proportions in the T-pose. As only its joints matter,
the first rows of the template are the joints, the joint regressor picks these rows, and the mesh is
one triangle. A clip is that person standing and moving the arms.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from retarget.body_model import JOINT_NAMES

#: Place in the T-pose (m; x to the left, y up, z forward) of the joints on the body's left.
_PLACES = {
    "pelvis": (0.0, -0.22, 0.03), "spine1": (0.0, -0.11, 0.0), "spine2": (0.0, 0.02, 0.0),
    "spine3": (0.0, 0.08, 0.02), "neck": (0.0, 0.29, -0.01), "head": (0.0, 0.38, 0.04),
    "jaw": (0.0, 0.36, 0.05), "eye_smplhf": (0.03, 0.44, 0.1),
    "hip": (0.07, -0.31, 0.02), "knee": (0.1, -0.69, 0.02), "ankle": (0.09, -1.09, -0.02),
    "foot": (0.12, -1.15, 0.1),
    "collar": (0.08, 0.2, -0.02), "shoulder": (0.18, 0.22, -0.02), "elbow": (0.44, 0.22, -0.03),
    "wrist": (0.69, 0.22, -0.03), "hand": (0.78, 0.21, -0.04),
}  # fmt: skip
#: First joint of each finger, from the wrist; the others follow in steps of 3 cm outwards.
_DIGITS = {
    "index": (0.1, 0.0, 0.03), "middle": (0.1, 0.0, 0.005), "ring": (0.1, 0.0, -0.02),
    "pinky": (0.08, -0.01, -0.04), "thumb": (0.03, -0.02, 0.04),
}  # fmt: skip
_ABOVE = {
    "spine1": "pelvis", "spine2": "spine1", "spine3": "spine2", "neck": "spine3", "head": "neck",
    "jaw": "head", "eye_smplhf": "head", "hip": "pelvis", "knee": "hip", "ankle": "knee",
    "foot": "ankle", "collar": "spine3", "shoulder": "collar", "elbow": "shoulder",
    "wrist": "elbow", "hand": "wrist",
}  # fmt: skip
_VERTICES = {"smpl": 6890, "smplh": 6890, "smplx": 10475}
#: Pose numbers of each model type.
WIDTHS = {kind: 3 * len(names) for kind, names in JOINT_NAMES.items()}


def rest_joints(model_type: str) -> np.ndarray:
    """Joints (J, 3) of the mean shape in the T-pose (m, SMPL axes)."""
    return np.array([_place(name) for name in JOINT_NAMES[model_type]])


def body_arrays(model_type: str = "smplh", shapes: int = 2) -> dict[str, np.ndarray]:
    """Every array that smplx asks of a model file.

    Args:
        model_type: "smpl", "smplh" or "smplx".
        shapes: shape directions; the first makes the person taller, the second broader, the others
            do nothing.
    """
    joints = rest_joints(model_type)
    count, vertices = len(joints), _VERTICES[model_type]
    template, regressor = np.zeros((vertices, 3)), np.zeros((count, vertices))
    template[:count], regressor[:, :count] = joints, np.eye(count)
    shapedirs = np.zeros((vertices, 3, shapes))
    for axis, column in ((1, 0), (0, 1)):
        if column < shapes:
            shapedirs[:count, axis, column] = 0.03 * joints[:, axis]
    weights = np.zeros((vertices, count))
    weights[:, 0] = 1
    arrays = {
        "v_template": template,
        "J_regressor": regressor,
        "shapedirs": shapedirs,
        "kintree_table": np.stack((_parents(model_type), np.arange(count))),
        "weights": weights,
        "posedirs": np.zeros((vertices, 3, 9 * (count - 1)), np.float16),
        "f": np.array([[0, 1, 2]], np.uint32),
    }
    for side in "lr":
        arrays |= {f"hands_mean{side}": np.zeros(45), f"hands_components{side}": np.eye(45)}
    if model_type == "smplx":
        arrays |= {"lmk_faces_idx": np.zeros(2, int), "lmk_bary_coords": np.full((2, 3), 1 / 3)}
    return arrays


def write_body_model(
    folder: Path, model_type: str = "smplh", gender: str = "neutral", shapes: int = 2
) -> Path:
    """Write a body model in smplx's layout below `folder`, and return the file."""
    path = folder / model_type / f"{model_type.upper()}_{gender.upper()}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **body_arrays(model_type, shapes))
    return path


def clip_entries(
    frames: int = 30, fps: float = 100.0, swing: float = 0.3, model_type: str = "smplh"
) -> dict[str, object]:
    """A clip as AMASS stores it: standing, z up, arms hanging and swinging sideways.

    Args:
        frames: how many.
        fps: frames a second (Hz).
        swing: amplitude of the arms' elevation (rad), at 1 Hz.
        model_type: "smpl", "smplh" or "smplx".
    """
    names = JOINT_NAMES[model_type]
    pose = np.zeros((frames, len(names), 3))
    time = np.arange(frames) / fps
    # Upright in a world whose z is up: SMPL's y is.
    pose[:, 0] = np.pi / 2, 0.0, 0.0
    lift = 1.0 - swing * (1 - np.cos(2 * np.pi * time)) / 2
    for side, sign in (("left", 1), ("right", -1)):
        pose[:, names.index(f"{side}_shoulder"), 2] = -sign * lift
        pose[:, names.index(f"{side}_elbow"), 1] = -sign * (0.4 + swing * np.sin(2 * np.pi * time))
    return {
        "poses": pose.reshape(frames, -1),
        # Soles 3 cm below the joint of the toes.
        "trans": np.tile([0.0, 0.0, 1.18], (frames, 1)),
        "betas": np.zeros(16),
        "gender": np.array("neutral"),
        "mocap_framerate": np.float64(fps),
    }


def write_clip(path: Path, **options: object) -> Path:
    """Write a clip made by `clip_entries`, and return the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **clip_entries(**options))
    return path


def _split(name: str) -> tuple[float, str]:
    side, _, part = name.partition("_")
    return (1.0 if side == "left" else -1.0, part) if side in ("left", "right") else (1.0, name)


def _place(name: str) -> np.ndarray:
    sign, part = _split(name)
    if part[:-1] in _DIGITS:
        outwards = [0.03 * (int(part[-1]) - 1), 0.0, 0.0]
        place = np.add(_PLACES["wrist"], _DIGITS[part[:-1]]) + outwards
    else:
        place = np.array(_PLACES[part])
    return place * [sign, 1.0, 1.0]


def _parents(model_type: str) -> np.ndarray:
    names = JOINT_NAMES[model_type]
    parents = []
    for name in names:
        side, part = name.partition("_")[0], _split(name)[1]
        if part[:-1] in _DIGITS:
            above = "wrist" if part[-1] == "1" else f"{part[:-1]}{int(part[-1]) - 1}"
        else:
            above = _ABOVE.get(part, "")
        # The root's parent is stored as the largest unsigned number.
        root = 2**32 - 1
        parents.append(names.index(above) if above in names else
                       names.index(f"{side}_{above}") if above else root)  # fmt: skip
    return np.array(parents, dtype=np.int64)
