import numpy as np
import pytest
import torch

from sim.independent import IndependentCoordinates, joint_limits
from tests.conftest import body


@pytest.mark.parametrize("name", ["fullbody", "bimanual"])
def test_postures_and_slopes_equal_the_couplings(name):
    embodiment = body(name, False)
    model, rng = embodiment.model, np.random.default_rng(0)
    coordinates = IndependentCoordinates(embodiment)
    lower, upper = joint_limits(embodiment)
    joints = rng.uniform(lower, upper, (9, len(lower)))
    root = torch.as_tensor(rng.normal(size=(9, 7))) if embodiment.has_root else None
    qpos = coordinates.qpos(torch.as_tensor(joints), root)
    assert qpos.shape == (9, model.nq)
    np.testing.assert_array_equal(qpos[:, embodiment.independent_qpos], joints)
    assert np.abs(embodiment.couplings.residual(qpos.numpy())).max() < 1e-12
    slopes = coordinates.slopes(qpos).numpy()
    np.testing.assert_allclose(
        slopes[:, embodiment.couplings.dof_adr], embodiment.couplings.slopes(qpos.numpy())
    )
    assert (slopes[:, embodiment.independent_dofs] == 1).all()
    if root is not None:
        np.testing.assert_array_equal(qpos[:, :7], root)


@pytest.mark.parametrize("name", ["fullbody", "bimanual"])
def test_reduced_velocities_move_the_followers(name):
    embodiment = body(name, False)
    coordinates = IndependentCoordinates(embodiment)
    column = coordinates.column_of_dof.numpy()
    couplings = embodiment.couplings
    assert sorted(set(column)) == [*([-1] * (not couplings.has_driver.all())),
                                   *range(coordinates.width)]  # fmt: skip
    driven = couplings.has_driver
    np.testing.assert_array_equal(
        column[couplings.dof_adr[driven]], column[couplings.driver_dof_adr[driven]]
    )


def test_limits_keep_coupled_joints_in_range():
    embodiment = body("fullbody", False)
    model, couplings = embodiment.model, embodiment.couplings
    lower, upper = joint_limits(embodiment)
    names = embodiment.independent_joints
    bend = names.index("flex_extension")
    # L4_L5_FE reaches its upper limit (0.083953) first, at 0.083953 / 0.185.
    assert upper[bend] == pytest.approx(0.4538, abs=2e-3)
    assert (lower >= model.jnt_range[[model.joint(n).id for n in names], 0]).all()
    for edge in (lower, upper, (lower + upper) / 2):
        qpos = model.qpos0.copy()
        qpos[embodiment.independent_qpos] = edge
        qpos = couplings.complete_qpos(qpos)
        low, high = model.jnt_range[model.eq_obj1id].T
        values = qpos[couplings.qpos_adr]
        excess = np.maximum(low - values, values - high)
        assert excess[couplings.has_driver].max() < np.radians(0.1)
