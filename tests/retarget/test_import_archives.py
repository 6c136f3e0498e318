"""Importers: the archives of MuscleMimic and LocoMuJoCo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retarget import load_motion_set
from retarget.importers.ground import foot_heights
from retarget.importers.import_motions import import_motions
from retarget.reference import make_motion
from sim.embodiment import Embodiment
from tests.conftest import ROOT
from tests.retarget.imported_files import (
    angles,
    leg_table,
    posed,
    write_cache,
)


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
    qpos = load_motion_set(ROOT / "data" / "demo" / "bimanual", bimanual)[0].qpos[:20]
    file = write_cache(tmp_path / "c.npz", bimanual, qpos, joint_names=names)
    report = import_motions(file, bimanual).reports[0]
    assert report.unmatched == ("right_elbow_joint",)
    assert report.neutral == ("elbow_flex_r",)
    assert any("elbow_flex_r" in line and "neutral" in line for line in report.lines())


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
    table = {f"q_{name}": values for name, values in leg_table(20).items()}
    table |= {"q_hip_adduction_l": np.full(20, 0.2), "q_hip_adduction_r": np.full(20, 0.1)}
    np.savez(tmp_path / "a.npz", **table, dq_pelvis_tx=np.zeros(20))
    motion = import_motions(tmp_path / "a.npz", fullbody).motions[0]
    assert angles(motion, fullbody, "hip_adduction_l")[0] == pytest.approx(-0.2)
    assert angles(motion, fullbody, "hip_adduction_r")[0] == pytest.approx(0.1)
