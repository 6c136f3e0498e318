"""Reward and goal terms against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from cfg.schema import Kernel, RewardConfig
from mm_torch import musclemimic, reward
from mm_torch.reward import Reward
from mm_torch.task_state import Body, Kinematics, Layout


def _still(worlds: int = 1, sites: int = 3, joints: int = 2) -> dict[str, torch.Tensor]:
    """A body with a free root at the origin and sites on a line."""
    qpos = torch.zeros(worlds, 7 + joints)
    qpos[:, 3] = 1
    site_pos = torch.zeros(worlds, sites, 3)
    site_pos[:, :, 2] = torch.arange(sites).float()
    return {
        "qpos": qpos,
        "qvel": torch.zeros(worlds, 6 + joints),
        "site_pos": site_pos,
        "site_rot": torch.eye(3).expand(worlds, sites, 3, 3).clone(),
        "site_vel": torch.zeros(worlds, sites, 6),
    }


LAYOUT = Layout(7, 6, torch.tensor([7]), torch.tensor([6]))  # one independent joint, one follower


def _pair() -> tuple[Kinematics, dict[str, torch.Tensor]]:
    return Kinematics(LAYOUT, **_still()), _still()


def test_joint_terms_count_independent_joints_only() -> None:
    reference, state = _pair()
    state["qpos"][0, 7:] = torch.tensor([0.3, 9.0])
    state["qvel"][0, 6:] = torch.tensor([2.0, 9.0])
    body = Kinematics(LAYOUT, **state)
    assert float(reward.joint_pos(body, reference)) == pytest.approx(0.09)
    assert float(reward.joint_vel(body, reference)) == pytest.approx(4.0)
    # MuscleMimic counts the follower and the root: (0.3² + 9²) / (3 + 2) and (2² + 9²) / (6 + 2).
    assert float(musclemimic.qpos_distance(body, reference)) == pytest.approx(81.09 / 5)
    assert float(musclemimic.qvel_distance(body, reference)) == pytest.approx(85 / 8)


def test_root_terms() -> None:
    reference, state = _pair()
    state["qpos"][0, :3] = torch.tensor([0.3, 0.0, 0.4])
    half = 0.1
    state["qpos"][0, 3:7] = torch.tensor([math.cos(half), 0, 0, math.sin(half)])
    state["qvel"][0, :6] = torch.tensor([1.0, 0, 0, 0, 0, 2.0])
    body = Kinematics(LAYOUT, **state)
    assert float(reward.root_pos(body, reference)) == pytest.approx(0.25 / 3)
    assert float(reward.root_rot(body, reference)) == pytest.approx(0.04, rel=1e-4)
    assert float(reward.root_vel(body, reference)) == pytest.approx(5 / 6)
    assert float(musclemimic.qpos_distance(body, reference)) == pytest.approx(0.25 / 5 + 0.2)


def test_site_terms_ignore_a_common_shift() -> None:
    reference, state = _pair()
    state["site_pos"] += 0.7
    assert float(reward.site_pos(Kinematics(LAYOUT, **state), reference)) == pytest.approx(
        0, abs=1e-9
    )
    state["site_pos"][0, 2, 0] += 0.3
    body = Kinematics(LAYOUT, **state)
    # One of two relative sites is off by 0.3 in one of three coordinates.
    assert float(reward.site_pos(body, reference)) == pytest.approx(0.09 / 6)


def test_site_rotation_is_geodesic_where_rotation_vectors_jump() -> None:
    def about_z(angle: float) -> torch.Tensor:
        c, s = math.cos(angle), math.sin(angle)
        return torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])

    _, state = _pair()
    other = _still()
    state["site_rot"][0, 1] = about_z(math.pi - 0.05)
    other["site_rot"][0, 1] = about_z(math.pi + 0.05)
    body, reference = Kinematics(LAYOUT, **state), Kinematics(LAYOUT, **other)
    assert float(reward.site_rot(body, reference)) == pytest.approx(0.01 / 6, rel=1e-3)
    # MuscleMimic's difference of rotation vectors sees almost a full turn.
    assert float(musclemimic.rotvec_distance(body, reference)) > 5


def test_relative_velocity_frames() -> None:
    """The main site is turned a quarter about z: ours stays in the heading frame of the root."""
    _, state = _pair()
    quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    state["site_rot"][0, 0] = quarter
    state["site_vel"][0, 1] = torch.tensor([1.0, 0, 0, 2.0, 0, 0])
    body = Kinematics(LAYOUT, **state)
    assert body.relative_vel[0, 0].tolist() == [1, 0, 0, 2, 0, 0]
    # R_rel^T = quarter: it turns the angular part; the linear part is main minus site, turned.
    torch.testing.assert_close(
        musclemimic.relative_velocity(body)[0, 0], torch.tensor([0.0, 1, 0, 0, -2, 0])
    )


def test_kernels_weights_and_penalties() -> None:
    config = RewardConfig(
        joint_pos=Kernel(weight=2.0, sharpness=10.0),
        action_bounds=0.1,
        action_rate=0.2,
        activation_energy=0.3,
        joint_acceleration=0.001,
    )
    terms = Reward(config, has_root=True, control_dt=0.01)
    reference, state = _pair()
    state["qpos"][0, 7] = 0.1
    muscles = {name: torch.zeros(1, 2) for name in
               ("muscle_length", "muscle_velocity", "muscle_force", "touch")}  # fmt: skip
    act, ctrl = torch.tensor([[0.5, 0.0]]), torch.tensor([[1.0, 0.0]])
    body = Body(LAYOUT, **state, act=act, ctrl=ctrl, **muscles)
    values = terms.terms(body, reference)
    assert float(values["joint_pos"]) == pytest.approx(math.exp(-0.1))
    penalty = terms.penalty(
        torch.tensor([[3.0, 0.5]]), body, torch.zeros(1, 2), torch.tensor([[0.0] * 6 + [0.1, 0.0]])
    )
    expected = 0.1 * 4 / 2 + 0.2 * 1 / 2 + 0.3 * 0.25 / 2 + 0.001 * 0.01 / 0.01
    assert float(penalty) == pytest.approx(-expected)
    assert float(terms.total(values, penalty)) == pytest.approx(2 * math.exp(-0.1) - expected)
    assert terms.maximum == 2.0
    assert float(terms.total(values, torch.tensor([-9.0]))) == 0  # never negative
    assert float(terms.total({"joint_pos": torch.tensor([math.nan])}, penalty)) == 0
    with pytest.raises(ValueError, match="every weight is zero"):
        Reward(RewardConfig(), True, 0.01)
