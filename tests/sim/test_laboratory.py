"""The laboratory against MuJoCo's own balance of forces and moments."""

from __future__ import annotations

import numpy as np
import pytest

from retarget.motion import Motion
from sim.embodiment import Embodiment
from sim.laboratory import Laboratory
from sim.simulator import SimOptions
from tests.conftest import ROOT
from tests.sim.virtual_work import moment_of

_SINGLE, _DOUBLE = 35, 10  # frames of the demo walk: on the right foot, and on both


def _placed(fullbody: Embodiment, frame: int) -> Laboratory:
    motion = Motion.load(ROOT / "data" / "demo" / "fullbody" / "walk.npz", fullbody)
    laboratory = Laboratory(fullbody, SimOptions())
    qpos = motion.qpos[frame].astype(float)
    qpos[2] -= 0.005  # into the ground
    qpos[:2] = 3.0, -2.0
    act = motion.act[frame].astype(float)
    laboratory.place(qpos, motion.qvel[frame], act, act)
    return laboratory


@pytest.mark.parametrize("frame", [_SINGLE, _DOUBLE])
def test_force_centre_and_torque_are_all_that_holds_the_root(
    fullbody: Embodiment, frame: int
) -> None:
    laboratory = _placed(fullbody, frame)
    data, ground = laboratory._data, laboratory.ground_force()
    scale = np.abs(ground.force).max()
    np.testing.assert_allclose(ground.force.sum(0), data.qfrc_constraint[:3], atol=1e-4 * scale)
    # Of a free joint MuJoCo has the moment about the body's origin, in the body's axes.
    arms = ground.centre - data.qpos[:3]
    moment = np.cross(arms, ground.force).sum(0)
    moment[2] += ground.torque.sum()
    own = moment @ data.xmat[fullbody.model.jnt_bodyid[0]].reshape(3, 3)
    np.testing.assert_allclose(own, data.qfrc_constraint[3:6], atol=1e-4 * scale)
    on = [True, frame == _DOUBLE]
    assert ((ground.force[:, 2] > 50.0) == on).all()
    for foot, side in enumerate("rl"):
        if not on[foot]:
            assert not ground.force[foot].any() and not ground.centre[foot].any()
            assert ground.torque[foot] == 0.0
            continue
        # Between the heel and the tip of the toes, 1.57 times as far as their joint.
        heel, toes = (data.body(f"{part}_{side}").xpos[:2] for part in ("calcn", "toes"))
        along = (ground.centre[foot, :2] - heel) @ (toes - heel) / ((toes - heel) @ (toes - heel))
        assert -0.4 < along < 1.6
        assert ground.centre[foot, 2] == pytest.approx(0.0, abs=1e-9)


def test_moments_are_the_work_of_muscles_along_every_joint(fullbody: Embodiment) -> None:
    """Tensions times shortening, and passive forces, for a step of each independent joint."""
    laboratory = _placed(fullbody, _SINGLE)
    model, data = fullbody.model, laboratory._data
    moments, tensions = laboratory.joint_moments(), laboratory.muscle_tensions()
    passive, qpos = data.qfrc_passive.copy(), data.qpos.copy()
    assert tensions.min() > -1e-9 and tensions.max() > 100.0
    work = [
        moment_of(fullbody, model, qpos, address, -tensions, passive)
        for address in fullbody.independent_qpos
    ]
    np.testing.assert_allclose(moments, work, atol=0.02)
    assert np.abs(moments).max() > 20.0
    np.testing.assert_array_equal(laboratory.muscle_lengths(), data.actuator_length)


def test_arms_have_no_feet(bimanual: Embodiment) -> None:
    laboratory = Laboratory(bimanual, SimOptions())
    model = bimanual.model
    rest = np.full(model.nu, 0.1)
    laboratory.place(model.qpos0, np.zeros(model.nv), rest, rest)
    assert laboratory.joint_moments().shape == (len(bimanual.independent_joints),)
    assert not laboratory.ground_force().force.any()
