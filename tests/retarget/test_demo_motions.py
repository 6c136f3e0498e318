"""The demo motions as stored in data/demo: consistent, possible, and like what they come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
import pytest

from retarget import Motion, load_motion_set
from retarget.demo.__main__ import main
from retarget.demo.arms import HANGING, arm_motions, minimum_jerk
from retarget.demo.foot_contact import lowest_points
from retarget.demo.gait_pose import LEG_JOINTS, leg_angles
from retarget.demo.gait_table import SPEED, STEP_WIDTH, STRIDE_LENGTH
from retarget.demo.walk import STRIDE_FRAMES, STRIDES, walk_motions
from sim.embodiment import Embodiment
from tests.conftest import ROOT, body

DEMO = ROOT / "data" / "demo"
STRIDE = slice(STRIDE_FRAMES, 2 * STRIDE_FRAMES)
#: RMS correction allowed to each leg joint against the measured curves (deg), toes left out.
CORRECTION_DEG = dict(zip(LEG_JOINTS, (1.2, 1.6, 1.6, 1.7, 2.6, 1.8), strict=False))


def _clips(name: str) -> list[Motion]:
    return load_motion_set(DEMO / name, body(name))


@pytest.fixture(scope="module")
def walk() -> Motion:
    [motion] = _clips("fullbody")
    return motion


@dataclass(frozen=True)
class Stride:
    """What one stride of the walk does: (F, 3) centre of mass, and by side (F, P, 3) lowest points
    of the foot, (F,) height (m) and slip (m/s) of the lowest one."""

    centre: np.ndarray
    points: dict[str, np.ndarray]
    height: dict[str, np.ndarray]
    slip: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def stride(walk: Motion) -> Stride:
    embodiment = body("fullbody")
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    centre, jacobian = [], np.zeros((3, model.nv))
    points, height, slip = ({"left": [], "right": []} for _ in range(3))
    # One frame more on both sides, for the acceleration of the centre of mass.
    for frame in range(STRIDE.start - 1, STRIDE.stop + 1):
        data.qpos[:] = walk.qpos[frame]
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        centre.append(data.subtree_com[0].copy())
        for side, geoms in embodiment.foot_geoms.items():
            places = lowest_points(model, data, geoms)
            capsule = model.geom_type[geoms] == mujoco.mjtGeom.mjGEOM_CAPSULE
            owner = np.repeat(model.geom_bodyid[geoms], np.where(capsule, 2, 1))
            lowest = places[:, 2].argmin()
            mujoco.mj_jac(model, data, jacobian, None, places[lowest], owner[lowest])
            points[side].append(places)
            height[side].append(places[lowest, 2])
            slip[side].append(np.linalg.norm((jacobian @ walk.qvel[frame])[:2]))

    def inner(by_side: dict[str, list]) -> dict[str, np.ndarray]:
        return {side: np.array(values)[1:-1] for side, values in by_side.items()}

    return Stride(np.array(centre), inner(points), inner(height), inner(slip))


@pytest.mark.parametrize("name", ["bimanual", "fullbody"])
def test_velocities_are_differences_of_the_positions(name: str) -> None:
    model = body(name).model
    for clip in _clips(name):
        difference = np.zeros(model.nv)
        for frame in range(1, len(clip) - 1):
            mujoco.mj_differentiatePos(
                model, difference, 2.0 / clip.fps, clip.qpos[frame - 1], clip.qpos[frame + 1]
            )
            np.testing.assert_allclose(clip.qvel[frame], difference, atol=1e-6)
        # The ends too: within the change of one frame.
        for end, step in ((0, 1), (-1, -1)):
            change = np.abs(clip.qvel[end] - clip.qvel[end + step]).max()
            assert change < 1.5 * np.abs(np.diff(clip.qvel, axis=0)).max()


@pytest.mark.parametrize("name", ["bimanual", "fullbody"])
def test_joints_keep_their_couplings_and_ranges(name: str) -> None:
    embodiment = body(name)
    model, hinges = embodiment.model, slice(int(embodiment.has_root), None)
    low, high = model.jnt_range[hinges].T
    limited = model.jnt_limited[hinges].astype(bool)
    address = model.jnt_qposadr[hinges]
    independent = np.isin(address, embodiment.independent_qpos)
    for clip in _clips(name):
        assert np.abs(embodiment.couplings.residual(clip.qpos)).max() < 1e-6
        margin = np.minimum(clip.qpos[:, address] - low, high - clip.qpos[:, address]).min(axis=0)
        # Followers may pass their range by what the model's own polynomials pass it.
        assert margin[limited].min() > -5e-4
        assert margin[limited & independent].min() > np.radians(1.5)


@pytest.mark.parametrize("name", ["bimanual", "fullbody"])
def test_nothing_collides(name: str) -> None:
    model = body(name).model
    data = mujoco.MjData(model)
    for clip in _clips(name):
        for qpos in clip.qpos[:: 1 if name == "bimanual" else 3]:
            data.qpos[:] = qpos
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
            mujoco.mj_collision(model, data)
            assert min((contact.dist for contact in data.contact), default=0.0) > -1e-3


def test_arm_clips_are_minimum_jerk_movements_from_rest_to_rest(bimanual: Embodiment) -> None:
    clips = _clips("bimanual")
    assert {"reach", "lift", "wave"} <= {clip.name for clip in clips}
    for clip in clips:
        assert 3.0 <= clip.duration <= 6.0
        for end in (clip.qvel[:3], clip.qvel[-3:]):
            assert np.abs(end).max() < 1e-9
        assert np.abs(clip.qvel).max() < 3.0
        for joint, angle in HANGING.items():
            for side in "rl":
                column = clip.qpos[:, bimanual.model.joint(f"{joint}_{side}").qposadr[0]]
                np.testing.assert_allclose(column[[0, -1]], angle, atol=1e-12)
    time = np.linspace(0.0, 1.0, 201)
    np.testing.assert_allclose(minimum_jerk(time) + minimum_jerk(1.0 - time), 1.0)
    # Peak velocity of the minimum-jerk movement: 15/8 of the mean (Flash & Hogan 1985).
    assert np.gradient(minimum_jerk(time), time).max() == pytest.approx(1.875, rel=1e-3)


def test_arm_clips_go_where_their_names_say() -> None:
    clips = {clip.name: clip for clip in _clips("bimanual")}
    site = {name: i for i, name in enumerate(clips["reach"].site_names)}
    right, left = site["right_hand_mimic"], site["left_hand_mimic"]
    shoulder, elbow = site["right_shoulder_mimic"], site["right_elbow_mimic"]

    def middle(name: str) -> np.ndarray:
        return clips[name].site_pos[len(clips[name]) // 2]

    for hand in (right, left):  # forwards is -y
        rise = middle("reach")[hand] - clips["reach"].site_pos[0, hand]
        assert rise[1] < -0.3 and rise[2] > 0.3
        raised = clips["lift"].site_pos[:, hand, 2].max()
        assert raised > clips["lift"].site_pos[0, shoulder, 2] - 0.05
    assert middle("wave")[right, 2] > middle("wave")[elbow, 2] + 0.1
    assert np.ptp(clips["wave"].site_pos[:, left, 2]) < 0.2
    # The body's right is at -x.
    assert middle("wave")[right, 0] < middle("wave")[shoulder, 0] < middle("wave")[left, 0]


def test_walk_repeats_and_is_symmetric(walk: Motion, fullbody: Embodiment) -> None:
    assert len(walk) == STRIDES * STRIDE_FRAMES + 1 and STRIDES >= 10
    np.testing.assert_array_equal(walk.qpos[0, :2], 0.0)
    first, advance = walk.qpos[: STRIDE_FRAMES + 1], np.zeros(fullbody.model.nq)
    advance[1] = -STRIDE_LENGTH
    for number in range(STRIDES):
        frames = slice(number * STRIDE_FRAMES, (number + 1) * STRIDE_FRAMES + 1)
        np.testing.assert_allclose(walk.qpos[frames], first + number * advance, atol=1e-12)
        velocity = walk.qvel[frames] - walk.qvel[: STRIDE_FRAMES + 1]
        assert np.abs(velocity).max() < 1e-9
    half = STRIDE_FRAMES // 2
    mirrored = fullbody.mirror.qpos(first[: half + 1])
    mirrored[:, :2] += first[half, :2] - mirrored[0, :2]
    np.testing.assert_allclose(first[half:], mirrored, atol=2e-3)


def test_walk_has_the_measured_speed_and_a_constant_heading(walk: Motion) -> None:
    travel = (walk.qpos[-1, :2] - walk.qpos[0, :2]) / walk.duration
    assert -travel[1] == pytest.approx(SPEED, rel=0.03)
    assert abs(travel[0]) < 1e-9
    assert np.ptp(walk.qpos[:, 0]) < 0.05


def test_feet_stay_on_the_floor_and_do_not_slip(stride: Stride) -> None:
    heights = np.array(list(stride.height.values()))
    assert heights.min() > -1e-3
    assert heights.min(axis=0).max() < 2e-3
    slips = np.array(list(stride.slip.values()))
    bearing = slips[heights.argmin(axis=0), np.arange(slips.shape[1])]
    assert np.median(bearing) < 0.03
    assert np.percentile(bearing, 95) < 0.10
    for side, height in stride.height.items():
        duty = (height < 3e-3).mean()
        assert 0.55 < duty < 0.70, side
        assert height.max() > 0.02


def test_walk_step_width(stride: Stride) -> None:
    # Sideways place of heel and sole (the first five points) while the other foot swings.
    places = {}
    for side, other in (("left", "right"), ("right", "left")):
        single = (stride.height[side] < 1e-3) & (stride.height[other] > 5e-3)
        places[side] = stride.points[side][single, :5, 0].mean()
    assert places["left"] - places["right"] == pytest.approx(STEP_WIDTH, abs=0.01)


def test_ground_reaction_is_like_a_walking_persons(stride: Stride) -> None:
    acceleration = np.diff(stride.centre, 2, axis=0) * 100.0**2 / 9.81
    vertical = 1.0 + acceleration[:, 2]
    assert vertical.min() > 0.5 and vertical.max() < 1.4
    assert vertical.mean() == pytest.approx(1.0, abs=1e-3)
    assert np.abs(acceleration[:, 1]).max() < 0.3
    assert np.abs(acceleration[:, 0]).max() < 0.2


def test_walk_follows_the_measured_angles(walk: Motion, fullbody: Embodiment) -> None:
    measured = leg_angles(np.arange(STRIDE_FRAMES) / STRIDE_FRAMES)
    for side, shift in (("r", 0), ("l", STRIDE_FRAMES // 2)):
        for column, (joint, allowed) in enumerate(CORRECTION_DEG.items()):
            address = fullbody.model.joint(f"{joint}_{side}").qposadr[0]
            angles = np.roll(walk.qpos[:STRIDE_FRAMES, address], shift)
            deviation = np.degrees(angles - measured[:, column])
            assert np.sqrt(np.mean(deviation**2)) < allowed, joint
            if joint in ("hip_flexion", "hip_adduction", "knee_angle", "ankle_angle"):
                assert np.corrcoef(angles, measured[:, column])[0, 1] > 0.98, joint


def test_making_the_motions_again_gives_the_same(
    walk: Motion, bimanual: Embodiment, fullbody: Embodiment
) -> None:
    stored = {clip.name: clip for clip in (*_clips("bimanual"), walk)}
    made = {clip.name: clip for clip in (*arm_motions(bimanual), *walk_motions(fullbody))}
    assert made.keys() == stored.keys()
    for name, clip in made.items():
        # Linear algebra libraries differ in the last bits, which the fit carries along.
        np.testing.assert_allclose(clip.qpos, stored[name].qpos, atol=1e-5)
        np.testing.assert_allclose(clip.qvel, stored[name].qvel, atol=1e-3)
        np.testing.assert_allclose(clip.site_pos, stored[name].site_pos, atol=1e-4)
        assert clip.model == stored[name].model


@pytest.mark.parametrize(
    "arguments", [[], ["out="], ["here"], ["out=a", "out=b"], ["out=a", "only=legs"], ["to=a"]]
)
def test_command_refuses_wrong_arguments(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1


def test_command_writes_a_motion_set(tmp_path: Path, bimanual: Embodiment) -> None:
    assert main([f"out={tmp_path}", "only=bimanual"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["bimanual"]
    assert len(load_motion_set(tmp_path / "bimanual", bimanual)) == len(_clips("bimanual"))


def test_the_demo_motions_are_small() -> None:
    assert sum(path.stat().st_size for path in DEMO.rglob("*") if path.is_file()) < 3e6
