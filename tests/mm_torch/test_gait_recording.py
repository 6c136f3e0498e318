"""The gait laboratory against MuJoCo's own balance of forces and against work done by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mm_torch.gait_recording import JOINTS, GaitLaboratory, _Row, _walk, record
from mm_torch.task import ImitationTask
from sim.embodiment import Embodiment
from sim.simulator import SimOptions
from tests.mm_torch.helpers import small_task
from tests.sim.virtual_work import moment_of

_SINGLE, _DOUBLE = 35, 10  # frames of the demo walk: on the right foot, and on both


@pytest.fixture(scope="module")
def task() -> ImitationTask:
    return small_task("fullbody", "sim.nworld=2")


def _placed(task: ImitationTask, frame: int, still: bool = False) -> GaitLaboratory:
    laboratory = GaitLaboratory(task.simulator.embodiment, SimOptions())
    zero, frames = torch.zeros(1, dtype=torch.long), torch.tensor([frame])
    motion = task.library.frames(zero, frames)
    qpos, qvel, act = (
        part[0].double().numpy()
        for part in (motion.qpos, motion.qvel, task.library.activations(zero, frames))
    )
    qpos = qpos.copy()
    qpos[2] -= 0.005  # into the ground
    laboratory.place(qpos, 0 * qvel if still else qvel, act, act)
    return laboratory


@pytest.mark.parametrize("frame", [_SINGLE, _DOUBLE])
def test_ground_forces_are_all_that_holds_the_root(task: ImitationTask, frame: int) -> None:
    laboratory = _placed(task, frame)
    data, model = laboratory._data, laboratory._model
    forces = laboratory.ground_forces()
    weight = model.body_mass.sum() * 9.81 / 100
    # Joint couplings and contacts of the body with itself do not push the root of the body.
    np.testing.assert_allclose(forces.sum(0) * weight, data.qfrc_constraint[:3], atol=0.05)
    assert forces[0, 2] > 10.0
    assert (forces[1, 2] > 10.0) == (frame == _DOUBLE)
    if frame == _SINGLE:
        assert not forces[1].any()


def test_moments_are_the_work_of_muscles_along_the_joint(
    task: ImitationTask, fullbody: Embodiment
) -> None:
    laboratory = _placed(task, _SINGLE, still=True)
    model, data = laboratory._model, laboratory._data
    moments, force = laboratory.moments(), data.actuator_force.copy()
    passive = data.qfrc_passive.copy()
    mass, qpos = model.body_mass.sum(), data.qpos.copy()
    for row, joint in enumerate(JOINTS):
        for side, end in enumerate("rl"):
            address = model.joint(f"{joint}_{end}").qposadr[0]
            work = moment_of(fullbody, model, qpos, address, force, passive)
            assert moments[row, side] == pytest.approx(work / mass, abs=2e-4), f"{joint}_{end}"
    assert np.abs(moments).max() > 0.2


def test_a_policy_is_recorded_until_it_leaves_the_motion(task: ImitationTask) -> None:
    clip, frame = torch.zeros(2, dtype=torch.long), torch.tensor([0, 30])
    off = torch.full((2, task.action_dim), -20.0)
    walks = record(task, lambda obs: off, clip, frame)
    assert len(walks) == 2
    for walk, start in zip(walks, frame.tolist(), strict=True):
        count = len(walk.root)
        assert 10 < count < 100  # without excitation it falls
        assert walk.fps == pytest.approx(100.0)
        frames = torch.arange(start + 1, start + 1 + count)
        motion = task.library.frames(torch.zeros_like(frames), frames).qpos.numpy()
        knee = task.simulator.embodiment.model.joint("knee_angle_l").qposadr[0]
        np.testing.assert_allclose(walk.motion["knee_angle"][:, 1], np.degrees(motion[:, knee]),
                                   atol=1e-3)  # fmt: skip
        # After one step still near it, then less and less.
        gap = np.abs(walk.quantities["kinematics"]["knee_angle"] - walk.motion["knee_angle"]).max(1)
        assert gap[0] < 1.0 < gap[-1]
        assert {len(values) for table in walk.quantities.values() for values in table.values()} == {
            count
        }
        soleus = walk.quantities["emg"]["soleus"]
        assert (np.diff(soleus, axis=0) < 1e-8).all() and soleus[0].max() > 0.01  # left to fade


def test_forces_are_along_the_walk_and_out_of_it() -> None:
    """The body walks along -y, its right is at -x: the ground pushes both feet outwards."""
    rows = [
        _Row(
            np.zeros((6, 2)), np.zeros((6, 2)),
            np.array([[-3.0, -7.0, 50.0], [4.0, 7.0, 60.0]]), np.zeros((6, 2)),
            np.array([0.1, 0.2]), np.array([0.5, -0.01 * k]),
        )
        for k in range(101)
    ]  # fmt: skip
    walk = _walk(rows, 100.0, ["soleus_r", "soleus_l"])
    forces = walk.quantities["grf"]
    np.testing.assert_allclose(forces["up"][0], [50.0, 60.0])
    np.testing.assert_allclose(forces["forwards"][0], [7.0, -7.0], atol=1e-9)
    np.testing.assert_allclose(forces["outwards"][0], [3.0, 4.0], atol=1e-9)
    np.testing.assert_allclose(walk.quantities["emg"]["soleus"][0], [0.1, 0.2])
    assert walk.speed() == pytest.approx(1.0)
