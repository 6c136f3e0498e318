"""Motions whose weight rests on their feet: where it is, where it should be, and the way there."""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

from retarget.balance import Balance
from retarget.quality_replay import replay
from retarget.reference import differentiate
from retarget.solve import Solution, Solver
from retarget.solve_options import SolveOptions
from retarget.tracks import track_frames, tracks
from retarget.zero_moment import Areas, displacement, pressure, zero_moment_points
from sim.embodiment import Embodiment
from sim.independent import IndependentCoordinates
from sim.kinematics import Kinematics
from sim.leg import Leg
from tests.conftest import body
from tests.retarget.captured import walk_quality

_SQUARE = np.array([[0.0, 0.0], [0.2, 0.0], [0.2, 0.1], [0.0, 0.1]])


def _areas(frames: int, margin: float = 0.0, points: np.ndarray = _SQUARE) -> Areas:
    down = np.ones((frames, len(points)), dtype=bool)
    return Areas.of(np.tile(points, (frames, 1, 1)), down, margin)


def test_the_zero_moment_point_is_where_the_ground_would_push() -> None:
    # 700 N up and 70 N ahead at a centre of mass 0.9 m above (0.3, 0.1), where the root is too.
    wrench = np.array([[70.0, 0.0, 700.0, 0.0, 0.0, 0.0]] * 2)
    wrench[1, 2] = 20.0  # nearly in the air
    root = np.array([[0.3, 0.1, 0.9]] * 2)
    points, unloaded = zero_moment_points(wrench, root, 700.0)
    np.testing.assert_allclose(points[0], [0.3 - 0.9 * 0.1, 0.1])
    assert unloaded.tolist() == [False, True]


def test_a_force_at_the_zero_moment_point_tips_nothing() -> None:
    embodiment, rng = body("fullbody"), np.random.default_rng(0)
    model = embodiment.model
    qpos = np.tile(model.qpos0, (6, 1))
    qpos[:, :3] += rng.normal(size=(6, 3)) * 0.1
    qpos[:, embodiment.independent_qpos] += rng.uniform(-0.2, 0.2, (6, 31))
    qvel = rng.normal(size=(6, model.nv)) * 0.3
    record = replay(embodiment, qpos, qvel, rng.normal(size=(6, model.nv)), tendons=False)
    points, unloaded = zero_moment_points(record.wrench, qpos[:, :3], 700.0)
    assert not unloaded.any()
    arm = qpos[:, :3] - np.concatenate((points, np.zeros((6, 1))), axis=1)
    moment = record.wrench[:, 3:] + np.cross(arm, record.wrench[:, :3])
    np.testing.assert_allclose(moment[:, :2], 0.0, atol=1e-9)


def test_way_back_leads_to_the_nearest_point_of_an_area() -> None:
    points = np.array([[0.1, 0.05], [0.25, 0.05], [0.1, -0.03], [0.23, 0.14]])
    back = _areas(4).way_back(points)
    np.testing.assert_allclose(back[:3], [[0, 0], [-0.05, 0], [0, 0.03]], atol=1e-9)
    # At a corner the nearest of 64 directions is off by 2.8 degrees at most.
    np.testing.assert_allclose(back[3], [-0.03, -0.04], atol=0.05 * np.sin(np.deg2rad(2.9)))
    # A centimetre further in with a margin; half of what is narrower than four of them is kept.
    np.testing.assert_allclose(_areas(4, 0.01).way_back(points)[1], [-0.06, 0], atol=1e-9)
    narrow = _areas(1, 0.05, _SQUARE * [1.0, 0.2])
    np.testing.assert_allclose(narrow.way_back(np.array([[0.1, -0.01]])), [[0, 0.015]], atol=1e-9)


def test_without_a_foot_on_the_ground_nothing_is_asked() -> None:
    down = np.zeros((2, 4), dtype=bool)
    down[1] = True
    areas = Areas.of(np.tile(_SQUARE, (2, 1, 1)), down, 0.0)
    np.testing.assert_allclose(areas.way_back(np.full((2, 2), 0.5))[0], 0.0)
    assert areas.there.tolist() == [False, True] and np.isfinite(areas.reach).all()


@pytest.mark.parametrize("share", [1.0, 0.8])
def test_a_body_that_stands_beside_its_feet_is_moved_over_them(share: float) -> None:
    points = np.tile([0.25, 0.05], (300, 1))
    found = displacement(points, _areas(300), 0.95, 100.0, share, ease=1e-4)
    np.testing.assert_allclose(found, np.tile([-0.05 / share, 0.0], (300, 1)), atol=2e-5)
    assert not displacement(points - [0.1, 0.0], _areas(300), 0.95, 100.0).any()


def test_a_sway_is_undone_as_the_cart_table_says() -> None:
    # Whole periods, symmetric at the ends, as the cosine basis has them.
    t = np.arange(400) / 100 + 0.005
    frequency, amplitude, height = 1.0, 0.08, 0.95
    sway = amplitude * np.cos(2 * np.pi * frequency * t)
    points = np.stack((sway, np.zeros(400)), axis=1)
    spot = np.zeros((1, 2))
    found = displacement(points, _areas(400, 0.0, spot), height, 100.0, ease=1e-6)
    expected = -sway / (1 + height / 9.81 * (2 * np.pi * frequency) ** 2)
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-4)
    np.testing.assert_allclose(found[:, 1], 0.0, atol=1e-9)


def test_nothing_pushes_in_the_air() -> None:
    points = np.tile([0.3, 0.05], (240, 1))
    down = np.ones((240, 4), dtype=bool)
    down[100:140] = False
    areas = Areas.of(np.tile(_SQUARE, (240, 1, 1)), down, 0.0)
    points[140:, 0] = -0.1  # ahead of the feet before the flight, behind them after it
    found = displacement(points, areas, 0.95, 100.0)
    pushed = np.abs(np.diff(found[:, 0], 2)) * 100**2
    assert pushed[105:134].max() < 0.1 < pushed[:95].max()
    assert found[40, 0] < -0.03 and found[200, 0] > 0.03


def test_parts_of_the_leg_share_a_displacement_by_their_height() -> None:
    embodiment = body("fullbody")
    balance = Balance(embodiment)
    share = dict(zip((t.frame for t in tracks(embodiment)), balance.track_share, strict=True))
    for side in ("left", "right"):
        assert share[f"{side}_ankle_mimic"] == pytest.approx(0.0, abs=0.02)
        assert share[f"{side}_toes_mimic"] == 0.0
        assert 0.4 < share[f"{side}_knee_mimic"] < 0.6
        assert share[f"{side}_hip_mimic"] == pytest.approx(1.0, abs=0.02)
        assert share[f"{side}_hand_mimic"] == 1.0  # hanging as low as the hip, but no leg
    moved = balance.moved(torch.zeros(2, len(share), 3), np.array([[0.1, 0.0], [0.0, -0.2]]))
    np.testing.assert_allclose(moved[0, :, 0], 0.1 * balance.track_share, atol=1e-6)
    np.testing.assert_allclose(moved[1, :, 1], -0.2 * balance.track_share, atol=1e-6)
    assert not moved[..., 2].any()


def test_the_centre_of_mass_takes_its_share() -> None:
    embodiment = body("fullbody")
    model, couplings = embodiment.model, embodiment.couplings
    data = mujoco.MjData(model)
    legs = [Leg.of(embodiment, side) for side in ("left", "right")]

    def measure(qpos: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        data.qpos[:] = qpos
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        return data.subtree_com[0].copy(), [data.xpos[leg.bodies[2]].copy() for leg in legs]

    bent = model.qpos0.copy()
    for leg in legs:
        bent[leg.hip], bent[leg.knee], bent[leg.ankle] = 0.3, 0.6, 0.3
    bent = couplings.complete_qpos(bent)
    com, feet = measure(bent)
    # Two centimetres to the side: by hip adduction alone, feet in their places nearly.
    shift, moved = np.array([0.02, 0.0, 0.0]), bent.copy()
    moved[:3] += shift
    best, angle = np.inf, 0.0
    for candidate in np.linspace(-0.05, 0.05, 201):
        for leg in legs:
            moved[leg.adduction] = bent[leg.adduction] - leg.outwards * candidate
        off = sum(np.linalg.norm(a - b) for a, b in zip(measure(moved)[1], feet, strict=True))
        best, angle = min((best, angle), (off, candidate))
    assert best < 0.004
    for leg in legs:
        moved[leg.adduction] = bent[leg.adduction] - leg.outwards * angle
    share = (measure(moved)[0] - com)[0] / 0.02
    assert Balance(embodiment).mass_share == pytest.approx(share, abs=0.03)


def _solved(embodiment: Embodiment, qpos: np.ndarray, **options: object) -> Solution:
    wanted = Kinematics(embodiment.model, track_frames(embodiment))(torch.from_numpy(qpos))
    return Solver(embodiment, SolveOptions(**options)).solve([wanted], 100.0)[0]


def _outside(embodiment: Embodiment, solution: Solution) -> np.ndarray:
    """How far (T,) the zero-moment point is outside what the soles enclose (m)."""
    solver = Solver(embodiment)
    points = solver.stance.foot_points(solution.joints, solution.root)
    qpos = IndependentCoordinates(embodiment).qpos(solution.joints.double(), solution.root.double())
    qpos = qpos.numpy()
    qvel = differentiate(embodiment.model, qpos, 100.0)
    qacc = np.gradient(qvel, 0.01, axis=0)
    wrench = replay(embodiment, qpos, qvel, qacc, tendons=False).wrench
    found, areas = pressure(wrench, qpos[:, :3], points, points[..., 2] < 0.015, 700.0)
    return np.linalg.norm(areas.way_back(found), axis=1)


def test_who_leans_too_far_is_set_back_over_his_feet() -> None:
    embodiment = body("fullbody")
    model = embodiment.model
    qpos = np.tile(model.qpos0, (80, 1))
    for side in "rl":
        qpos[:, model.joint(f"shoulder_elv_{side}").qposadr[0]] = 0.5
        qpos[:, model.joint(f"ankle_angle_{side}").qposadr[0]] = 0.28
    # Tipped forwards (the pelvis faces its own negative y): its weight is ahead of its toes.
    axes, turn, pose = np.zeros(9), np.zeros(4), np.zeros(4)
    mujoco.mju_quat2Mat(axes, model.qpos0[3:7])
    mujoco.mju_axisAngle2Quat(turn, axes.reshape(3, 3)[:, 0], 0.3)
    mujoco.mju_mulQuat(pose, turn, model.qpos0[3:7])
    qpos[:, 3:7] = pose
    qpos = embodiment.couplings.complete_qpos(qpos)
    tipping = _solved(embodiment, qpos, balance=False)
    standing = _solved(embodiment, qpos)
    assert np.median(_outside(embodiment, tipping)) > 0.02
    assert np.median(_outside(embodiment, standing)) < 0.002
    # Feet stay where they were, on the ground.
    assert standing.standing.mean() > 0.9
    feet = [Solver(embodiment).stance.foot_points(s.joints, s.root) for s in (tipping, standing)]
    assert np.abs(feet[1] - feet[0]).max() < 0.01
    # What errors are measured from is what was asked for.
    assert torch.equal(standing.target_position, tipping.target_position)


def test_who_stands_rests_further_within_his_soles_than_who_steps() -> None:
    embodiment = body("fullbody")
    qpos = np.tile(embodiment.model.qpos0, (80, 1))
    record = replay(embodiment, qpos, np.zeros((80, 88)), np.zeros((80, 88)), tendons=False)
    weight = 9.81 * embodiment.model.body_mass.sum()
    nowhere = np.zeros((80, 1, 3))
    pressed, _ = pressure(record.wrench, qpos[:, :3], nowhere, np.ones((80, 1), bool), weight)
    # Soles of 20 by 30 cm, the weight a centimetre and a half within their long edge.
    corners = np.array([[-0.015, -0.1], [0.285, -0.1], [0.285, 0.1], [-0.015, 0.1]])
    soles = np.zeros((80, 4, 3))
    soles[..., :2] = pressed[:, None] + corners
    balance = Balance(embodiment)

    def moved(still: float, points: np.ndarray = soles) -> np.ndarray:
        by = balance.find(qpos, points, [80], 100.0, np.full(80, still), (0.01, 0.05))
        return balance.mass_share * by

    np.testing.assert_allclose(moved(0.0), 0.0, atol=1e-6)
    # All but what ease keeps back; halfway between a step and standing it is 3 cm.
    for still, asked in ((1.0, 0.035), (0.5, 0.015)):
        np.testing.assert_allclose(moved(still)[:, 0], asked, rtol=0.05)
        np.testing.assert_allclose(moved(still)[:, 1], 0.0, atol=1e-3)
    # The far edge a centimetre up: it will bear in a step, and does not in standing.
    raised = soles.copy()
    raised[:, 1:3, 2] = 0.01
    raised[:, [0, 3], 0] -= 0.05
    np.testing.assert_allclose(moved(0.0, raised), 0.0, atol=1e-6)
    assert (moved(1.0, raised)[:, 0] < -0.03).all()


def test_a_captured_walk_needs_less_of_a_hand_that_holds_it(shared: Path) -> None:
    plain, balanced = (walk_quality(shared, balance=balance) for balance in (False, True))
    assert balanced.residual_force_mean_pct_bw < 0.65 * plain.residual_force_mean_pct_bw
    assert balanced.residual_force_max_pct_bw < 0.75 * plain.residual_force_max_pct_bw
    assert balanced.residual_moment_mean_pct_bw_m < 0.75 * plain.residual_moment_mean_pct_bw_m
    assert balanced.tipping_mean_cm < 0.3 * plain.tipping_mean_cm
    assert balanced.tipping_p95_cm < 0.4 * plain.tipping_p95_cm
    assert balanced.site_error_mean_cm < plain.site_error_mean_cm + 0.1
    assert balanced.joint_jerk_rms_rad_s3 < 1.05 * plain.joint_jerk_rms_rad_s3
    assert balanced.skating_p95_cm_s < 1.1 * plain.skating_p95_cm_s
    assert balanced.joint_limit_violation_pct == balanced.floating_stance_pct == 0
    assert balanced.self_collision_depth_mm < 1
