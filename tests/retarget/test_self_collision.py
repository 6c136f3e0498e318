"""Parts of a body that are inside each other: how deep, which way out, and the solver takes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from retarget.pair_distances import PairDistances
from retarget.self_collision import SelfCollision
from retarget.solve import Solver
from retarget.solve_options import SolveOptions
from retarget.tracks import track_frames
from sim.embodiment import Embodiment
from sim.independent import IndependentCoordinates
from sim.kinematics import Kinematics
from tests.conftest import body
from tests.retarget.captured import walk_quality

_WEIGHT, _CLEARANCE = 100.0, 0.003


def _overlapping(embodiment: Embodiment, frames: int) -> torch.Tensor:
    """Random postures (T, nq) whose deepest pair is 5 to 40 mm deep in each other."""
    rng, coordinates = np.random.default_rng(0), IndependentCoordinates(embodiment)
    low, high = (bound.clamp(-2.0, 2.0) for bound in (coordinates.lower, coordinates.upper))
    root = None
    if embodiment.has_root:
        turn = torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(1, 4))))
        root = torch.cat((torch.tensor([[0.3, -0.2, 1.1]], dtype=torch.float64), turn), dim=1)
    distances, found = PairDistances(embodiment, 0.0), []
    while len(found) < frames:
        share = torch.from_numpy(rng.uniform(0.1, 0.9, (1, len(low))))
        qpos = coordinates.qpos(low + share * (high - low), root)
        depth = -distances(qpos.numpy()).distance
        if len(depth) and 0.005 < depth.max() < 0.04:
            found.append(qpos)
    return torch.cat(found)


@pytest.fixture(params=["fullbody", "bimanual"])
def overlapping(
    request: pytest.FixtureRequest,
) -> tuple[Embodiment, torch.Tensor, torch.Tensor | None]:
    """A body, independent joints (T, m) and roots (T, 7) of postures that overlap."""
    embodiment = body(request.param)
    qpos = _overlapping(embodiment, 4)
    root = qpos[:, :7] if embodiment.has_root else None
    return embodiment, qpos[:, embodiment.independent_qpos], root


def test_slopes_are_derivatives_of_the_distance(overlapping) -> None:
    embodiment, joints, root = overlapping
    coordinates = IndependentCoordinates(embodiment)
    qpos = coordinates.qpos(joints, root).numpy()
    distances = PairDistances(embodiment, 0.01)
    near = distances(qpos)
    assert (near.distance < -0.005).sum() >= 4 and near.distance.max() < 0.01
    assert embodiment.floor_geom not in near.geoms
    step = 1e-6
    for dof in np.flatnonzero(np.abs(near.slope).max(0) > 0.05)[-6:]:
        # Every dof here but the root's has a position of its own.
        column = int(embodiment.model.jnt_qposadr[embodiment.model.dof_jntid[dof]])
        if column < 7 * embodiment.has_root:
            continue
        moved = qpos.copy()
        moved[:, column] += step
        later = distances(moved)
        assert (later.geoms == near.geoms).all()
        slope = (later.distance - near.distance) / step
        np.testing.assert_allclose(slope, near.slope[:, dof], atol=2e-3)


def _cost(embodiment: Embodiment, joints: torch.Tensor, root: torch.Tensor | None) -> torch.Tensor:
    """(T,) half of what the overlaps cost, written out."""
    near = PairDistances(embodiment, _CLEARANCE)(
        IndependentCoordinates(embodiment).qpos(joints, root).numpy()
    )
    cost = torch.zeros(len(joints), dtype=torch.float64)
    for frame, distance in zip(near.frame, near.distance, strict=True):
        cost[frame] += 0.5 * _WEIGHT * max(_CLEARANCE - distance, 0.0) ** 2
    return cost


def test_the_gradient_is_that_of_the_cost(overlapping) -> None:
    embodiment, joints, root = overlapping
    coordinates = IndependentCoordinates(embodiment)
    collision = SelfCollision(embodiment, coordinates, _WEIGHT, _CLEARANCE)
    width = coordinates.width
    hessian = torch.zeros(len(joints), width, width, dtype=torch.float64)
    gradient = torch.zeros(len(joints), width, dtype=torch.float64)
    collision.add(hessian, gradient, joints, root)
    step = 1e-6
    for column in range(joints.shape[1]):
        moved = joints.clone()
        moved[:, column] += step
        slope = (_cost(embodiment, moved, root) - _cost(embodiment, joints, root)) / step
        found = gradient[:, coordinates.root + column]
        np.testing.assert_allclose(found, slope, atol=2e-3 + 1e-2 * float(slope.abs().max()))
    assert gradient.abs().amax(1).min() > 0.05
    # Inner forces: the body as a whole is neither moved nor turned.
    assert gradient[:, : coordinates.root].abs().max() < 1e-9 if coordinates.root else True
    assert torch.allclose(hessian, hessian.transpose(1, 2))
    assert torch.linalg.eigvalsh(hessian).min() > -1e-9


def _deepest(embodiment: Embodiment, qpos: np.ndarray) -> float:
    return -min(PairDistances(embodiment, 0.0)(qpos).distance, default=0.0)


def _follow(embodiment: Embodiment, qpos: np.ndarray, avoid: bool) -> tuple[np.ndarray, float]:
    """Postures (T, nq) that follow those of a body itself, and the mean site error (m)."""
    kinematics = Kinematics(embodiment.model, track_frames(embodiment))
    wanted = kinematics(torch.from_numpy(qpos))
    solver = Solver(embodiment, SolveOptions(contact=False, avoid_self_collision=avoid))
    solution = solver.solve([wanted], 100.0)[0]
    found = IndependentCoordinates(embodiment).qpos(solution.joints, solution.root)
    error = (kinematics(found)[0] - wanted[0])[:, : len(embodiment.mimic_sites)].norm(dim=-1)
    return found.numpy(), float(error.mean())


@pytest.mark.parametrize("name", ["fullbody", "bimanual"])
def test_arms_that_hang_inside_the_chest_are_taken_out(name: str) -> None:
    embodiment = body(name)
    qpos = np.tile(embodiment.model.qpos0, (60, 1))
    assert _deepest(embodiment, qpos) > 0.02
    (inside, error), (outside, more) = (_follow(embodiment, qpos, avoid) for avoid in (False, True))
    assert _deepest(embodiment, inside) > 0.005 and _deepest(embodiment, outside) < 0.001
    assert more < error + 0.015


def test_a_motion_with_room_is_left_as_it_is() -> None:
    embodiment = body("bimanual")
    qpos = np.tile(embodiment.model.qpos0, (60, 1))
    for side in "rl":
        qpos[:, embodiment.model.joint(f"shoulder_elv_{side}").qposadr[0]] = 1.2
        elbow = embodiment.model.joint(f"elbow_flex_{side}").qposadr[0]
        qpos[:, elbow] = 1.0 + 0.3 * np.sin(np.arange(60) / 8)
    assert not len(PairDistances(embodiment, 0.02)(qpos).frame)
    (plain, _), (avoiding, _) = (_follow(embodiment, qpos, avoid) for avoid in (False, True))
    np.testing.assert_array_equal(plain, avoiding)


def test_legs_that_pass_through_each_other_are_led_past() -> None:
    embodiment = body("fullbody")
    qpos = np.tile(embodiment.model.qpos0, (160, 1))
    qpos[:, 2] += 0.3  # in the air: feet are free
    swing = 0.45 * np.sin(2 * np.pi * np.arange(160) / 80)
    for side, sign in (("r", 1.0), ("l", -1.0)):
        qpos[:, embodiment.model.joint(f"hip_flexion_{side}").qposadr[0]] = sign * swing
        qpos[:, embodiment.model.joint(f"hip_adduction_{side}").qposadr[0]] = 0.06
    qpos = embodiment.couplings.complete_qpos(qpos)
    (through, error), (past, more) = (_follow(embodiment, qpos, avoid) for avoid in (False, True))
    assert _deepest(embodiment, through) > 0.03 and _deepest(embodiment, past) < 0.001
    assert more < error + 0.01
    # Smoothly: no joint is jerked aside.
    before, after = (np.abs(np.diff(found[:, 7:], 3, axis=0)).max() for found in (through, past))
    assert after < 3 * before


def test_captured_legs_pass_each_other_without_touching(shared: Path) -> None:
    quality = {avoid: walk_quality(shared, avoid_self_collision=avoid) for avoid in (False, True)}
    assert quality[False].self_collision_beyond_neutral_mm > 20
    assert quality[True].self_collision_depth_mm < 1
    assert quality[True].site_error_mean_cm < quality[False].site_error_mean_cm + 0.3
    assert quality[True].residual_force_mean_pct_bw < quality[False].residual_force_mean_pct_bw
    assert quality[True].joint_jerk_rms_rad_s3 < 1.1 * quality[False].joint_jerk_rms_rad_s3
    assert quality[True].joint_limit_violation_pct == quality[True].floating_stance_pct == 0
