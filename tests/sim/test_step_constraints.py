"""Contacts that are about to close, and MuJoCo's own where they are closed."""

from __future__ import annotations

import copy

import mujoco
import numpy as np
import pytest

from mm_torch.build import demo_folder
from retarget.motion_set import load_motion_set
from sim.embodiment import Embodiment
from sim.simulator import SimOptions, apply_options
from sim.step_constraints import Anticipation, acting

NEAR = 0.03


@pytest.fixture(scope="module")
def model(fullbody: Embodiment) -> mujoco.MjModel:
    model = copy.copy(fullbody.model)
    apply_options(model, SimOptions())
    return model


@pytest.fixture(scope="module")
def pose(fullbody: Embodiment) -> np.ndarray:
    """The first frame of the walk: both feet on the ground."""
    return load_motion_set(demo_folder("fullbody"), fullbody)[0].qpos[0]


def _soles(body: Embodiment) -> np.ndarray:
    return np.concatenate(list(body.foot_geoms.values()))


def _state(model: mujoco.MjModel, pose: np.ndarray, raised: float, fall: float) -> mujoco.MjData:
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[2] = pose, -fall
    data.qpos[2] += raised
    mujoco.mj_forward(model, data)
    return data


def test_a_raised_sole_is_listed_before_it_lands(
    fullbody: Embodiment, model: mujoco.MjModel, pose: np.ndarray
) -> None:
    anticipate = Anticipation(model, _soles(fullbody), NEAR)
    data = _state(model, pose, raised=0.015, fall=0.5)
    _, now = acting(model, data)
    assert not np.isin(now.geoms, _soles(fullbody)).any()
    _, found = anticipate(data)
    of_soles = np.isin(found.geoms, _soles(fullbody)).any(1)
    assert of_soles.any()
    assert found.contact[of_soles].all()
    # It is not pulled down to the ground, and braked by as much as it falls.
    np.testing.assert_allclose(found.reference[of_soles], (found.damper * 0.5)[of_soles], rtol=0.2)
    _, high = anticipate(_state(model, pose, raised=0.2, fall=0.0))
    assert not np.isin(high.geoms, _soles(fullbody)).any()


def test_closed_contacts_are_mujocos(
    fullbody: Embodiment, model: mujoco.MjModel, pose: np.ndarray
) -> None:
    data = _state(model, pose, raised=-0.004, fall=0.1)
    rows, now = acting(model, data)
    _, found = Anticipation(model, _soles(fullbody), NEAR)(data)
    pressed = np.flatnonzero(np.isin(now.geoms, _soles(fullbody)).any(1))
    assert len(pressed) >= 4 and (data.efc_force[rows][pressed] > 0).all()
    for row in pressed:
        same = (found.geoms == now.geoms[row]).all(1)
        gap = np.abs(found.jacobian[same] - now.jacobian[row]).max(1)
        match = np.flatnonzero(same)[gap.argmin()]
        assert gap.min() < 1e-9
        np.testing.assert_allclose(found.weight[match], now.weight[row], rtol=1e-6)
        np.testing.assert_allclose(found.reference[match], now.reference[row], rtol=1e-6)


def test_couplings_are_listed_and_limits_where_they_are_met(
    fullbody: Embodiment, model: mujoco.MjModel, pose: np.ndarray
) -> None:
    anticipate = Anticipation(model, _soles(fullbody), NEAR)
    _, within = anticipate(_state(model, pose, raised=0.2, fall=0.0))
    count = len(fullbody.dependent_joints)
    assert len(within.contact) >= count
    joint = model.joint("knee_angle_l")
    beyond = pose.copy()
    beyond[joint.qposadr[0]] = joint.range[1] + 0.05
    beyond = fullbody.couplings.complete_qpos(beyond)
    _, more = anticipate(_state(model, beyond, raised=0.2, fall=0.0))
    row = np.zeros(model.nv)
    row[joint.dofadr[0]] = 1.0
    assert (np.abs(np.abs(more.jacobian) - row).max(1) < 1e-12).any()
    assert not (np.abs(np.abs(within.jacobian) - row).max(1) < 1e-12).any()


def test_the_state_is_left_alone(
    fullbody: Embodiment, model: mujoco.MjModel, pose: np.ndarray
) -> None:
    data = _state(model, pose, raised=0.0, fall=0.2)
    before, margins = data.efc_force.copy(), model.geom_margin.copy()
    copied, _ = Anticipation(model, _soles(fullbody), NEAR)(data)
    np.testing.assert_allclose(copied.qfrc_smooth, data.qfrc_smooth, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(data.efc_force, before)
    np.testing.assert_array_equal(model.geom_margin, margins)
