"""Files as other programs write them, and questions to what the importers make of them."""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np

from retarget.motion import Motion
from sim.embodiment import Embodiment

#: OpenSim's X (forwards), Y (up) and Z (right) in the world at the upright pose.
FORWARDS, UP, RIGHT = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]])


def write_table(path: Path, columns: dict[str, np.ndarray], fps: float = 100.0, **header) -> Path:
    """Write a storage file; columns in rad or m, converted where the header says degrees."""
    columns = {name: np.asarray(values, dtype=float) for name, values in columns.items()}
    rows = len(next(iter(columns.values())))
    time = header.pop("time", np.arange(rows) / fps)
    header = {"version": "1", "nRows": rows, "inDegrees": "no"} | header
    scale = 180 / np.pi if header["inDegrees"] == "yes" else 1.0
    table = [time] + [v if "pelvis_t" in n and n[-1] in "xyz" else v * scale
                      for n, v in columns.items()]  # fmt: skip
    lines = [path.stem, *(f"{key}={value}" for key, value in header.items() if value is not None)]
    lines += ["endheader", "\t".join(["time", *columns])]
    lines += ["\t".join(f"{value:.15g}" for value in row) for row in np.transpose(table)]
    path.write_text("\n".join(lines) + "\n")
    return path


def read_table(path: Path) -> dict[str, np.ndarray]:
    """The last part but one of each label, and its values: independent of the importer."""
    lines = path.read_text().splitlines()
    start = lines.index("endheader") + 1
    table = np.array([[float(value) for value in line.split()] for line in lines[start + 1 :]])
    names = [label.split("/")[-2] if "/" in label else label for label in lines[start].split("\t")]
    return dict(zip(names, table.T, strict=True))


def write_cache(path: Path, body: Embodiment, qpos: np.ndarray, **changes: object) -> Path:
    """Write what MuscleMimic caches of a trajectory; None removes an entry."""
    entries: dict[str, object] = {
        "joint_names": np.array(body.joint_names),
        "jnt_type": body.model.jnt_type,
        "njnt": np.array(body.model.njnt),
        "frequency": np.array(100.0),
        "qpos": qpos,
        "split_points": np.array([0, len(qpos)]),
        # A pickled object, as it may stand in these files: it is never opened.
        "metadata": np.array(None, dtype=object),
    }
    entries |= changes
    np.savez(path, **{key: value for key, value in entries.items() if value is not None})
    return path


def angles(motion: Motion, body: Embodiment, joint: str) -> np.ndarray:
    return motion.qpos[:, body.model.joint(joint).qposadr[0]]


def posed(body: Embodiment, qpos: np.ndarray) -> mujoco.MjData:
    data = mujoco.MjData(body.model)
    data.qpos[:] = qpos
    mujoco.mj_kinematics(body.model, data)
    return data


def euler(*turns: tuple[tuple[float, float, float], float]) -> np.ndarray:
    """Body-fixed rotations in order, by MuJoCo's quaternions."""
    total, turn, matrix = np.array([1.0, 0, 0, 0]), np.zeros(4), np.zeros(9)
    for axis, angle in turns:
        mujoco.mju_axisAngle2Quat(turn, np.array(axis) / np.linalg.norm(axis), angle)
        mujoco.mju_mulQuat(total, total.copy(), turn)
    mujoco.mju_quat2Mat(matrix, total)
    return matrix.reshape(3, 3)


def angle_between(a: np.ndarray, b: np.ndarray) -> float:
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def leg_table(rows: int = 50) -> dict[str, np.ndarray]:
    phase = np.linspace(0, 2 * np.pi, rows)
    knee = 0.5 - 0.5 * np.cos(phase)
    upright = {f"pelvis_{name}": np.zeros(rows) for name in ("tilt", "list", "rotation")}
    place = {"pelvis_tx": np.zeros(rows), "pelvis_ty": np.full(rows, 0.9),
             "pelvis_tz": np.zeros(rows)}  # fmt: skip
    return upright | place | {"knee_angle_r": knee, "knee_angle_l": knee, "mtp_angle_r": 0.2 * knee}


def assert_same_upper_arm(
    data: mujoco.MjData, arm: np.ndarray, side: str, tolerance: float = 1e-3
) -> None:
    """The upper arm points, and the elbow bends, as in Hamner's and Rajagopal's models."""
    sign = 1 if side == "r" else -1
    humerus = euler(((0, 0, 1), arm[0]), ((sign, 0, 0), arm[1]), ((0, sign, 0), arm[2]))
    thorax = data.body("thorax").xmat.reshape(3, 3)
    elbow = data.joint(f"elbow_flex_{side}")
    long_axis = thorax.T @ (elbow.xanchor - data.body(f"humerus_{side}").xpos)
    expected = humerus @ [0.013144, -0.286273, -0.009595 * sign]
    assert angle_between(long_axis, expected) < tolerance
    # The plane of flexion: the elbow's axis without its part along the arm.
    axis = np.cross(long_axis, thorax.T @ elbow.xaxis)
    expected = np.cross(expected, humerus @ [0.226047 * sign, 0.022269 * sign, 0.973862])
    assert angle_between(axis, expected) < tolerance
