"""Static optimisation against inverse dynamics."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch

from mm_torch.build import demo_folder
from sim import Embodiment
from sim.models import PHANTOM_INERTIA, PUBLISHED_INERTIA
from sim.static_optimization import _solve, _System, held_range, static_optimization
from tests.conftest import body


def _still(embodiment: Embodiment) -> np.ndarray:
    """A posture with the arms a little forward and bent, feet on the ground."""
    model = embodiment.model
    qpos = model.qpos0.copy()
    for name, value in (("shoulder_elv", 0.6), ("elv_angle", 0.8), ("elbow_flex", 0.9)):
        for side in "rl":
            qpos[model.joint(f"{name}_{side}").qposadr[0]] = value
    return embodiment.couplings.complete_qpos(qpos)


def test_walking_asks_little_of_the_trunks_muscles() -> None:
    """The torque that turns the trunk: some Nm in a person, ten times that with heavy phantoms."""
    motion = np.load(demo_folder("fullbody") / "walk.npz")
    qpos, qvel = motion["qpos"][:208], motion["qvel"][:208]
    qacc = np.gradient(qvel, 0.01, axis=0)
    largest = []
    for phantom_inertia in (PHANTOM_INERTIA, PUBLISHED_INERTIA):
        embodiment = body("fullbody", phantom_inertia=phantom_inertia)
        system, row = _System(embodiment), 6 + embodiment.independent_joints.index("axial_rotation")
        needed = [
            system.assemble(*state)[1][row] / system._weight[row]
            for state in list(zip(qpos, qvel, qacc, strict=True))[::8]
        ]
        largest.append(float(np.abs(needed).max()))
    assert largest[0] < 10 and largest[1] > 50, largest


def test_solver_on_a_problem_with_a_known_answer() -> None:
    matrix = torch.tensor([[[1.0, 1.0, 0.0], [0.0, 0.0, 2.0]]])
    # Two equal helpers share what is needed; the bound of the third is active.
    x = _solve(matrix, torch.tensor([[1.0, 8.0]]), torch.tensor([1.0, 1.0, 1.0]), 2000)
    torch.testing.assert_close(x, torch.tensor([[0.4975, 0.4975, 1.0]]), atol=1e-3, rtol=0)
    x = _solve(matrix, torch.tensor([[-1.0, -1.0]]), torch.tensor([1.0, 1.0, 1.0]), 100)
    assert float(x.abs().max()) == 0


def test_muscles_hold_a_posture(bimanual: Embodiment) -> None:
    qpos, qvel = _still(bimanual)[None], np.zeros((1, bimanual.model.nv))
    act = static_optimization(bimanual, qpos, qvel, 100.0)
    assert act.shape == (1, 64)
    assert act.min() >= 0 and act.max() <= 1
    data = mujoco.MjData(bimanual.model)
    accelerations = {}
    for name, value in (("idle", np.zeros(64)), ("held", act[0])):
        data.qpos[:], data.qvel[:], data.act[:] = qpos[0], 0, value
        mujoco.mj_forward(bimanual.model, data)
        accelerations[name] = np.abs(data.qacc[bimanual.independent_dofs]).max()
    assert accelerations["held"] < 0.05 * accelerations["idle"]


def test_the_ground_carries_a_standing_body(fullbody: Embodiment) -> None:
    qpos = _still(fullbody)
    system = _System(fullbody)
    matrix, target = system.assemble(qpos, np.zeros(fullbody.model.nv), np.zeros(fullbody.model.nv))
    weight = fullbody.model.body_mass.sum() * 9.81
    # Standing still needs one body weight upwards at the root.
    np.testing.assert_allclose(target[2] / system._weight[2], weight, rtol=1e-6)
    solution = _solve(
        torch.from_numpy(matrix[None]).float(), torch.from_numpy(target[None]).float(),
        torch.full((system.width,), float("inf")), 3000,
    )  # fmt: skip
    residual = matrix[2] @ solution[0].numpy() - target[2]
    assert abs(residual / target[2]) < 0.02


def test_no_joint_is_held_where_it_takes_more_than_muscles_may_give(fullbody: Embodiment) -> None:
    """The ends of the range, from the body's own forces: passive ones against the largest."""
    model, joint = fullbody.model, "axial_rotation"
    low, high = held_range(fullbody, joint, 0.4)
    # The trunk is as strong either way.
    assert low == pytest.approx(-high, abs=4e-3) and 0.2 < high < 0.3
    data = mujoco.MjData(model)
    data.qpos[:] = model.qpos0
    data.qpos[model.joint(joint).qposadr[0]] = high
    data.qpos[:] = fullbody.couplings.complete_qpos(data.qpos)
    moments = {}
    reduce = np.zeros(model.nv)
    reduce[model.joint(joint).dofadr[0]] = 1.0
    followers = fullbody.couplings.driver_dof_adr == model.joint(joint).dofadr[0]
    slopes = fullbody.couplings.slopes(data.qpos)
    reduce[fullbody.couplings.dof_adr[followers]] = slopes[followers]
    for name, act in (("rest", np.zeros(model.nu)), ("all", np.ones(model.nu))):
        data.act[:] = act
        mujoco.mj_forward(model, data)
        moments[name] = data.qfrc_actuator.copy()
        moment = np.zeros((model.nu, model.nv))
        mujoco.mju_sparse2dense(
            moment, data.actuator_moment, data.moment_rownnz, data.moment_rowadr, data.moment_colind
        )
        moments[f"{name} each"] = (moment @ reduce) * data.actuator_force
    needed = reduce @ (data.qfrc_bias - data.qfrc_passive - moments["rest"])
    most = np.maximum(moments["all each"] - moments["rest each"], 0.0).sum()
    assert needed == pytest.approx(0.4 * most, rel=0.05)
    weaker, stronger = (held_range(fullbody, joint, effort)[1] for effort in (0.2, 0.8))
    assert weaker < high < stronger
    np.testing.assert_allclose(held_range(fullbody, joint, 100.0), model.joint(joint).range)
    # What does not hold it where it is does not hold it anywhere.
    assert held_range(fullbody, "flex_extension", 0.1) == (0.0, 0.0)
