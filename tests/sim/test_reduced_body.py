"""Independent coordinates as a learned model uses them, against the simulator."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch

from sim.mujoco_sim import MujocoSim
from sim.reduced_body import ReducedBody
from sim.rotations import quat_angle, quat_multiply
from sim.simulator import SimOptions
from sim.warp_parity import sample_states
from tests.conftest import body

WORLDS = 6


def _pair(name: str) -> tuple[MujocoSim, ReducedBody]:
    embodiment = body(name, False)
    sim = MujocoSim(embodiment, WORLDS, SimOptions(threads=1), dtype=torch.float64)
    reduced = ReducedBody(embodiment, sim.control_dt / sim.substeps, sim.substeps, torch.float64)
    states = sample_states(embodiment, WORLDS, np.random.default_rng(0))
    # Modest activations, as in tracking: random ones throw the limbs within one control step.
    act = 0.05 * states.act
    sim.reset(torch.ones(WORLDS, dtype=torch.bool), states.qpos, states.qvel, act)
    return sim, reduced


@pytest.mark.parametrize("name", ["bimanual", "fullbody"])
def test_reduce_and_complete_are_inverse(name: str) -> None:
    sim, reduced = _pair(name)
    qpos, qvel = reduced.complete(*reduced.reduce(sim.qpos, sim.qvel))
    torch.testing.assert_close(qpos, sim.qpos, atol=1e-6, rtol=0)
    torch.testing.assert_close(qvel, sim.qvel, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["bimanual", "fullbody"])
def test_true_change_of_velocity_gives_the_simulators_next_state(name: str) -> None:
    sim, reduced = _pair(name)
    position, velocity = reduced.reduce(sim.qpos.clone(), sim.qvel.clone())
    act = sim.act.clone()
    excitation = torch.full_like(act, 0.05)
    sim.step(excitation)
    after_position, after_velocity = reduced.reduce(sim.qpos, sim.qvel)
    change = reduced.change(position, velocity, after_velocity)
    guess_position, guess_velocity = reduced.integrate(position, velocity, change)
    torch.testing.assert_close(guess_velocity, after_velocity, atol=1e-12, rtol=0)
    torch.testing.assert_close(reduced.activate(act, excitation)[1], sim.act, atol=1e-9, rtol=0)
    # The position is that of an even change of velocity: closer than without any.
    error = (guess_position - after_position).abs().mean(-1)
    plain = reduced.integrate(position, velocity, torch.zeros_like(change))[0]
    assert (error < 0.5 * (plain - after_position).abs().mean(-1)).all()
    if reduced.has_root:
        angle = quat_angle(guess_position[:, 3:7], after_position[:, 3:7])
        assert angle.max() < 2e-3


def test_features_know_no_heading_and_no_place() -> None:
    sim, reduced = _pair("fullbody")
    position, velocity = reduced.reduce(sim.qpos, sim.qvel)
    features = reduced.features(position, velocity)
    assert features.shape == (WORLDS, reduced.feature_dim)
    yaw = torch.tensor(0.7, dtype=torch.float64)
    turn = torch.stack(((yaw / 2).cos(), *torch.zeros(2, dtype=torch.float64), (yaw / 2).sin()))
    turned, moving = position.clone(), velocity.clone()
    c, s = yaw.cos(), yaw.sin()
    rotation = torch.stack((torch.stack((c, -s)), torch.stack((s, c))))
    turned[:, :2] = position[:, :2] @ rotation.T + 5.0
    turned[:, 3:7] = quat_multiply(turn.expand(WORLDS, 4), position[:, 3:7])
    moving[:, :2] = velocity[:, :2] @ rotation.T
    torch.testing.assert_close(reduced.features(turned, moving), features, atol=1e-9, rtol=0)
    # Neither does the change of velocity, and integrating it turns with the body.
    after = velocity + torch.linspace(-1, 1, velocity.shape[-1])
    after_moving = after.clone()
    after_moving[:, :2] = after[:, :2] @ rotation.T
    change = reduced.change(position, velocity, after)
    torch.testing.assert_close(reduced.change(turned, moving, after_moving), change)
    later, _ = reduced.integrate(position, velocity, change)
    later_turned, velocity_turned = reduced.integrate(turned, moving, change)
    torch.testing.assert_close(later_turned[:, :2], later[:, :2] @ rotation.T + 5.0)
    torch.testing.assert_close(velocity_turned, after_moving)


def test_feet_are_seen() -> None:
    sim, reduced = _pair("fullbody")
    features = reduced.features(*reduced.reduce(sim.qpos, sim.qvel))
    model = sim.embodiment.model
    ids = [model.sensor(name).objid[0] for name in sim.embodiment.touch_sensors]
    data = mujoco.MjData(model)
    data.qpos[:] = sim.qpos[0].numpy()
    mujoco.mj_kinematics(model, data)
    np.testing.assert_allclose(data.site_xpos[ids, 2], features[0, -16:-12], atol=1e-6)


def test_gradient_equals_finite_differences() -> None:
    sim, reduced = _pair("fullbody")
    position, velocity = (t[:1].clone() for t in reduced.reduce(sim.qpos, sim.qvel))
    change = torch.linspace(-1, 1, reduced.velocity_dim, dtype=torch.float64)[None]

    def advance(position, velocity, change):
        place, rate = reduced.integrate(position, velocity, change)
        return reduced.features(place, rate), place[:, :7]

    inputs = [t.requires_grad_() for t in (position, velocity, change)]
    assert torch.autograd.gradcheck(advance, inputs, atol=1e-5)
