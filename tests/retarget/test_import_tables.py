"""Importers: names, units, ranges and times of tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retarget.importers.ground import foot_heights, ground_shift
from retarget.importers.import_motions import import_motions
from retarget.importers.interpolation import interpolate
from sim.embodiment import Embodiment
from tests.retarget.imported_files import (
    angles,
    leg_table,
    posed,
    write_table,
)


def test_degrees_paths_and_negative_knees_mean_the_same(
    tmp_path: Path, fullbody: Embodiment
) -> None:
    plain = import_motions(write_table(tmp_path / "plain.sto", leg_table()), fullbody)
    degrees = write_table(tmp_path / "degrees.mot", leg_table(), inDegrees="yes")
    paths = {f"/jointset/some_joint/{name}/value": v for name, v in leg_table().items()}
    paths |= {"/jointset/some_joint/knee_angle_r/speed": np.full(50, np.nan)}
    paths |= {"/forceset/soleus_r/activation": np.zeros(50)}
    negative = {n: -v if "knee" in n or "mtp" in n else v for n, v in leg_table().items()}
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
    low, high = leg_table(), leg_table()
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
    table = leg_table(26) | {"pelvis_rotation": (turn + np.pi) % (2 * np.pi) - np.pi}
    motion = import_motions(write_table(tmp_path / "t.sto", table, fps=50.0), fullbody).motions[0]
    np.testing.assert_allclose(motion.qvel[1:-1, 5], 4.0, atol=1e-6)
