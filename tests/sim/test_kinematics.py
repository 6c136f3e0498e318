import mujoco
import numpy as np
import pytest
import torch

from sim.kinematics import BodyFrame, Kinematics
from sim.rotations import matrix_to_rotvec
from tests.conftest import body


def random_postures(embodiment, count, seed=0):
    model, rng = embodiment.model, np.random.default_rng(seed)
    qpos = np.tile(model.qpos0, (count, 1)) + rng.uniform(-0.8, 0.8, (count, model.nq))
    if embodiment.has_root:
        qpos[:, 3:7] = rng.normal(size=(count, 4))
        qpos[:, 3:7] /= np.linalg.norm(qpos[:, 3:7], axis=1, keepdims=True)
    return qpos


def all_frames(embodiment):
    """Mimic sites, then every body that hangs from the root (any body without one)."""
    model = embodiment.model
    frames = [BodyFrame.of_site(model, site) for site in embodiment.site_ids]
    names = [model.body(i).name for i in range(1, model.nbody)]
    root = model.jnt_bodyid[0] if embodiment.has_root else None
    bodies = [n for n in names if root is None or model.body_rootid[model.body(n).id] == root]
    return [*frames, *(BodyFrame.of_body(model, name) for name in bodies)], bodies


@pytest.mark.parametrize("name", ["fullbody", "bimanual"])
@pytest.mark.parametrize("fingers", [False, True])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_frames_equal_mujocos(name, fingers, dtype, tolerance):
    embodiment = body(name, fingers)
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    frames, bodies = all_frames(embodiment)
    qpos = random_postures(embodiment, 7)
    position, rotation = Kinematics(model, frames, dtype)(torch.as_tensor(qpos, dtype=dtype))
    assert position.shape == (7, len(frames), 3)
    ids = [model.body(n).id for n in bodies]
    for t, pose in enumerate(qpos):
        data.qpos[:] = pose
        mujoco.mj_kinematics(model, data)
        expected = np.concatenate((data.site_xpos[embodiment.site_ids], data.xpos[ids]))
        axes = np.concatenate((data.site_xmat[embodiment.site_ids], data.xmat[ids]))
        np.testing.assert_allclose(position[t].numpy(), expected, atol=tolerance)
        np.testing.assert_allclose(
            rotation[t].numpy(), axes.reshape(-1, 3, 3), atol=tolerance, rtol=0
        )


@pytest.mark.parametrize("name", ["fullbody", "bimanual"])
def test_jacobian_equals_mujocos(name):
    embodiment = body(name, False)
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    qpos = random_postures(embodiment, 3)
    jacobian = Kinematics.of_sites(embodiment).jacobian(torch.as_tensor(qpos)).numpy()
    expected = np.zeros((6, model.nv))
    for t, pose in enumerate(qpos):
        data.qpos[:] = pose
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        for row, site in enumerate(embodiment.site_ids):
            mujoco.mj_jacSite(model, data, expected[:3], expected[3:], site)
            np.testing.assert_allclose(jacobian[t, row], expected, atol=1e-9)


@pytest.mark.parametrize("name", ["fullbody", "bimanual"])
def test_jacobian_is_the_derivative(name):
    embodiment = body(name, False)
    model = embodiment.model
    kinematics = Kinematics.of_sites(embodiment)
    qpos = random_postures(embodiment, 1, seed=3)
    jacobian = kinematics.jacobian(torch.as_tensor(qpos))[0]
    step = 1e-6
    for dof in range(model.nv):
        sides = []
        for sign in (1.0, -1.0):
            moved, velocity = qpos[0].copy(), np.zeros(model.nv)
            velocity[dof] = sign
            mujoco.mj_integratePos(model, moved, velocity, step)
            sides.append(kinematics(torch.as_tensor(moved)))
        (p1, r1), (p0, r0) = sides
        linear = (p1 - p0) / (2 * step)
        angular = matrix_to_rotvec(r1 @ r0.transpose(-1, -2)) / (2 * step)
        torch.testing.assert_close(jacobian[:, :3, dof], linear, atol=1e-7, rtol=0)
        torch.testing.assert_close(jacobian[:, 3:, dof], angular, atol=1e-7, rtol=0)


def test_is_differentiable():
    embodiment = body("bimanual", False)
    kinematics = Kinematics.of_sites(embodiment)
    qpos = torch.as_tensor(random_postures(embodiment, 2)).requires_grad_()
    position, _ = kinematics(qpos)
    position[1, 3, 0].backward()
    expected = kinematics.jacobian(qpos.detach())[1, 3, 0]
    torch.testing.assert_close(qpos.grad[1], expected)
    assert not qpos.grad[0].any()


def test_a_ball_joint_is_refused():
    model = mujoco.MjModel.from_xml_string(
        "<mujoco><worldbody><body name='b'><joint type='ball'/><geom size='1'/></body>"
        "</worldbody></mujoco>"
    )
    with pytest.raises(ValueError, match="only hinges, slides and one free root"):
        Kinematics(model, [BodyFrame.of_body(model, "b")])
