"""Positions and velocities of the mimic sites in torch against the simulator's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sim.kinematics import Kinematics
from sim.mujoco_sim import MujocoSim
from sim.site_motion import FrameMotion
from sim.warp_parity import sample_states
from tests.conftest import body


@pytest.mark.parametrize("name", ["bimanual", "fullbody"])
def test_equals_the_simulator(name: str) -> None:
    embodiment = body(name, False)
    sim = MujocoSim(embodiment, 8, dtype=torch.float64)
    states = sample_states(embodiment, 8, np.random.default_rng(0))
    qpos, qvel = states.qpos.clone(), states.qvel
    if embodiment.has_root:
        qpos[:, :2] += 30.0  # far from the world's origin
    sim.reset(torch.ones(8, dtype=torch.bool), qpos, qvel)
    motion = FrameMotion(Kinematics.of_sites(embodiment))
    position, rotation, velocity = motion(sim.qpos, sim.qvel)
    torch.testing.assert_close(position, sim.site_pos, atol=1e-9, rtol=0)
    torch.testing.assert_close(rotation, sim.site_rot, atol=1e-9, rtol=0)
    torch.testing.assert_close(velocity, sim.site_vel, atol=1e-9, rtol=1e-9)
    single = FrameMotion(Kinematics.of_sites(embodiment, dtype=torch.float32))
    for exact, rounded in zip(
        (position, rotation, velocity), single(sim.qpos.float(), sim.qvel.float()), strict=True
    ):
        assert (exact - rounded).abs().max() < 2e-5  # 30 m in float32 are known to 2e-6 m
    sim.close()


def test_shapes_and_gradient() -> None:
    embodiment = body("fullbody", False)
    motion = FrameMotion(Kinematics.of_sites(embodiment))
    generator = torch.Generator().manual_seed(0)
    qpos = torch.as_tensor(embodiment.model.qpos0).repeat(2, 3, 1)
    qvel = torch.randn(2, 3, embodiment.model.nv, generator=generator, dtype=torch.float64)
    position, rotation, velocity = motion(qpos, qvel)
    sites = len(embodiment.mimic_sites)
    assert position.shape == (2, 3, sites, 3)
    assert rotation.shape == (2, 3, sites, 3, 3)
    assert velocity.shape == (2, 3, sites, 6)
    few = qpos[0, :1].clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda q: motion(q, qvel[0, :1])[2][..., ::5, :], (few,), atol=1e-5
    )
