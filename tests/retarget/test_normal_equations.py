import mujoco
import numpy as np
import pytest
import torch

from retarget.demo.foot_contact import lowest_points
from retarget.foot_geometry import FootGeometry
from retarget.normal_equations import ANGLE_SCALE, ContactWeights, NormalEquations, Targets
from retarget.tracks import track_frames, tracks
from sim.embodiment import load_embodiment
from sim.kinematics import Kinematics
from sim.rotations import matrix_to_rotvec
from tests.conftest import body


def posture(equations, seed=0):
    """Random independent joints (1, m) and root (1, 7) inside the limits, feet near the floor."""
    rng = np.random.default_rng(seed)
    lower, upper = equations.coordinates.lower.numpy(), equations.coordinates.upper.numpy()
    joints = torch.as_tensor(rng.uniform(0.7 * lower + 0.3 * upper, 0.3 * lower + 0.7 * upper))
    if not equations.coordinates.root:
        return joints[None], None
    root = np.concatenate(([0.3, -0.2, 0.86], [1, 0.05, -0.04, 0.3]))
    root[3:] /= np.linalg.norm(root[3:])
    return joints[None], torch.as_tensor(root)[None]


def targets_for(equations, seed=1):
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(1, equations.tracked, 3, 3)))[0]
    axes *= np.sign(np.linalg.det(axes))[..., None, None]
    targets = Targets(
        torch.as_tensor(rng.normal(size=(1, equations.tracked, 3))), torch.as_tensor(axes)
    )
    if equations.feet is not None:
        points = len(equations.feet.point_body)
        targets.hold = torch.as_tensor(rng.uniform(size=(1, points)))
        targets.press = torch.as_tensor(rng.uniform(0.1, 1, size=(1, points)))
        targets.anchor = torch.as_tensor(rng.normal(size=(1, points, 2)))
    return targets


def cost(embodiment, equations, targets, joints, root):
    """The cost that the equations model, from MuJoCo's kinematics."""
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    data.qpos[embodiment.independent_qpos] = joints
    if root is not None:
        data.qpos[:7] = root
    data.qpos[:] = embodiment.couplings.complete_qpos(data.qpos)
    mujoco.mj_kinematics(model, data)
    total = 0.0
    for row, track in enumerate(tracks(embodiment)):
        spot = data.site(track.frame) if track.is_site else data.body(track.frame)
        error = spot.xpos - targets.position[0, row].numpy()
        turn = torch.as_tensor(spot.xmat.reshape(3, 3)) @ targets.rotation[0, row].T
        angle = float(matrix_to_rotvec(turn).norm())
        total += track.position * error @ error / 2
        total += track.orientation * ANGLE_SCALE**2 / 2 * np.log(1 + (angle / ANGLE_SCALE) ** 2)
    if targets.hold is not None:
        weights: ContactWeights = equations.contact
        points = np.concatenate(
            [lowest_points(model, data, geoms) for geoms in embodiment.foot_geoms.values()]
        )
        slip = points[:, :2] - targets.anchor[0].numpy()
        total += weights.slide * (targets.hold[0].numpy() * (slip**2).sum(1)).sum() / 2
        sink = weights.sink * (points[:, 2] < 0)
        stiff = weights.height * targets.press[0].numpy() + sink
        total += (stiff * points[:, 2] ** 2).sum() / 2
    return total


@pytest.mark.parametrize("name, fingers", [("fullbody", False), ("bimanual", True)])
def test_gradient_is_that_of_the_cost(name, fingers):
    embodiment = load_embodiment(name, True) if fingers else body(name, False)
    equations = NormalEquations(embodiment, torch.float64)
    joints, root = posture(equations)
    targets = targets_for(equations)
    if root is not None:
        # Points that slide on their own body (an ellipsoid's lowest point, a capsule's end that
        # turns) are held only to first order in the real cost: leave the floor's pull upright.
        targets.hold = targets.hold * 0
    hessian, gradient = equations(joints, root, targets)
    assert torch.allclose(hessian, hessian.transpose(1, 2), atol=1e-9)
    assert torch.linalg.eigvalsh(hessian[0])[0] > -1e-9
    step, first = 1e-6, equations.coordinates.root
    for column in range(equations.coordinates.width):
        sides = []
        for sign in (step, -step):
            moved, base = joints[0].numpy().copy(), None if root is None else root[0].numpy().copy()
            if column >= first:
                moved[column - first] += sign
            else:
                velocity = np.zeros(embodiment.model.nv)
                velocity[column] = 1.0
                full = embodiment.model.qpos0.copy()
                full[:7] = base
                mujoco.mj_integratePos(embodiment.model, full, velocity, sign)
                base = full[:7]
            sides.append(cost(embodiment, equations, targets, moved, base))
        expected = (sides[0] - sides[1]) / (2 * step)
        assert float(gradient[0, column]) == pytest.approx(expected, rel=1e-4, abs=1e-5), column


def test_hessian_is_the_jacobians_square():
    embodiment = body("fullbody", False)
    equations = NormalEquations(embodiment, torch.float64)
    joints, root = posture(equations)
    targets = targets_for(equations)
    targets.hold = targets.anchor = targets.press = None
    hessian, _ = equations(joints, root, targets)
    coordinates = equations.coordinates
    qpos = coordinates.qpos(joints, root)
    full = Kinematics(embodiment.model, track_frames(embodiment)).jacobian(qpos)
    column = coordinates.column_of_dof
    reduced = torch.zeros(*full.shape[:-1], coordinates.width, dtype=torch.float64)
    kept = column >= 0
    reduced.index_add_(
        -1, column[kept], (full * coordinates.slopes(qpos)[:, None, None])[..., kept]
    )
    pose = equations.kinematics.pose(qpos.T)
    error = equations._tracking_error(pose, targets, slice(None))
    weight = equations.weights[: equations.tracked].clone()[..., None].repeat(1, 1, 1)
    weight[:, 3:] /= 1 + (error[:, 3:].norm(dim=1, keepdim=True) / ANGLE_SCALE) ** 2
    expected = torch.einsum("tfri,fr,tfrj->tij", reduced, weight[..., 0], reduced)
    torch.testing.assert_close(hessian, expected, atol=1e-9, rtol=1e-9)


def test_foot_points_are_the_geoms_lowest():
    embodiment = body("fullbody", False)
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    feet = FootGeometry(embodiment)
    kinematics = Kinematics(model, feet.frames())
    rng = np.random.default_rng(2)
    qpos = np.tile(model.qpos0, (4, 1))
    qpos[:, 7:] += rng.uniform(-0.4, 0.4, (4, model.nq - 7))
    pose = kinematics.pose(torch.as_tensor(qpos).T)
    points, arm = feet.points(pose.position, pose.rotation)
    for t in range(4):
        data.qpos[:] = qpos[t]
        mujoco.mj_kinematics(model, data)
        expected = np.concatenate(
            [lowest_points(model, data, geoms) for geoms in embodiment.foot_geoms.values()]
        )
        np.testing.assert_allclose(points[..., t], expected, atol=1e-9)
    origin = pose.position[feet.point_body]
    torch.testing.assert_close(origin + arm, points)


def test_parts_of_the_foot():
    feet = FootGeometry(body("fullbody", False))
    count = len(feet.point_body)
    assert feet.group.shape == (2, 2, count) and feet.sole.shape == (2, count)
    # Two capsules' rear ends make a heel, two short capsules' four ends the toes, two front ends
    # the ball of the foot; the ellipsoid is in no part.
    assert feet.group.sum(-1).tolist() == [[2, 4], [2, 4]]
    assert feet.sole.sum(-1).tolist() == [2, 2]
    assert int((feet.group.sum((0, 1)) + feet.sole.sum(0)).max()) == 1
