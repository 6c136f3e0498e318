"""Importers: what other programs wrote becomes motions of the body, or one clear line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mujoco
import numpy as np
import pytest

from retarget import load_motion_set
from retarget.importers import __main__ as command
from retarget.importers.ground import foot_heights, ground_shift
from retarget.importers.import_motions import Imported, import_motions
from retarget.importers.interpolation import interpolate
from retarget.importers.shoulder import JOINTS, shoulder_angles
from retarget.importers.source import SourceError
from retarget.motion import Motion
from retarget.reference import make_motion
from sim.embodiment import Embodiment
from tests.conftest import ROOT

DEMO = ROOT / "data" / "demo"
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


# ------------------------------------------------------------------ the measured walk of OpenSim


@pytest.fixture(scope="module")
def walk_file(shared: Path) -> Path:
    path = shared / "data" / "opensim_walk" / "coordinates.sto"
    if not path.is_file():
        pytest.skip(f"no recording {path}")
    return path


@pytest.fixture(scope="module")
def walk(walk_file: Path, fullbody: Embodiment) -> Imported:
    return import_motions(walk_file, fullbody)


def test_walk_has_the_angles_of_the_file(
    walk: Imported, walk_file: Path, fullbody: Embodiment
) -> None:
    (motion,), (report,) = walk.motions, walk.reports
    table = read_table(walk_file)
    # 1000 Hz in the file: every tenth row is a frame.
    assert len(motion) == len(table["time"][::10]) == 135
    for joint in ("hip_flexion", "hip_adduction", "hip_rotation", "knee_angle", "ankle_angle"):
        for side in "rl":
            name = f"{joint}_{side}"
            np.testing.assert_allclose(angles(motion, fullbody, name), table[name][::10], atol=1e-9)
    assert report.clipped == ()
    assert set(report.unmatched) == {"knee_angle_r_beta", "knee_angle_l_beta"}
    assert {"mtp_angle_r", "subtalar_angle_l", "flexion_r"} <= set(report.neutral)
    assert any("positive" in note for note in report.notes)
    assert "coordinates.sto" in motion.source and "retarget.importers" in motion.source
    residual = fullbody.couplings.residual(motion.qpos)
    assert np.abs(residual).max() < 1e-12


def test_walk_faces_where_it_goes(walk: Imported, walk_file: Path, fullbody: Embodiment) -> None:
    motion, table = walk.motions[0], read_table(walk_file)
    travel = motion.qpos[-1, :3] - motion.qpos[0, :3]
    # The file walks 1.676 m along X: here -y.
    assert -travel[1] == pytest.approx(table["pelvis_tx"][-10] - table["pelvis_tx"][0], abs=0.02)
    assert travel[0] == pytest.approx(table["pelvis_tz"][0] - table["pelvis_tz"][-10], abs=0.005)
    for posture in motion.qpos[::20]:
        pelvis = posed(fullbody, posture).body("Full Body").xmat.reshape(3, 3)
        assert angle_between(pelvis @ FORWARDS, travel * [1, 1, 0]) < 12


def test_walk_stands_on_alternate_feet(walk: Imported, fullbody: Embodiment) -> None:
    motion = walk.motions[0]
    assert 0.85 < motion.qpos[:, 2].min() < motion.qpos[:, 2].max() < 0.98
    height = foot_heights(fullbody, motion.qpos, toes=False)
    assert np.abs(height.min(axis=1)).max() < 0.015
    assert np.median(height.min(axis=1)) == pytest.approx(0.0, abs=1e-9)
    lower = height.argmin(axis=1)
    for foot in (0, 1):
        assert 0.25 < (lower == foot).mean() < 0.75
        assert height[:, foot].max() > 0.05
    # The foot that bears the body hardly moves.
    for foot, side in enumerate(("calcn_l", "calcn_r")):
        places = np.array([posed(fullbody, posture).body(side).xpos for posture in motion.qpos])
        speed = np.linalg.norm(np.gradient(places, 0.01, axis=0)[:, :2], axis=1)
        assert np.median(speed[height[:, 1 - foot] > 0.03]) < 0.2


def test_walk_carries_trunk_and_arms_as_opensim_does(
    walk: Imported, walk_file: Path, fullbody: Embodiment
) -> None:
    motion, table = walk.motions[0], read_table(walk_file)
    axes = np.stack([FORWARDS, UP, RIGHT], axis=1)
    for frame in (0, 40, 90, 134):
        row = {name: values[10 * frame] for name, values in table.items()}
        data = posed(fullbody, motion.qpos[frame])
        pelvis = data.body("Full Body").xmat.reshape(3, 3) @ axes
        expected = axes @ euler(
            ((0, 0, 1), row["pelvis_tilt"]),
            ((1, 0, 0), row["pelvis_list"]),
            ((0, 1, 0), row["pelvis_rotation"]),
        )
        np.testing.assert_allclose(pelvis, expected, atol=1e-9)
        torso = euler(
            ((0, 0, 1), row["lumbar_extension"]),
            ((1, 0, 0), row["lumbar_bending"]),
            ((0, 1, 0), row["lumbar_rotation"]),
        )
        thorax = data.body("thorax").xmat.reshape(3, 3)
        for column in range(3):
            assert angle_between(thorax[:, column], expected @ torso[:, column]) < 3
        for side in "rl":
            arm = [row[f"{name}_{side}"] for name in ("arm_flex", "arm_add", "arm_rot")]
            _same_upper_arm(data, np.array(arm), side, tolerance=0.5)


def _same_upper_arm(
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


# ------------------------------------------------------------------ arms


@pytest.mark.parametrize("side", ["r", "l"])
def test_shoulder_reproduces_the_upper_arm(bimanual: Embodiment, side: str) -> None:
    random = np.random.default_rng(5)
    arms = random.uniform([-0.8, -1.6, -0.8], [1.5, -0.1, 0.8], size=(25, 3))
    solved = shoulder_angles(bimanual, arms, side)
    model, inside = bimanual.model, 0
    for arm, angle in zip(arms, solved, strict=True):
        qpos = model.qpos0.copy()
        for joint, value in zip(JOINTS, angle, strict=True):
            low, high = model.joint(f"{joint}_{side}").range
            inside += low <= value <= high
            qpos[model.joint(f"{joint}_{side}").qposadr[0]] = value
        _same_upper_arm(posed(bimanual, bimanual.couplings.complete_qpos(qpos)), arm, side, 0.01)
    assert inside > 0.9 * solved.size


def test_shoulder_of_simple_poses(bimanual: Embodiment) -> None:
    # Forwards is an elevation in the plane 90 degrees before the frontal one, sideways in it.
    arms = np.radians([[90.0, 0.0, 0.0], [0.0, -90.0, 0.0], [0.0, -45.0, 0.0]])
    for side in "rl":
        solved = np.degrees(shoulder_angles(bimanual, arms, side))
        np.testing.assert_allclose(solved[:, 0], [90, 0, 0], atol=8)
        np.testing.assert_allclose(solved[:, 1], [90, 90, 45], atol=8)


def test_forearm_and_wrist_turn_the_right_way(tmp_path: Path, bimanual: Embodiment) -> None:
    columns = {f"{name}_{side}": np.zeros(5) for side in "rl"
               for name in ("pro_sup", "wrist_flex", "wrist_dev")}  # fmt: skip
    outwards = {"r": RIGHT, "l": -RIGHT}

    def hand(side: str, **values: float) -> tuple[np.ndarray, np.ndarray]:
        """Directions little finger to thumb, and wrist to middle finger, of the hanging arm."""
        given = {f"{name}_{side}": np.full(5, value) for name, value in values.items()}
        motion = import_motions(write_table(tmp_path / "a.sto", columns | given), bimanual)
        data = posed(bimanual, motion.motions[0].qpos[0])
        place = [data.body(f"{name}_{side}").xpos for name in ("firstmc", "fifthmc", "thirdmc")]
        return place[0] - place[1], place[2] - data.body(f"lunate_{side}").xpos

    for side in "rl":
        # OpenSim's zero is the anatomical position: palms forwards, thumbs outwards.
        thumb, fingers = hand(side)
        assert angle_between(thumb * [1, 1, 0], outwards[side]) < 30
        thumb, _ = hand(side, pro_sup=np.pi / 2)
        assert angle_between(thumb * [1, 1, 0], FORWARDS) < 30
        _, flexed = hand(side, wrist_flex=0.4)
        assert (flexed - fingers) @ FORWARDS > 0.01
        _, ulnar = hand(side, wrist_dev=0.15)
        assert (ulnar - fingers) @ outwards[side] < -0.003


# ------------------------------------------------------------------ tables


def _legs(rows: int = 50) -> dict[str, np.ndarray]:
    phase = np.linspace(0, 2 * np.pi, rows)
    knee = 0.5 - 0.5 * np.cos(phase)
    upright = {f"pelvis_{name}": np.zeros(rows) for name in ("tilt", "list", "rotation")}
    place = {"pelvis_tx": np.zeros(rows), "pelvis_ty": np.full(rows, 0.9),
             "pelvis_tz": np.zeros(rows)}  # fmt: skip
    return upright | place | {"knee_angle_r": knee, "knee_angle_l": knee, "mtp_angle_r": 0.2 * knee}


def test_degrees_paths_and_negative_knees_mean_the_same(
    tmp_path: Path, fullbody: Embodiment
) -> None:
    plain = import_motions(write_table(tmp_path / "plain.sto", _legs()), fullbody)
    degrees = write_table(tmp_path / "degrees.mot", _legs(), inDegrees="yes")
    paths = {f"/jointset/some_joint/{name}/value": v for name, v in _legs().items()}
    paths |= {"/jointset/some_joint/knee_angle_r/speed": np.full(50, np.nan)}
    paths |= {"/forceset/soleus_r/activation": np.zeros(50)}
    negative = {n: -v if "knee" in n or "mtp" in n else v for n, v in _legs().items()}
    others = [
        import_motions(path, fullbody)
        for path in (
            degrees,
            write_table(tmp_path / "paths.sto", paths),
            write_table(tmp_path / "negative.sto", negative),
        )
    ]
    motion = plain.motions[0]
    assert angles(motion, fullbody, "knee_angle_r").max() == pytest.approx(1.0, abs=2e-3)
    for other in others:
        np.testing.assert_allclose(other.motions[0].qpos, motion.qpos, atol=1e-9)
    assert others[1].reports[0].ignored == 2
    assert "positive" in plain.reports[0].notes[0]
    assert "negative" in others[2].reports[0].notes[0]
    # Toes: positive bends them down, as in the body.
    sole = [posed(fullbody, motion.qpos[i]).body("toes_r").xmat.reshape(3, 3) for i in (0, 25)]
    shank = [posed(fullbody, motion.qpos[i]).body("calcn_r").xmat.reshape(3, 3) for i in (0, 25)]
    bend = shank[1].T @ sole[1] @ (shank[0].T @ sole[0]).T
    assert (bend @ [1.0, 0.0, 0.0])[1] < -0.1


def test_values_outside_the_range_are_clipped_and_told(
    tmp_path: Path, bimanual: Embodiment
) -> None:
    elbow = np.radians(np.linspace(100, 150, 51))
    imported = import_motions(write_table(tmp_path / "bend.mot", {"elbow_flex_r": elbow}), bimanual)
    (clip,) = imported.reports[0].clipped
    # The range ends at 130.0041 degrees: the frames of 131 to 150.
    assert (clip.joint, clip.frames) == ("elbow_flex_r", 20)
    assert clip.worst == pytest.approx(150 - 130.0041, abs=1e-3)
    assert angles(imported.motions[0], bimanual, "elbow_flex_r").max() < np.radians(130.01)
    assert any("elbow_flex_r in 20 frames" in line for line in imported.reports[0].lines())


def test_own_names_of_the_shoulder_are_taken_as_they_are(
    tmp_path: Path, bimanual: Embodiment
) -> None:
    columns = {"elv_angle_r": 0.5, "shoulder_elv_r": 0.7, "shoulder_rot_r": 0.1, "pro_sup_r": 0.3}
    table = {name: np.full(5, value) for name, value in columns.items()}
    imported = import_motions(write_table(tmp_path / "own.sto", table), bimanual)
    for name, value in columns.items():
        assert angles(imported.motions[0], bimanual, name)[0] == pytest.approx(value)


def test_an_incomplete_shoulder_is_not_matched(tmp_path: Path, bimanual: Embodiment) -> None:
    table = {name: np.full(5, 0.2) for name in ("arm_flex_r", "arm_add_r", "elbow_flex_r")}
    report = import_motions(write_table(tmp_path / "a.sto", table), bimanual).reports[0]
    assert report.unmatched == ("arm_flex_r", "arm_add_r")
    assert "elv_angle_r" in report.neutral


def test_a_constant_shift_puts_the_feet_on_the_floor(tmp_path: Path, fullbody: Embodiment) -> None:
    low, high = _legs(), _legs()
    high["pelvis_ty"] = high["pelvis_ty"] + 0.5
    files = [write_table(tmp_path / f"{i}.sto", table) for i, table in enumerate((low, high))]
    first, second = (import_motions(file, fullbody).motions[0] for file in files)
    np.testing.assert_allclose(first.qpos, second.qpos, atol=1e-9)
    kept = import_motions(files[1], fullbody, root="keep").motions[0]
    np.testing.assert_allclose(kept.qpos[:, 2], 1.4, atol=1e-9)


def test_flight_does_not_count_as_standing(fullbody: Embodiment) -> None:
    qpos = np.tile(fullbody.couplings.complete_qpos(fullbody.model.qpos0), (50, 1))
    standing = ground_shift(fullbody, qpos)
    qpos[10:40, 2] += 0.3
    assert ground_shift(fullbody, qpos) == pytest.approx(standing, abs=1e-12)
    qpos[:, 2] += standing
    assert foot_heights(fullbody, qpos, toes=False)[0].min() == pytest.approx(0.0, abs=1e-12)


# ------------------------------------------------------------------ times


def test_interpolation_is_exact_for_parabolas_and_returns_samples() -> None:
    time = np.array([0.0, 0.1, 0.15, 0.4, 0.5, 0.8])
    at = np.array([0.1, 0.12, 0.27, 0.4, 0.45])
    np.testing.assert_allclose(interpolate(time, time**2 - time, at), at**2 - at, atol=1e-14)
    # At the ends a straight slope: half way through the first interval the cubic with the chord's
    # slope 0.1 - 1 and the parabola's 0.2 - 1 is 0.1 (0.1 / 8) off the chord's middle value.
    middle = interpolate(time, time**2 - time, np.array([0.05]))[0]
    assert middle == pytest.approx(0.5 * (0.01 - 0.1) - 0.1 * 0.1 / 8)


def test_uneven_times_are_resampled(tmp_path: Path, bimanual: Embodiment) -> None:
    random = np.random.default_rng(1)
    time = np.cumsum(np.concatenate([[0.45], random.uniform(0.005, 0.02, 150)]))
    curve = 1.0 + 0.5 * np.sin(6.0 * time)
    table = write_table(tmp_path / "uneven.sto", {"elbow_flex_r": curve}, time=time)
    motion = import_motions(table, bimanual).motions[0]
    at = 0.45 + np.arange(len(motion)) / 100
    assert time[-1] - 0.01 < at[-1] <= time[-1] + 1e-9
    np.testing.assert_allclose(
        angles(motion, bimanual, "elbow_flex_r"), 1.0 + 0.5 * np.sin(6.0 * at), atol=3e-4
    )
    speed = motion.qvel[:, bimanual.model.joint("elbow_flex_r").dofadr[0]]
    np.testing.assert_allclose(speed[2:-2], 3.0 * np.cos(6.0 * at[2:-2]), atol=0.05)


def test_wrapped_angles_do_not_jump(tmp_path: Path, fullbody: Embodiment) -> None:
    # Turning round in half a second; the file wraps the angle at 180 degrees.
    turn = np.linspace(2.0, 4.0, 26)
    table = _legs(26) | {"pelvis_rotation": (turn + np.pi) % (2 * np.pi) - np.pi}
    motion = import_motions(write_table(tmp_path / "t.sto", table, fps=50.0), fullbody).motions[0]
    np.testing.assert_allclose(motion.qvel[1:-1, 5], 4.0, atol=1e-6)


# ------------------------------------------------------------------ MuscleMimic's caches


@pytest.fixture(scope="module")
def demo_walk(fullbody: Embodiment) -> np.ndarray:
    return load_motion_set(DEMO / "fullbody", fullbody)[0].qpos[:60]


def test_cache_round_trip(tmp_path: Path, fullbody: Embodiment, demo_walk: np.ndarray) -> None:
    file = write_cache(tmp_path / "cache.npz", fullbody, demo_walk, split_points=[0, 25, 60])
    imported = import_motions(file, fullbody)
    assert [motion.name for motion in imported.motions] == ["cache_0", "cache_1"]
    for motion, clip in zip(imported.motions, (demo_walk[:25], demo_walk[25:]), strict=True):
        np.testing.assert_allclose(motion.qpos, clip, atol=1e-9)
        again = make_motion("again", fullbody, clip, 100.0, "test")
        np.testing.assert_allclose(motion.qvel, again.qvel, atol=1e-6)
        np.testing.assert_allclose(motion.site_pos, again.site_pos, atol=1e-9)
    report = imported.reports[0]
    assert report.matched and not report.neutral and not report.unmatched and not report.clipped
    assert any("height kept" in note for note in report.notes)


def test_cache_at_another_rate(tmp_path: Path, fullbody: Embodiment, demo_walk: np.ndarray) -> None:
    file = write_cache(tmp_path / "c.npz", fullbody, demo_walk[::2], frequency=np.array(50.0))
    motion = import_motions(file, fullbody).motions[0]
    assert len(motion) == 59
    error = np.abs(motion.qpos - demo_walk[:59])
    assert error[2:-2].max() < 0.01
    np.testing.assert_allclose(np.linalg.norm(motion.qpos[:, 3:7], axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(motion.qpos[::2], demo_walk[::2], atol=1e-9)


def test_cache_root_turns_evenly_whatever_the_quaternions_signs(
    tmp_path: Path, fullbody: Embodiment
) -> None:
    angle = 5.0 * np.arange(31) / 30
    qpos = np.tile(fullbody.couplings.complete_qpos(fullbody.model.qpos0), (31, 1))
    qpos[:, 3], qpos[:, 6] = np.cos(angle / 2), np.sin(angle / 2)
    qpos[::3, 3:7] *= -1
    file = write_cache(tmp_path / "turn.npz", fullbody, qpos, frequency=np.array(30.0))
    motion = import_motions(file, fullbody).motions[0]
    np.testing.assert_allclose(motion.qvel[5:-5, 5], 5.0, atol=0.02)


def test_dependent_joints_are_recomputed_and_the_difference_told(
    tmp_path: Path, fullbody: Embodiment, demo_walk: np.ndarray
) -> None:
    changed = demo_walk.copy()
    changed[7, fullbody.model.joint("knee_angle_rotation3_l").qposadr[0]] += np.radians(2.0)
    imported = import_motions(write_cache(tmp_path / "c.npz", fullbody, changed), fullbody)
    np.testing.assert_allclose(imported.motions[0].qpos, demo_walk, atol=1e-9)
    assert "2 deg (knee_angle_rotation3_l)" in imported.reports[0].dependent


def test_arms_of_a_full_body_cache(
    tmp_path: Path, fullbody: Embodiment, bimanual: Embodiment, demo_walk: np.ndarray
) -> None:
    file = write_cache(tmp_path / "c.npz", fullbody, demo_walk)
    imported = import_motions(file, bimanual)
    for name in bimanual.joint_names:
        expected = demo_walk[:, fullbody.model.joint(name).qposadr[0]]
        np.testing.assert_allclose(angles(imported.motions[0], bimanual, name), expected, atol=1e-6)
    report = imported.reports[0]
    assert {"hip_flexion_r", "flex_extension"} <= set(report.unmatched)
    assert set(report.matched) == set(bimanual.independent_joints)


def test_cache_of_another_body(tmp_path: Path, bimanual: Embodiment) -> None:
    names = np.array(bimanual.joint_names)
    names[list(names).index("elbow_flex_r")] = "right_elbow_joint"
    qpos = load_motion_set(DEMO / "bimanual", bimanual)[0].qpos[:20]
    file = write_cache(tmp_path / "c.npz", bimanual, qpos, joint_names=names)
    report = import_motions(file, bimanual).reports[0]
    assert report.unmatched == ("right_elbow_joint",)
    assert report.neutral == ("elbow_flex_r",)
    assert any("elbow_flex_r" in line and "neutral" in line for line in report.lines())


# ------------------------------------------------------------------ LocoMuJoCo's tables


def test_loco_walk_places_both_feet(shared: Path, fullbody: Embodiment) -> None:
    file = shared / "data" / "joint_space" / "02-constspeed_full_humanoid.npz"
    if not file.is_file():
        pytest.skip(f"no recording {file}")
    imported = import_motions(file, fullbody)
    motion = imported.motions[0]
    assert len(motion) == 100
    assert any("500 Hz" in note for note in imported.reports[0].notes)
    travel = (motion.qpos[-1] - motion.qpos[0])[:2] / motion.duration
    assert -travel[1] == pytest.approx(1.35, abs=0.05)
    # The left hip's signs are reversed in these files: with the wrong ones the left foot slips
    # sideways at 0.8 m/s and crosses over to the right.
    height = foot_heights(fullbody, motion.qpos)
    for foot, (side, out) in enumerate((("calcn_l", 1.0), ("calcn_r", -1.0))):
        sideways = np.array([posed(fullbody, q).body(side).xpos[0] for q in motion.qpos])
        stance = height[:, foot] < height[:, 1 - foot] - 0.01
        assert np.abs(np.gradient(sideways, 0.01)[stance]).mean() < 0.15
        assert 0.02 < out * (sideways - motion.qpos[:, 0])[stance].mean() < 0.12


def test_loco_left_hip_is_reversed(tmp_path: Path, fullbody: Embodiment) -> None:
    table = {f"q_{name}": values for name, values in _legs(20).items()}
    table |= {"q_hip_adduction_l": np.full(20, 0.2), "q_hip_adduction_r": np.full(20, 0.1)}
    np.savez(tmp_path / "a.npz", **table, dq_pelvis_tx=np.zeros(20))
    motion = import_motions(tmp_path / "a.npz", fullbody).motions[0]
    assert angles(motion, fullbody, "hip_adduction_l")[0] == pytest.approx(-0.2)
    assert angles(motion, fullbody, "hip_adduction_r")[0] == pytest.approx(0.1)


# ------------------------------------------------------------------ bad input


def _truncated(path: Path) -> None:
    np.savez(path / "x.npz", qpos=np.zeros((50, 36)), joint_names=np.array(["a"]))
    content = (path / "x.npz").read_bytes()
    (path / "x.npz").write_bytes(content[: len(content) // 2])


def _edit(path: Path, change: Callable[[str], str]) -> None:
    file = write_table(path / "x.sto", {"elbow_flex_r": np.zeros(5)})
    file.write_text(change(file.read_text()))


def _table(columns: dict[str, object] | None = None, **header: object) -> Callable[[Path], object]:
    columns = columns or {"elbow_flex_r": np.zeros(5)}
    return lambda path: write_table(path / "x.sto", columns, **header)


def _archive(**entries: object) -> Callable[[Path], object]:
    return lambda path: np.savez(path / "x.npz", **entries)


_ARM = {"joint_names": ["elbow_flex_r"], "jnt_type": [3], "qpos": np.zeros((6, 1)),
        "frequency": 100.0}  # fmt: skip
BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "unknown text": (lambda path: (path / "x.csv").write_text("a,b\n1,2\n"), "unknown format"),
    "unknown archive": (_archive(a=np.zeros(3)), "unknown format"),
    "SMPL": (_archive(poses=np.zeros((5, 156)), trans=np.zeros((5, 3))), "python -m retarget"),
    "motion file": (_archive(format_version=1, embodiment="bimanual"), "motion file already"),
    "damaged archive": (_truncated, "damaged"),
    "no time": (lambda path: _edit(path, lambda t: t.replace("time", "t")), "no column 'time'"),
    "no labels": (lambda path: _edit(path, lambda t: t[: t.index("time")]), "nothing follows"),
    "cut table": (_table(nRows=900), "truncated"),
    "ragged row": (lambda path: _edit(path, lambda t: t + "1\t2\t3\n"), "row 6 has 3 values"),
    "no number": (lambda path: _edit(path, lambda t: t + "0.05\tx\n"), "row 6 holds no number"),
    "no unit": (_table(inDegrees=None), "inDegrees"),
    "NaN": (_table(columns={"elbow_flex_r": [0, np.nan, np.nan, 0]}), "2 of 4 rows"),
    "one row": (_table(columns={"elbow_flex_r": [0.1]}), "1 row"),
    "time stands": (_table(time=np.array([0, 0.1, 0.1, 0.2, 0.3])), "does not increase at row 3"),
    "too short": (_table(time=np.arange(5) / 1e4), "shorter than a frame"),
    "no joint": (_table(columns={"soleus_r": np.zeros(5)}), "no column is a joint"),
    "empty folder": (lambda path: None, "empty"),
    "no rate": (_archive(**{k: v for k, v in _ARM.items() if k != "frequency"}), "'frequency'"),
    "false rate": (_archive(**_ARM | {"frequency": 0.0}), "frequency is 0"),
    "false width": (_archive(**_ARM | {"jnt_type": [0]}), "(frames, 7)"),
    "false type": (_archive(**_ARM | {"jnt_type": [9]}), "jnt_type"),
    "false splits": (_archive(**_ARM, split_points=[0, 9]), "split_points"),
    "NaN cache": (_archive(**_ARM | {"qpos": np.full((6, 1), np.nan)}), "6 of 6 rows"),
    "no quaternion": (
        _archive(
            joint_names=["root", "elbow_flex_r"],
            jnt_type=[0, 3],
            qpos=np.zeros((6, 8)),
            frequency=100.0,
        ),
        "zero quaternion",
    ),
    "pickled": (_archive(**_ARM | {"qpos": np.array([{}], dtype=object)}), "damaged"),
    "uneven columns": (_archive(q_elbow_flex_r=np.zeros(5), q_pro_sup_r=np.zeros(4)), "shape (4,)"),
}


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, bimanual: Embodiment, fullbody: Embodiment) -> None:
    """The command with the bodies of the session."""
    bodies = {"bimanual": bimanual, "fullbody": fullbody}
    monkeypatch.setattr(command, "load_embodiment", lambda name, fingers: bodies[name])


def _refused(arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1
    assert word in printed.err


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(
    case: str, tmp_path: Path, compiled: None, capsys: pytest.CaptureFixture[str]
) -> None:
    write, word = BAD[case]
    folder = tmp_path / "in"
    folder.mkdir()
    write(folder)
    arguments = ["embodiment=bimanual", f"out={tmp_path / 'out'}"]
    _refused([f"motions={folder}", *arguments], word, capsys)
    for file in folder.iterdir():
        _refused([f"motions={file}", *arguments], word, capsys)
    assert not (tmp_path / "out").exists()


def test_the_full_body_needs_its_pelvis(
    tmp_path: Path, fullbody: Embodiment, bimanual: Embodiment
) -> None:
    legs = _legs()
    del legs["pelvis_list"]
    with pytest.raises(SourceError, match="no column 'pelvis_list'"):
        import_motions(write_table(tmp_path / "a.sto", legs), fullbody)
    qpos = np.tile(bimanual.model.qpos0, (5, 1))
    with pytest.raises(SourceError, match="no free root joint"):
        import_motions(write_cache(tmp_path / "a.npz", bimanual, qpos), fullbody)
    legs = _legs()
    del legs["pelvis_tx"]
    report = import_motions(write_table(tmp_path / "b.sto", legs), fullbody).reports[0]
    assert any("stands still along pelvis_tx" in note for note in report.notes)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"embodiment": "legs"}, "fullbody or bimanual"),
        ({"embodiment": None}, "embodiment= is missing"),
        ({"motions": "nowhere"}, "no such file"),
        ({"out": None}, "out= is missing"),
        ({"fps": "fast"}, "fps=fast"),
        ({"fps": "0"}, "fps=0"),
        ({"root": "floor"}, "keep or ground"),
        ({"fingers": "2"}, "true or false"),
        ({"speed": "1"}, "speed=1"),
    ],
)
def test_wrong_arguments_are_one_line(
    changes: dict[str, str | None], word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"motions": str(tmp_path), "embodiment": "bimanual", "out": str(tmp_path / "o")}
    arguments = [f"{k}={v}" for k, v in (given | changes).items() if v is not None]
    _refused(arguments, word, capsys)


# ------------------------------------------------------------------ the command


def test_command_writes_a_set_and_says_what_it_did(
    tmp_path: Path,
    compiled: None,
    bimanual: Embodiment,
    demo_walk: np.ndarray,
    fullbody: Embodiment,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "in"
    (folder / "a b").mkdir(parents=True)
    elbow = {"elbow_flex_r": np.linspace(0.1, 0.5, 12), "soleus": np.zeros(12)}
    write_table(folder / "a b" / "bend.sto", elbow)
    # The same name, and formats that no suffix tells.
    write_table(folder / "a_b_bend.txt", elbow)
    cache = write_cache(folder / "c.npz", fullbody, demo_walk[:10])
    cache.rename(folder / "c.data")
    (folder / "notes.txt").write_text("nothing of interest\n")
    arguments = [f"motions={folder}", "embodiment=bimanual", f"out={tmp_path / 'out'}"]
    assert command.main([*arguments, "fps=50", "activations=true"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    clips = load_motion_set(tmp_path / "out", bimanual)
    assert [clip.name for clip in clips] == ["a_b_bend", "a_b_bend_2", "c"]
    assert all(clip.fps == 50 and clip.act is not None for clip in clips)
    lines = printed.out.splitlines()
    assert lines[0].startswith("a_b_bend: 6 frames at 50 Hz, 0.10 s, 1 of 14 joints matched")
    assert "  columns not matched: soleus" in lines
    assert any(line.startswith("skipped") and "notes.txt" in line for line in lines)


def test_help_needs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: python -m retarget.importers")


def test_importing_needs_no_torch() -> None:
    code = "import sys, retarget.importers.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
