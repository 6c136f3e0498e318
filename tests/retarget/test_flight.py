"""Motions that leave the ground: they fall freely, and their feet stay where they stood."""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np
import pytest
from omegaconf import OmegaConf

from retarget.flight import Flight, airborne
from retarget.least_displacement import GRAVITY, least_displacement, solve_pentadiagonal
from retarget.pipeline import Retargeter
from retarget.quality import Quality
from retarget.quality_replay import replay
from retarget.reference import differentiate
from retarget.settings import RetargetConfig
from sim.embodiment import Embodiment
from sim.leg import Leg

FPS = 100.0


def test_five_diagonals_are_solved_as_by_a_dense_solver() -> None:
    rng, count = np.random.default_rng(0), 12
    lower = np.zeros((2, count, count))
    for k in range(3):
        index = np.arange(count - k)
        lower[:, index + k, index] = rng.uniform(0.5 + (k == 0), 1.5, (2, count - k))
    matrix, rhs = lower @ lower.swapaxes(1, 2), rng.normal(size=(count, 2))
    diagonals = [np.diagonal(matrix, k, 1, 2).T for k in range(3)]
    found = solve_pentadiagonal(*diagonals, rhs)
    for column in range(2):
        np.testing.assert_allclose(
            found[:, column], np.linalg.solve(matrix[column], rhs[:, column])
        )


def _bent(values: np.ndarray) -> np.ndarray:
    """Second differences (T - 2, ...) per second squared."""
    return np.diff(values, 2, axis=0) * FPS**2


def test_a_body_in_the_air_falls_and_the_ground_takes_the_rest() -> None:
    flies = np.zeros(200, bool)
    flies[90:110] = True
    wanted = np.where(flies[:, None], [0.0, 1.0, -4.0], 0.0)  # what holds it up in the air
    weight = np.where(flies[:, None], 1.0, 0.02) * np.ones(3)
    free = np.tile([-np.inf, np.inf], (200, 1))
    none = np.zeros((200, 3))
    by = least_displacement(none, wanted, weight, free, 0.8, FPS)
    np.testing.assert_allclose(0.8 * _bent(by)[90:108], wanted[91:109], atol=0.2)
    assert 0.04 < by[:, 2].max() < 0.06 and np.abs(by[[0, -1]]).max() < 2e-3
    # What was found stays, once nothing more is wanted; twice as much moves twice as far.
    np.testing.assert_allclose(
        least_displacement(by, wanted - _moved(by), weight, free, 0.8, FPS),
        by, atol=1e-9,
    )  # fmt: skip
    np.testing.assert_allclose(
        least_displacement(none, 2 * wanted, weight, free, 0.8, FPS), 2 * by, atol=1e-9
    )
    # A leg that is too short holds it back.
    low = np.tile([-np.inf, 0.001], (200, 1))
    held = least_displacement(by, wanted - _moved(by), weight, low, 0.8, FPS)
    assert held[:, 2].max() < 0.01


def _moved(by: np.ndarray) -> np.ndarray:
    """What a displacement (T, 3) that is level at its ends adds to accelerations (T, 3)."""
    return 0.8 * _bent(np.concatenate((by[:1], by, by[-1:])))


def test_a_short_hop_of_the_soles_is_no_flight() -> None:
    lowest = np.array([0.0] * 5 + [0.01] * 4 + [0.0] * 5 + [0.01] * 5 + [0.0])
    assert np.flatnonzero(airborne(lowest, FPS)).tolist() == list(range(14, 19))


@pytest.fixture(scope="module")
def hop(fullbody: Embodiment) -> np.ndarray:
    """A body with bent legs, moved up and down as a whole by 3 cm within 0.2 s, smoothly."""
    pose = fullbody.model.qpos0.copy()
    for side in ("left", "right"):
        leg = Leg.of(fullbody, side)
        pose[leg.hip], pose[leg.knee], pose[leg.ankle] = 0.4, 0.8, 0.4
    pose = fullbody.couplings.complete_qpos(pose)
    pose[2] -= _soles(fullbody, pose[None])[0]
    qpos = np.tile(pose, (120, 1))
    qpos[50:71, 2] += 0.03 * np.sin(np.pi * np.arange(21) / 20) ** 2
    return qpos


def _soles(fullbody: Embodiment, qpos: np.ndarray) -> np.ndarray:
    """Height (T,) of the lowest point of the feet (m)."""
    model, data = fullbody.model, mujoco.MjData(fullbody.model)
    geoms = np.concatenate(list(fullbody.foot_geoms.values()))
    lowest = []
    for pose in qpos:
        data.qpos[:] = pose
        mujoco.mj_kinematics(model, data)
        gaps = [
            mujoco.mj_geomDistance(model, data, fullbody.floor_geom, int(geom), 1.0, None)
            for geom in geoms
        ]
        lowest.append(min(gaps))
    return np.array(lowest)


def _force(fullbody: Embodiment, qpos: np.ndarray) -> np.ndarray:
    """External force (T, 3) that a motion needs, in body weights."""
    qvel = differentiate(fullbody.model, qpos, FPS)
    wrench = replay(fullbody, qpos, qvel, np.gradient(qvel, 1 / FPS, axis=0), False).wrench
    return wrench[:, :3] / (fullbody.model.body_subtreemass[0] * GRAVITY)


def test_a_hop_becomes_one_that_nothing_holds(fullbody: Embodiment, hop: np.ndarray) -> None:
    flies = np.flatnonzero(airborne(_soles(fullbody, hop), FPS))
    assert 8 <= len(flies) <= 16
    fallen = Flight(fullbody)(hop, FPS)
    before, after = (np.abs(_force(fullbody, q)[flies, 2]) for q in (hop, fallen))
    assert before.mean() > 0.5 and after.mean() < 0.1 * before.mean()
    # Soles are where they were while they stand, and joints within their ranges.
    stands = np.abs(hop[:, 2] - hop[0, 2]) < 0.004
    assert np.abs(_soles(fullbody, fallen)[stands]).max() < 0.005
    model = fullbody.model
    for name in fullbody.independent_joints:
        joint = model.joint(name)
        angles = fallen[:, joint.qposadr[0]]
        assert angles.min() >= joint.range[0] - 1e-9 and angles.max() <= joint.range[1] + 1e-9
    assert np.abs(fallen - hop)[[0, -1], :3].max() < 0.01
    np.testing.assert_allclose(fullbody.couplings.residual(fallen), 0.0, atol=1e-9)


def test_who_stays_on_the_ground_stays_as_he_is(fullbody: Embodiment, hop: np.ndarray) -> None:
    still = np.tile(hop[0], (30, 1))
    assert Flight(fullbody)(still, FPS) is still


def _quality(shared: Path, clip: str, balance: bool) -> Quality:
    path = shared / "data" / "amass" / "CMU" / "02" / f"{clip}_poses.npz"
    models = shared / "data" / "body_models"
    if not path.exists() or not models.exists():
        pytest.skip(f"no captured motion at {path}, or no body model at {models}")
    config = RetargetConfig(
        motions=str(path), body_model=str(models), activations=False, balance=balance
    )
    retargeter = Retargeter(OmegaConf.structured(config))
    source = retargeter.prepare(path)
    return retargeter.finish(source, retargeter.solve([source])[0], 0.0)[1].quality


@pytest.mark.parametrize(("clip", "left"), [("02_03", 0.3), ("02_04", 0.15)])
def test_a_captured_run_and_a_jump_fall_freely(shared: Path, clip: str, left: float) -> None:
    plain, falling = (_quality(shared, clip, balance) for balance in (False, True))
    assert falling.residual_force_mean_pct_bw < left * plain.residual_force_mean_pct_bw
    assert falling.site_error_mean_cm < plain.site_error_mean_cm + 0.3
    assert falling.joint_limit_violation_pct == falling.penetration_frames_pct == 0
    assert falling.self_collision_depth_mm < 5
