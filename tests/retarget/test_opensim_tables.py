"""Tables for OpenSim: read back they are the same postures; moments do the same work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retarget.importers.import_motions import import_motions
from retarget.importers.opensim import LUMBAR, lumbar_gain
from retarget.importers.storage import write_table
from retarget.motion import Motion
from retarget.opensim_tables import coordinates, ground_forces, in_degrees, moments
from sim.embodiment import Embodiment
from tests.conftest import ROOT

CLIPS = {"fullbody": "walk", "bimanual": "drink"}


def _posture(embodiment: Embodiment) -> np.ndarray:
    clip = f"{CLIPS[embodiment.name]}.npz"
    motion = Motion.load(ROOT / "data" / "demo" / embodiment.name / clip, embodiment)
    qpos = motion.qpos[:150].astype(float)
    if embodiment.has_root:  # turned about the vertical, somewhere else
        half = 1.0
        turn = np.array([np.cos(half), 0.0, 0.0, np.sin(half)])
        qpos[:, 3:7] = [_product(turn, quaternion) for quaternion in qpos[:, 3:7]]
        qpos[:, :2] += 1.5, -0.5
    return qpos


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    vector = a[0] * b[1:] + b[0] * a[1:] + np.cross(a[1:], b[1:])
    return np.array([a[0] * b[0] - a[1:] @ b[1:], *vector])


def test_what_is_written_is_read_back(embodiment: Embodiment, tmp_path: Path) -> None:
    qpos = _posture(embodiment)
    time = np.arange(1, len(qpos) + 1) / 100.0
    columns = in_degrees(coordinates(embodiment, qpos))
    write_table(tmp_path / "clip.sto", time, columns, degrees=True)
    found = import_motions(tmp_path / "clip.sto", embodiment, root="keep")
    (motion,), (report,) = found.motions, found.reports
    assert not report.unmatched and not report.neutral
    independent = embodiment.independent_qpos
    np.testing.assert_allclose(motion.qpos[:, independent], qpos[:, independent], atol=1e-5)
    if embodiment.has_root:
        np.testing.assert_allclose(motion.qpos[:, :3], qpos[:, :3], atol=1e-5)
        same = np.abs((motion.qpos[:, 3:7] * qpos[:, 3:7]).sum(1))
        np.testing.assert_allclose(same, 1.0, atol=1e-6)


def test_a_body_that_turns_round_does_not_jump(fullbody: Embodiment) -> None:
    angle = np.linspace(0.0, 4 * np.pi, 200)
    qpos = np.tile(fullbody.model.qpos0, (200, 1))
    qpos[:, 3:7] = np.stack(
        [np.cos(angle / 2), 0 * angle, 0 * angle, np.sin(angle / 2)], axis=1
    )  # fmt: skip
    turned = coordinates(fullbody, qpos)["pelvis_rotation"]
    np.testing.assert_allclose(turned - turned[0], angle, atol=1e-9)


def test_moments_do_the_work_of_their_coordinates(fullbody: Embodiment) -> None:
    generator = np.random.default_rng(0)
    count = len(fullbody.independent_joints)
    values, speed = generator.normal(size=(2, 5, count))
    columns = moments(fullbody, values)
    power = np.zeros(5)
    of = {joint: coordinate for coordinate, joint in LUMBAR.items()}
    for joint, rate in zip(fullbody.independent_joints, speed.T, strict=True):
        gain = lumbar_gain(fullbody, joint) if joint in of else 1.0
        power += columns[f"{of.get(joint, joint)}_moment"] * gain * rate
    np.testing.assert_allclose(power, (values * speed).sum(1), atol=1e-10)
    assert {f"{name}_moment" for name in LUMBAR} < set(columns)
    # The three joints of the trunk move the thorax by more than themselves.
    assert lumbar_gain(fullbody, "flex_extension") != pytest.approx(1.0, abs=0.01)


def test_ground_forces_are_in_opensims_axes() -> None:
    """The body faces -y, its right is at -x: OpenSim's X and Z."""
    force, centre = np.zeros((1, 2, 3)), np.zeros((1, 2, 3))
    force[0, 0], centre[0, 0] = (-3.0, -20.0, 700.0), (-0.1, -0.4, 0.0)
    columns = ground_forces(force, centre, np.array([[2.5, 0.0]]))
    right = [float(columns[f"ground_force_r_{name}"][0]) for name in ("vx", "vy", "vz")]
    assert right == [20.0, 700.0, 3.0]
    where = [float(columns[f"ground_force_r_{name}"][0]) for name in ("px", "py", "pz")]
    assert where == [0.4, 0.0, 0.1]
    assert [float(columns[f"ground_torque_r_{axis}"][0]) for axis in "xyz"] == [0.0, 2.5, 0.0]
    assert not any(columns[name].any() for name in columns if "_l_" in name)
