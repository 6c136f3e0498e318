"""Rotations against MuJoCo's own functions."""

from __future__ import annotations

import math

import mujoco
import numpy as np
import torch

from sim import rotations as r


def _quats(count: int = 200) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    quat = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    return quat / quat.norm(dim=-1, keepdim=True)


def test_matrix_matches_mujoco() -> None:
    for quat in _quats(50):
        expected = np.zeros(9)
        mujoco.mju_quat2Mat(expected, quat.numpy())
        np.testing.assert_allclose(r.quat_to_matrix(quat).numpy().ravel(), expected, atol=1e-12)


def test_matrix_to_quat_inverts() -> None:
    quat = _quats()
    quat = torch.where(quat[:, :1] < 0, -quat, quat)
    back = r.matrix_to_quat(r.quat_to_matrix(quat))
    torch.testing.assert_close(back, quat, atol=1e-12, rtol=0)


def test_matrix_to_quat_near_half_turns() -> None:
    axes = torch.nn.functional.normalize(_quats()[:, 1:], dim=-1)
    for angle in (math.pi, math.pi - 1e-7, 1e-9, 0.0):
        rotvec = axes * angle
        half = angle / 2
        quat = torch.cat((torch.full((200, 1), math.cos(half)), axes * math.sin(half)), -1)
        back = r.matrix_to_rotvec(r.quat_to_matrix(quat))
        if angle == math.pi:
            # Both signs of the axis are right.
            back = back * (back * rotvec).sum(-1, keepdim=True).sign()
        torch.testing.assert_close(back, rotvec, atol=1e-6, rtol=0)


def test_rotvec_matches_mujoco() -> None:
    for quat in _quats(50):
        expected = np.zeros(3)
        mujoco.mju_quat2Vel(expected, quat.numpy(), 1.0)
        got = r.matrix_to_rotvec(r.quat_to_matrix(quat)).numpy()
        np.testing.assert_allclose(got, expected, atol=1e-9)


def test_product_and_angle() -> None:
    a, b = _quats(), _quats().flip(0)
    product = r.quat_multiply(a, b)
    expected = r.quat_to_matrix(a) @ r.quat_to_matrix(b)
    torch.testing.assert_close(r.quat_to_matrix(product), expected)
    angle = r.quat_angle(a, b)
    relative = r.quat_to_matrix(a).transpose(-1, -2) @ r.quat_to_matrix(b)
    torch.testing.assert_close(angle, r.matrix_to_rotvec(relative).norm(dim=-1))
    assert float(r.quat_angle(a, -a).max()) < 1e-12


def test_yaw_of_a_turn_about_the_vertical() -> None:
    yaw = torch.linspace(-3, 3, 25, dtype=torch.float64)
    zero = torch.zeros_like(yaw)
    quat = torch.stack(((yaw / 2).cos(), zero, zero, (yaw / 2).sin()), -1)
    torch.testing.assert_close(r.quat_yaw(quat), yaw)
    torch.testing.assert_close(r.yaw_matrix(yaw), r.quat_to_matrix(quat))


def test_two_columns() -> None:
    matrix = r.quat_to_matrix(_quats(3))
    encoded = r.two_columns(matrix)
    torch.testing.assert_close(encoded[:, :3], matrix @ torch.tensor([1.0, 0, 0]).double())
    torch.testing.assert_close(encoded[:, 3:], matrix @ torch.tensor([0.0, 1, 0]).double())
