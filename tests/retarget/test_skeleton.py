import numpy as np
import pytest
import torch

from retarget.body_model import JOINT_NAMES, load_body_model
from retarget.calibration import level_soles, settle_shoulders
from retarget.skeleton import SMPL_TO_WORLD, fit_skeleton, leg_length
from retarget.tracks import track_frames, tracks
from sim.embodiment import load_embodiment
from sim.kinematics import Kinematics
from tests.conftest import body

NAMES = JOINT_NAMES["smplh"]


@pytest.fixture(scope="module")
def model(shared):
    folder = shared / "data" / "body_models"
    if not folder.is_dir():
        pytest.skip(f"no body model: {folder} is absent")
    return load_body_model(folder, "smplh", "neutral")


def upright(skeleton, frames=3):
    """Rest rotations: everything in the reference posture, standing in the world."""
    quat = torch.zeros(frames, len(skeleton.names), 4, dtype=torch.float64)
    quat[..., 0] = 1
    quat[:, 0] = torch.tensor([2**-0.5, 2**-0.5, 0, 0])  # y up to z up
    return quat


def t_pose(embodiment):
    qpos = embodiment.model.qpos0.copy()
    for side in "lr":
        qpos[embodiment.model.joint(f"shoulder_elv_{side}").qposadr[0]] = np.pi / 2
    qpos = torch.as_tensor(embodiment.couplings.complete_qpos(qpos))
    return Kinematics(embodiment.model, track_frames(embodiment))(qpos)


@pytest.mark.parametrize("name", ["fullbody", "bimanual"])
def test_bones_have_the_bodys_lengths_in_smpls_directions(model, name):
    embodiment = body(name, False)
    skeleton = fit_skeleton(model, embodiment)
    position, _ = t_pose(embodiment)
    site = dict(zip(embodiment.mimic_sites, position, strict=False))
    rest = model.joints(skeleton.betas)
    bones = [("shoulder", "elbow", "shoulder", "elbow"), ("elbow", "wrist", "elbow", "hand")]
    if name == "fullbody":
        bones += [("hip", "knee", "hip", "knee"), ("knee", "ankle", "knee", "ankle")]
    for side in ("left", "right"):
        for upper, lower, top, bottom in bones:
            i, j = NAMES.index(f"{side}_{upper}"), NAMES.index(f"{side}_{lower}")
            length = site[f"{side}_{bottom}_mimic"] - site[f"{side}_{top}_mimic"]
            assert np.linalg.norm(skeleton.offsets[j]) == pytest.approx(float(length.norm()))
            cosine = skeleton.offsets[j] @ (rest[j] - rest[i])
            cosine /= np.linalg.norm(skeleton.offsets[j]) * np.linalg.norm(rest[j] - rest[i])
            assert cosine == pytest.approx(1.0, abs=1e-9)


def test_fit_is_cached_and_scales_with_the_body(model):
    embodiment = body("fullbody", False)
    skeleton = fit_skeleton(model, embodiment)
    assert fit_skeleton(model, embodiment) is skeleton
    assert 0.8 < skeleton.scale < 1.2 and np.abs(skeleton.betas).max() < 3
    position, _ = t_pose(embodiment)
    site = dict(zip(embodiment.mimic_sites, position, strict=False))
    leg = (site["left_hip_mimic"] - site["left_knee_mimic"]).norm() + (
        site["left_knee_mimic"] - site["left_ankle_mimic"]
    ).norm()
    assert skeleton.leg_length == pytest.approx(float(leg), rel=1e-3)
    assert leg_length(2 * model.joints(np.zeros(10))) == pytest.approx(
        2 * leg_length(model.joints(np.zeros(10)))
    )


def test_rest_pose_asks_for_upright_trunk_and_level_feet(model):
    embodiment = body("fullbody", False)
    skeleton = fit_skeleton(model, embodiment)
    joints, axes = skeleton.pose(upright(skeleton), torch.zeros(3, 3, dtype=torch.float64))
    position, rotation = skeleton.frames(joints, axes)
    names = [track.frame for track in tracks(embodiment)]
    _, model_axes = t_pose(embodiment)
    for name in ("pelvis_mimic", "upper_body_mimic", "thorax"):
        row = names.index(name)
        torch.testing.assert_close(rotation[0, row], model_axes[row], atol=1e-9, rtol=0)
    for name in ("calcn_l", "calcn_r", "left_toes_mimic"):
        assert float(rotation[0, names.index(name), 2, 1]) == pytest.approx(1.0)
    # Left is left: SMPL's x axis points to the body's left, and so does the world's here.
    left, right = names.index("left_hip_mimic"), names.index("right_hip_mimic")
    assert float(position[0, left, 0] - position[0, right, 0]) > 0.1
    # Facing -y, as the model does at its neutral posture.
    ankle, toes = names.index("left_ankle_mimic"), names.index("left_toes_mimic")
    assert float(position[0, toes, 1] - position[0, ankle, 1]) < -0.1


def test_root_moves_and_turns_everything(model):
    embodiment = body("fullbody", False)
    skeleton = fit_skeleton(model, embodiment)
    quat = upright(skeleton, 2)
    turn = torch.tensor([np.cos(0.4), 0, 0, np.sin(0.4)], dtype=torch.float64)
    from sim.rotations import quat_multiply, quat_to_matrix

    quat[1, 0] = quat_multiply(turn, quat[1, 0])
    root = torch.tensor([[0.0, 0, 0], [1.0, 2.0, 3.0]], dtype=torch.float64)
    joints, _ = skeleton.pose(quat, root)
    expected = joints[0] @ quat_to_matrix(turn).T + root[1]
    torch.testing.assert_close(joints[1], expected)


def test_arms_are_seen_from_a_fixed_chest(model):
    embodiment = body("bimanual", False)
    skeleton = fit_skeleton(model, embodiment)
    quat = upright(skeleton, 2)
    # Leaning, turning and walking away change nothing; bending the elbow does.
    quat[1, 0] = torch.nn.functional.normalize(torch.tensor([0.7, 0.5, 0.1, 0.3]).double(), dim=0)
    quat[1, NAMES.index("spine1")] = torch.tensor([0.96, 0.28, 0, 0]).double()
    joints, _ = skeleton.pose(quat, torch.tensor([[0.0, 0, 0], [5.0, 0, 1]]).double())
    arm = [NAMES.index(n) for n in ("left_shoulder", "left_elbow", "right_wrist")]
    torch.testing.assert_close(joints[0, arm], joints[1, arm])
    quat[1, NAMES.index("left_elbow")] = torch.tensor([0.8, 0, 0.6, 0]).double()
    bent, _ = skeleton.pose(quat, torch.zeros(2, 3).double())
    torch.testing.assert_close(bent[1, arm[1]], joints[0, arm[1]])
    wrist = NAMES.index("left_wrist")
    assert float((bent[1, wrist] - joints[0, wrist]).norm()) > 0.1


def test_fingers_follow_smpls_fingers(model):
    embodiment = load_embodiment("bimanual", fingers=True)
    skeleton = fit_skeleton(model, embodiment)
    names = [track.frame for track in tracks(embodiment)]
    assert sum(name.endswith("distph_l") for name in names) == 4
    row = names.index("2proxph_l")
    assert skeleton.names[skeleton.frame_joint[row]] == "left_index1"


def test_constant_tilt_of_a_standing_foot_is_taken_out(model):
    embodiment = body("fullbody", False)
    skeleton, follows = fit_skeleton(model, embodiment), tracks(embodiment)
    quat = upright(skeleton, 100)
    tilt = torch.tensor([np.cos(0.1), 0, 0, np.sin(0.1)], dtype=torch.float64)  # roll, 11.5 degrees
    quat[:, NAMES.index("left_ankle")] = tilt
    joints, axes = skeleton.pose(quat, torch.zeros(100, 3, dtype=torch.float64))
    position, rotation = skeleton.frames(joints, axes)
    names = [track.frame for track in follows]
    left, right = names.index("calcn_l"), names.index("calcn_r")
    assert float(rotation[0, left, 2, 1]) < 0.985
    level = level_soles(position, rotation, follows, 100.0)
    assert float(level[0, left, 2, 1]) == pytest.approx(1.0, abs=1e-6)
    torch.testing.assert_close(level[:, right], rotation[:, right], atol=2e-3, rtol=0)
    # A foot that never stands still says nothing about its tilt.
    moving = position + torch.linspace(0, 3, 100).double()[:, None, None]
    torch.testing.assert_close(level_soles(moving, rotation, follows, 100.0), rotation)


def test_mean_displacement_of_the_shoulders_is_taken_out(model):
    skeleton = fit_skeleton(model, body("fullbody", False))
    quat = upright(skeleton, 50)
    angle = 0.2 + 0.05 * torch.sin(torch.arange(50.0).double())  # a shrug, held
    collar = NAMES.index("left_collar")
    quat[:, collar, 0], quat[:, collar, 3] = torch.cos(angle / 2), torch.sin(angle / 2)
    joints, axes = skeleton.pose(quat, torch.zeros(50, 3, dtype=torch.float64))
    settled = settle_shoulders(skeleton, joints, axes)
    shoulder, wrist = NAMES.index("left_shoulder"), NAMES.index("left_wrist")
    rest, _ = skeleton.pose(upright(skeleton, 1), torch.zeros(1, 3, dtype=torch.float64))
    assert float((joints[:, shoulder].mean(0) - rest[0, shoulder]).norm()) > 0.02
    torch.testing.assert_close(settled[:, shoulder].mean(0), rest[0, shoulder])
    # The arm goes along, what varies stays, the other side is left alone.
    moved = settled - joints
    torch.testing.assert_close(moved[:, shoulder], moved[:, wrist])
    torch.testing.assert_close(moved[0, shoulder], moved[-1, shoulder])
    assert float(moved[:, NAMES.index("right_wrist")].abs().max()) < 1e-12


def test_smpl_axes_are_a_rotation():
    np.testing.assert_array_equal(SMPL_TO_WORLD @ SMPL_TO_WORLD.T, np.eye(3))
    assert np.linalg.det(SMPL_TO_WORLD) == pytest.approx(1.0)
