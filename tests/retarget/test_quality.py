"""The quality checks on clips whose numbers are known beforehand."""

from __future__ import annotations

from types import SimpleNamespace

import mujoco
import numpy as np
import pytest

from retarget import Motion, load_motion_set
from retarget.demo.foot_contact import lowest_points
from retarget.quality import Quality, QualityError, check_quality
from retarget.quality_contact import foot_points
from retarget.quality_dynamics import GROUND_GAP, project
from retarget.quality_joints import joint_ranges
from retarget.quality_muscles import TendonJumps
from retarget.quality_replay import replay
from retarget.reference import differentiate
from retarget.report import rejections
from sim.embodiment import Embodiment
from tests.conftest import ROOT, body

FPS = 100.0
GRAVITY = 9.81
FAST = {"tendons": False, "dynamics": False}


@pytest.fixture(scope="module")
def walk() -> Motion:
    [motion] = load_motion_set(ROOT / "data" / "demo" / "fullbody", body("fullbody"))
    return motion


@pytest.fixture(scope="module")
def standing() -> np.ndarray:
    """The neutral posture with the lowest point of its feet on the floor."""
    embodiment = body("fullbody")
    qpos = embodiment.couplings.complete_qpos(embodiment.model.qpos0)
    qpos[2] -= _points(embodiment, qpos)[:, 2].min()
    return qpos


def _points(embodiment: Embodiment, qpos: np.ndarray) -> np.ndarray:
    """The demo's own lowest points (P, 3) of one posture."""
    data = mujoco.MjData(embodiment.model)
    data.qpos[:] = qpos
    mujoco.mj_kinematics(embodiment.model, data)
    geoms = np.concatenate(list(embodiment.foot_geoms.values()))
    return lowest_points(embodiment.model, data, geoms)


def _check(embodiment: Embodiment, qpos: np.ndarray, **options: object) -> Quality:
    qvel = differentiate(embodiment.model, qpos, FPS)
    return check_quality(embodiment, qpos, qvel, FPS, **(FAST | options))


def _address(embodiment: Embodiment, joint: str) -> int:
    return embodiment.model.joint(joint).qposadr[0]


def test_the_demo_walk_is_clean(fullbody: Embodiment, walk: Motion) -> None:
    part = slice(100, 250)
    quality = check_quality(
        fullbody, walk.qpos[part], walk.qvel[part], walk.fps, walk.site_pos[part],
        walk.site_quat[part],
    )  # fmt: skip
    assert quality.frames == 150
    assert quality.site_error_max_cm < 1e-4  # the file's single precision
    assert quality.orientation_error_mean_deg < 1e-4
    assert quality.joint_limit_violation_pct == 0 and quality.joint_limit_worst_joint is None
    assert quality.equality_residual_max < 1e-9
    assert quality.penetration_frames_pct == 0 and quality.penetration_depth_mm < 1
    assert quality.velocity_mismatch_max < 1e-6
    assert quality.wrap_jump_count == quality.moment_arm_jump_count == 0
    assert quality.wrap_jump_max_mm < 0.01  # moment arms explain the lengths
    assert quality.residual_force_mean_pct_bw < 2
    assert 95 < quality.vertical_force_mean_pct_bw < 105
    assert quality.airborne_frames_pct == 0
    assert rejections(quality) == []


def test_foot_points_are_those_of_the_demo(fullbody: Embodiment, walk: Motion) -> None:
    frames = walk.qpos[[0, 137, 180]]
    record = replay(fullbody, frames, np.zeros((3, fullbody.model.nv)), None, tendons=False)
    points, owner = foot_points(fullbody, record.foot_pos, record.foot_mat)
    expected = np.array([_points(fullbody, qpos) for qpos in frames])
    np.testing.assert_allclose(points, expected, atol=1e-12)
    assert owner.max() == 3 and len(owner) == 18


def test_site_errors(fullbody: Embodiment, standing: np.ndarray) -> None:
    qpos = np.tile(standing, (4, 1))
    record = replay(fullbody, qpos, np.zeros((4, fullbody.model.nv)), None, tendons=False)
    target = record.site_pos.copy()
    target[:, 0] += [0.03, 0.0, 0.04]  # 5 cm off in all frames
    target[:2, 1] += [0.0, 0.01, 0.0]  # 1 cm off in half of them
    target[:, 3:] = np.nan
    quat = np.full((4, len(fullbody.mimic_sites), 4), np.nan)
    for site, degrees in ((0, 10.0), (2, 180.0)):
        turn, out = np.zeros(4), np.zeros(4)
        mujoco.mju_axisAngle2Quat(turn, np.array([0.6, 0.0, 0.8]), np.radians(degrees))
        for frame in range(4):
            mujoco.mju_mat2Quat(out, record.site_mat[frame, site].ravel())
            mujoco.mju_mulQuat(quat[frame, site], turn, out)
            quat[frame, site] *= -1.5  # neither sign nor length matters
    quality = _check(fullbody, qpos, target_pos=target, target_quat=quat)
    first, second, third = fullbody.mimic_sites[:3]
    mean = quality.site_error_mean_cm_by_site
    assert mean == pytest.approx({first: 5.0, second: 0.5, third: 0.0})
    assert quality.site_error_max_cm_by_site[second] == pytest.approx(1.0)
    assert quality.site_error_mean_cm == pytest.approx(5.5 / 3)
    assert quality.site_error_max_cm == pytest.approx(5.0)
    assert quality.site_error_rmse_cm == pytest.approx(np.sqrt((4 * 25 + 2 * 1) / 12))
    assert quality.orientation_error_mean_deg == pytest.approx(95.0)
    assert quality.orientation_error_mean_deg_by_site == pytest.approx({first: 10.0, third: 180.0})


def test_limit_violations_are_counted_by_pairs(fullbody: Embodiment, standing: np.ndarray) -> None:
    qpos = np.tile(standing, (10, 1))
    upper = fullbody.model.joint("ankle_angle_r").range[1]
    qpos[4:7, _address(fullbody, "ankle_angle_r")] = upper + np.radians([1.0, 2.0, 0.5])
    qpos[7, _address(fullbody, "ankle_angle_r")] = upper + 0.9e-5  # within the tolerance
    quality = _check(fullbody, qpos)
    assert quality.joint_limit_violation_pct == pytest.approx(100 * 3 / (82 * 10))
    assert quality.joint_limit_frames == 3
    assert quality.joint_limit_worst_joint == "ankle_angle_r"
    assert quality.joint_limit_worst_deg == pytest.approx(2.0)
    assert quality.joint_limit_violation_pct_by_joint == pytest.approx({"ankle_angle_r": 30.0})
    assert quality.joint_limit_worst_slide is None


def test_rounding_of_coupled_ranges_is_no_violation(
    fullbody: Embodiment, standing: np.ndarray
) -> None:
    model, qpos = fullbody.model, np.tile(standing, (201, 1))
    qpos[:, _address(fullbody, "knee_angle_r")] = np.linspace(
        *model.joint("knee_angle_r").range, 201
    )
    qpos = fullbody.couplings.complete_qpos(qpos)
    follower = model.joint("knee_angle_rotation2_r")
    values = qpos[:, follower.qposadr[0]]
    # The model's stated range is left, by hundredths of a degree: the allowance has work to do.
    excess = np.maximum(follower.range[0] - values, values - follower.range[1]).max()
    assert excess == pytest.approx(np.radians(0.0142), rel=0.01)
    assert _check(fullbody, qpos).joint_limit_violation_pct == 0
    limited = model.jnt_limited.astype(bool)
    widened = np.abs(joint_ranges(fullbody) - model.jnt_range).max(axis=1)
    widened[~limited] = 0
    assert 0 < widened.max() < np.radians(0.1)
    names = {fullbody.joint_names[joint] for joint in np.flatnonzero(widened)}
    assert names <= set(fullbody.dependent_joints)
    assert "L4_L5_FE" not in names and "Abs_r3" not in names
    # The spine at either end of its range takes L4_L5_FE degrees beyond its own.
    bent = np.tile(standing, (4, 1))
    bent[:2, _address(fullbody, "flex_extension")] = model.joint("flex_extension").range
    quality = _check(fullbody, fullbody.couplings.complete_qpos(bent))
    assert quality.joint_limit_violation_pct_by_joint["L4_L5_FE"] == 50


def test_a_broken_equality_shows(fullbody: Embodiment, standing: np.ndarray) -> None:
    qpos = np.tile(standing, (3, 1))
    qpos[1, _address(fullbody, "knee_angle_beta_rotation1_l")] += 1e-3
    assert _check(fullbody, qpos).equality_residual_max == pytest.approx(1e-3)


def test_lowering_the_root_penetrates(fullbody: Embodiment, standing: np.ndarray) -> None:
    qpos = np.tile(standing, (10, 1))
    assert _check(fullbody, qpos).penetration_depth_mm == pytest.approx(0, abs=1e-6)
    height = 1e2 * replay(
        fullbody, qpos[:1], np.zeros((1, fullbody.model.nv)), None, tendons=False
    ).lowest_centre[0]  # fmt: skip
    qpos[:4, 2] -= 0.003
    qpos[4:6, 2] -= 0.0005  # less than 1 mm does not count
    quality = _check(fullbody, qpos)
    assert quality.penetration_frames_pct == pytest.approx(40)
    assert quality.penetration_depth_mm == pytest.approx(3, abs=1e-6)
    assert "foot" in quality.penetration_geom
    assert quality.float_height_cm == pytest.approx(height - 0.3)


def test_floating_stance(fullbody: Embodiment, standing: np.ndarray) -> None:
    qpos = np.tile(standing, (10, 1))
    qpos[5:, 2] += 0.02
    qpos[9, 2] += 0.01
    contact = np.zeros((10, 18), dtype=bool)
    contact[2:8, 3] = True
    quality = _check(fullbody, qpos, contact=contact)
    assert quality.stance_frames == 6
    assert quality.floating_stance_frames == 3
    assert quality.floating_stance_pct == pytest.approx(50)
    assert quality.floating_stance_worst_mm == pytest.approx(20)  # not the 30 of frame 9
    assert _check(fullbody, qpos).floating_stance_pct is None


def test_skating_is_the_speed_of_planned_points(fullbody: Embodiment, standing: np.ndarray) -> None:
    qpos = np.tile(standing, (11, 1))
    qpos[:, 0] += 0.1 * np.arange(11) / FPS
    qpos[:, 2] += 0.5 * np.arange(11) / FPS  # vertical motion is no skating
    contact = np.zeros((11, 18), dtype=bool)
    contact[:6, :9] = True
    quality = _check(fullbody, qpos, contact=contact)
    assert quality.skating_steps == 5 * 9
    assert quality.skating_median_cm_s == pytest.approx(10)
    assert quality.skating_p95_cm_s == pytest.approx(10)
    # Turning about the vertical at w: each point moves at w times its distance from the axis.
    rate = 0.5
    spin = np.tile(standing, (3, 1))
    for frame in range(3):
        turn = np.array([np.cos(rate * frame / FPS / 2), 0, 0, np.sin(rate * frame / FPS / 2)])
        mujoco.mju_mulQuat(spin[frame, 3:7], turn, standing[3:7])
    radius = np.linalg.norm((_points(fullbody, standing) - standing[:3])[:, :2], axis=1)
    quality = _check(fullbody, spin, contact=np.ones((3, 18), dtype=bool))
    assert quality.skating_median_cm_s == pytest.approx(100 * rate * np.median(radius), rel=1e-3)


def test_self_collision(fullbody: Embodiment, standing: np.ndarray) -> None:
    qpos = np.tile(standing, (4, 1))
    quality = _check(fullbody, qpos)
    # The upper arms are 2 cm deep in the thorax at rest.
    assert quality.self_collision_frames_pct == 100
    assert quality.self_collision_pair == "thorax_coll1 - humerus_r_coll"
    assert quality.self_collision_depth_mm == pytest.approx(21.47, abs=0.05)
    assert quality.self_collision_neutral_mm == pytest.approx(quality.self_collision_depth_mm)
    assert quality.self_collision_beyond_neutral_pct == 0
    for side in "rl":  # legs pressed into each other
        joint = fullbody.model.joint(f"hip_adduction_{side}")
        qpos[3, joint.qposadr[0]] = joint.range[1]
    crossed = _check(fullbody, qpos)
    assert crossed.self_collision_beyond_neutral_pct == pytest.approx(25)
    assert crossed.self_collision_beyond_neutral_mm > 10
    left, right = crossed.self_collision_beyond_neutral_pair.split(" - ")
    assert {left[0], right[0]} == {"l", "r"} and "col" in left
    assert crossed.penetration_frames_pct == 0


def test_peaks_of_a_sine(fullbody: Embodiment, standing: np.ndarray) -> None:
    time = np.arange(201) / FPS
    amplitude, omega = 0.3, 2 * np.pi
    qpos = np.tile(standing, (201, 1))
    qpos[:, _address(fullbody, "elbow_flex_r")] = 0.8 + amplitude * np.sin(omega * time)
    qpos[:, 0] += 0.5 * 2.0 * time**2
    quality = _check(fullbody, qpos)
    assert quality.joint_velocity_joint == quality.joint_acceleration_joint == "elbow_flex_r"
    assert quality.joint_velocity_max_rad_s == pytest.approx(amplitude * omega, rel=2e-3)
    assert quality.joint_acceleration_max_rad_s2 == pytest.approx(amplitude * omega**2, rel=5e-3)
    assert quality.root_acceleration_max_m_s2 == pytest.approx(2.0, rel=1e-6)
    hinges = np.isin(
        fullbody.independent_dofs, fullbody.model.jnt_dofadr[fullbody.model.jnt_type == 3]
    )
    rms = amplitude * omega**3 / np.sqrt(2) / np.sqrt(hinges.sum())
    assert quality.joint_jerk_rms_rad_s3 == pytest.approx(rms, rel=0.05)
    assert quality.velocity_mismatch_max == pytest.approx(0)
    qvel = differentiate(fullbody.model, qpos, FPS)
    qvel[100, 7] += 0.3
    qvel[0] += 5.0  # the ends have no central difference
    other = check_quality(fullbody, qpos, qvel, FPS, **FAST)
    assert other.velocity_mismatch_max == pytest.approx(0.3)


def test_tendon_jumps_by_definition(bimanual: Embodiment) -> None:
    """Against the definition written out tendon by tendon, on a motion with a jump."""
    model, data = bimanual.model, mujoco.MjData(bimanual.model)
    qpos = np.tile(bimanual.couplings.complete_qpos(model.qpos0), (60, 1))
    elbow = _address(bimanual, "elbow_flex_r")
    qpos[:, elbow] += 0.3 + 0.2 * np.sin(2 * np.pi * np.arange(60) / FPS)
    smooth = _check(bimanual, qpos, tendons=True)
    qpos[40:, elbow] += 0.3
    quality = _check(bimanual, qpos, tendons=True)
    lengths = []
    for pose in qpos:
        data.qpos[:] = pose
        mujoco.mj_forward(model, data)
        lengths.append(data.ten_length.copy())
    largest, count = (0.0, ""), 0
    for tendon in range(model.ntendon):
        average = None
        for now, before in zip(lengths[1:], lengths[:-1], strict=True):
            rate = abs(now[tendon] - before[tendon]) / model.tendon_length0[tendon]
            average = rate if average is None else 0.99 * average + 0.01 * rate
            if rate > max(10 * average, 1e-3):
                count += 1
                largest = max(largest, (rate, model.tendon(tendon).name))
    assert quality.tendon_jump_max == pytest.approx(largest[0])
    assert quality.tendon_jump_muscle == largest[1]
    assert quality.tendon_jump_count == count > 0
    assert quality.tendon_jump_max > 0.05 > smooth.tendon_rate_max
    assert any("tendon jump" in reason for reason in rejections(quality))


def test_wrap_and_moment_arm_jumps(bimanual: Embodiment) -> None:
    """Lengths and moment arms that jump while no joint moves."""
    model, data = bimanual.model, mujoco.MjData(bimanual.model)
    mujoco.mj_forward(model, data)
    frame = SimpleNamespace(
        qpos=data.qpos.copy(), ten_length=data.ten_length.copy(), ten_J=data.ten_J.copy()
    )
    jumps = TendonJumps(model)
    jumps.add(frame)
    frame.ten_length[5] += 0.002
    jumps.add(frame)
    entry = model.ten_J_rowadr[9]
    assert model.jnt_type[model.dof_jntid[model.ten_J_colind[entry]]] == 3
    frame.ten_J[entry : entry + 2] += 0.02  # two arms of one muscle count once
    jumps.add(frame)
    metrics = jumps.metrics()
    assert metrics["wrap_jump_count"] == metrics["moment_arm_jump_count"] == 1
    assert metrics["wrap_jump_max_mm"] == pytest.approx(2.0)
    assert metrics["wrap_jump_muscle"] == model.tendon(5).name
    assert metrics["moment_arm_jump_max_mm"] == pytest.approx(20.0)
    assert metrics["moment_arm_jump_muscle"] == model.tendon(9).name


def test_the_needed_wrench_is_that_of_inverse_dynamics(fullbody: Embodiment, walk: Motion) -> None:
    model, rng = fullbody.model, np.random.default_rng(3)
    qpos, qvel = walk.qpos[100:103], walk.qvel[100:103]
    qacc = rng.normal(0, 5, qvel.shape)
    record = replay(fullbody, qpos, qvel, qacc, tendons=False)
    data, flags = mujoco.MjData(model), model.opt.disableflags
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_EQUALITY
    try:
        for frame in range(3):
            data.qpos[:], data.qvel[:] = qpos[frame], qvel[frame]
            data.qacc[:] = qacc[frame]
            mujoco.mj_inverse(model, data)
            root = data.xmat[model.jnt_bodyid[0]].reshape(3, 3)
            moment = root @ data.qfrc_inverse[3:6]
            expected = np.concatenate((data.qfrc_inverse[:3], moment))
            np.testing.assert_allclose(record.wrench[frame], expected, rtol=1e-9, atol=1e-6)
    finally:
        model.opt.disableflags = flags


def test_a_ballistic_body_needs_nothing(fullbody: Embodiment, standing: np.ndarray) -> None:
    time = np.arange(20) / FPS
    qpos = np.tile(standing, (20, 1))
    qpos[:, 0] += 1.5 * time
    qpos[:, 2] += 0.3 + 2.0 * time - 0.5 * GRAVITY * time**2
    quality = _check(fullbody, qpos, dynamics=True)
    # One-sided differences at both ends are off by half a step.
    inner = check_quality(
        fullbody, qpos[2:-2], differentiate(fullbody.model, qpos, FPS)[2:-2], FPS, tendons=False
    )
    assert inner.residual_force_max_pct_bw < 1e-4 and inner.residual_moment_max_pct_bw_m < 1e-4
    assert inner.vertical_force_mean_pct_bw == pytest.approx(0, abs=1e-4)
    assert quality.airborne_frames_pct == 100 and quality.tipping_mean_cm == 0


def test_the_ground_carries_a_standing_body(fullbody: Embodiment, standing: np.ndarray) -> None:
    qpos = np.tile(standing, (5, 1))
    quality = _check(fullbody, qpos, dynamics=True)
    assert quality.vertical_force_mean_pct_bw == pytest.approx(100)
    assert quality.residual_force_max_pct_bw < 0.02 and quality.residual_moment_max_pct_bw_m < 0.02
    assert quality.tipping_mean_cm == quality.tipping_p95_cm == 0
    # A body that hangs in the air is held by the residual alone: its weight, through its centre.
    qpos[:, 2] += 0.05
    quality = _check(fullbody, qpos, dynamics=True)
    assert quality.residual_force_mean_pct_bw == pytest.approx(100)
    assert quality.residual_moment_max_pct_bw_m == pytest.approx(0, abs=1e-6)


def test_a_body_that_speeds_up_presses_behind_itself(
    fullbody: Embodiment, standing: np.ndarray
) -> None:
    # At 4 m/s² its zero-moment point is 0.4 heights of its centre of mass away: beyond any foot.
    time, data = np.arange(20) / FPS, mujoco.MjData(fullbody.model)
    qpos = np.tile(standing, (20, 1))
    qpos[:, 1] += 2.0 * time**2
    quality = check_quality(
        fullbody, qpos[2:-2], differentiate(fullbody.model, qpos, FPS)[2:-2], FPS, tendons=False
    )
    data.qpos[:] = standing
    mujoco.mj_kinematics(fullbody.model, data)
    mujoco.mj_comPos(fullbody.model, data)
    points = _points(fullbody, standing)
    edge = points[points[:, 2] < GROUND_GAP, 1].min()  # of the toes, level in x
    behind = data.subtree_com[0, 1] - 4.0 / GRAVITY * data.subtree_com[0, 2]
    expected = 100 * (edge - behind)
    assert quality.tipping_mean_cm == pytest.approx(expected, rel=0.01)


def test_ground_forces_are_the_nearest_of_their_cone() -> None:
    # Hand-worked: pushing up only; a pull has no answer, a shear is cut off by friction.
    up = np.array([[0, 0, 1, 0, 0, 0]], dtype=float)
    target = np.array([[0.2, 0, 0.7, 0, 0, 0.1], [0, 0, -1, 0, 0, 0]], dtype=float)
    found = project(np.stack((up, up)), target)
    np.testing.assert_allclose(found, [[0, 0, 0.7, 0, 0, 0], np.zeros(6)], atol=1e-5)
    edges = np.array([[0.8, 0, 1, 0, 0, 0], [-0.8, 0, 1, 0, 0, 0]])
    found = project(edges[None], np.array([[2.0, 0, 1, 0, 0, 0]]))
    ray = edges[0] / np.linalg.norm(edges[0])
    np.testing.assert_allclose(found[0], ray * (ray @ [2.0, 0, 1, 0, 0, 0]), atol=1e-5)
    # In general: the residual is normal to the solution and has no part along any generator.
    rng = np.random.default_rng(1)
    columns, target = rng.normal(0, 0.5, (50, 24, 6)), rng.normal(0, 1, (50, 6))
    columns[:, :, 2] = 1.0
    found = project(columns, target)
    residual = target - found
    assert np.abs((residual * found).sum(axis=1)).max() < 1e-4
    assert (columns @ residual[..., None]).max() < 1e-4
    assert 5 < (np.linalg.norm(residual, axis=1) > 0.1).sum() < 50


def test_bimanual_leaves_out_root_and_feet(bimanual: Embodiment) -> None:
    for clip in load_motion_set(ROOT / "data" / "demo" / "bimanual", bimanual):
        part = slice(0, 100)
        quality = check_quality(
            bimanual, clip.qpos[part], clip.qvel[part], clip.fps, clip.site_pos[part],
            contact=np.zeros((100, 0), dtype=bool),
        )  # fmt: skip
        assert quality.float_height_cm is None and quality.skating_median_cm_s is None
        assert quality.stance_frames is None and quality.root_acceleration_max_m_s2 is None
        assert quality.residual_force_mean_pct_bw is None
        assert quality.vertical_force_mean_pct_bw is None
        assert quality.penetration_frames_pct == 0
        assert quality.site_error_max_cm < 1e-4
        assert quality.tendon_rate_max > 0
        assert rejections(quality) == []


def test_errors_say_what_is_wrong(fullbody: Embodiment, standing: np.ndarray) -> None:
    qpos, qvel = np.tile(standing, (3, 1)), np.zeros((3, fullbody.model.nv))
    bad = qpos.copy()
    bad[2, 9] = np.nan
    sites = np.zeros((3, 4, 3))
    cases = [
        ({"qpos": qpos[:, :-1]}, r"qpos has shape \(3, 88\), expected \(3, 89\)"),
        ({"qpos": bad}, "qpos is not finite in 1 of 3 frames, the first is frame 2"),
        ({"target_pos": sites}, "target_pos has shape"),
        ({"contact": np.zeros((3, 5), bool)}, r"contact has shape \(3, 5\), expected \(3, 18\)"),
        ({"fps": 0.0}, "fps is 0.0"),
        ({"qpos": qpos[:1], "qvel": qvel[:1]}, "a clip of 1 frame"),
    ]
    for change, message in cases:
        arguments = {"qpos": qpos, "qvel": qvel, "fps": FPS, **FAST} | change
        with pytest.raises(QualityError, match=message) as caught:
            check_quality(fullbody, **arguments)
        assert "\n" not in str(caught.value)
