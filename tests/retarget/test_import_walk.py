"""Importers: the measured walk of OpenSim, as the full body walks it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retarget.importers.ground import foot_heights
from retarget.importers.import_motions import Imported, import_motions
from sim.embodiment import Embodiment
from tests.retarget.imported_files import (
    FORWARDS,
    RIGHT,
    UP,
    angle_between,
    angles,
    assert_same_upper_arm,
    euler,
    posed,
    read_table,
)


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
            assert_same_upper_arm(data, np.array(arm), side, tolerance=0.5)
