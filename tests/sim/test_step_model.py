"""The linear model of a control step against MuJoCo's own control step."""

from __future__ import annotations

import copy

import mujoco
import numpy as np
import pytest
import torch

from sim.activation_filter import ActivationFilter
from sim.bounded_ridge import _root, bounded_ridge
from sim.embodiment import Embodiment
from sim.simulator import SimOptions, apply_options
from sim.step_model import StepModel

SUBSTEPS = 5


@pytest.fixture(scope="module")
def model(bimanual: Embodiment) -> mujoco.MjModel:
    model = copy.copy(bimanual.model)
    apply_options(model, SimOptions())
    return model


def _state(body: Embodiment, model: mujoco.MjModel, rng: np.random.Generator) -> mujoco.MjData:
    """A resting start after some random motion: muscles, couplings and limits at work."""
    data = mujoco.MjData(model)
    data.act[:] = rng.uniform(0, 0.3, model.nu)
    for _ in range(5):
        data.ctrl[:] = rng.uniform(0, 0.5, model.nu)
        for _ in range(SUBSTEPS):
            mujoco.mj_step(model, data)
    return data


def _change(model: mujoco.MjModel, data: mujoco.MjData, excitation: np.ndarray) -> np.ndarray:
    before = data.qvel.copy()
    data.ctrl[:] = excitation
    for _ in range(SUBSTEPS):
        mujoco.mj_step(model, data)
    return (data.qvel - before) / (SUBSTEPS * model.opt.timestep)


def test_predicts_the_velocity_change(bimanual: Embodiment, model: mujoco.MjModel) -> None:
    """Better than the instantaneous acceleration does, and by far better than no change."""
    rng = np.random.default_rng(0)
    dt = SUBSTEPS * model.opt.timestep
    step_model = StepModel(model, dt)
    filter_ = ActivationFilter(bimanual, model.opt.timestep, SUBSTEPS, torch.float64)
    free = bimanual.independent_dofs
    found, predicted, instant = [], [], []
    for _ in range(20):
        data = _state(bimanual, model, rng)
        excitation = rng.uniform(0, 0.6, model.nu)
        mean, _ = filter_(torch.from_numpy(data.act.copy()), torch.from_numpy(excitation))
        step_model.read(data)
        instant.append(data.qacc[free].copy())
        step = step_model.step()
        predicted.append((step.drift + step.gain @ (mean.numpy() - data.act))[free])
        found.append(_change(model, data, excitation)[free])
    found, predicted, instant = (np.array(values) for values in (found, predicted, instant))

    def unexplained(guess: np.ndarray) -> float:
        return float(np.median(((found - guess) ** 2).mean(0) / (found**2).mean(0)))

    assert unexplained(predicted) < 0.3
    assert unexplained(predicted) < 0.3 * unexplained(instant)


def test_leaves_the_state_alone(bimanual: Embodiment, model: mujoco.MjModel) -> None:
    data = _state(bimanual, model, np.random.default_rng(1))
    before = [getattr(data, name).copy() for name in ("qpos", "qvel", "act", "ctrl")]
    mujoco.mj_forward(model, data)
    force, length = data.actuator_force.copy(), data.actuator_length.copy()
    StepModel(model, 0.01).read(data)
    after = [getattr(data, name) for name in ("qpos", "qvel", "act", "ctrl")]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    np.testing.assert_array_equal(data.actuator_force, force)
    np.testing.assert_array_equal(data.actuator_length, length)


def test_a_small_step_is_the_instant(bimanual: Embodiment, model: mujoco.MjModel) -> None:
    """As h goes to 0, the drift is MuJoCo's own acceleration."""
    data = _state(bimanual, model, np.random.default_rng(2))
    step_model = StepModel(model, 1e-9)
    step_model.read(data)
    np.testing.assert_allclose(step_model.step().drift, data.qacc, rtol=1e-4, atol=1e-3)


def test_dropping_a_row_frees_it(bimanual: Embodiment, model: mujoco.MjModel) -> None:
    """Without any of its constraints a body accelerates as its smooth force says."""
    data = _state(bimanual, model, np.random.default_rng(3))
    step_model = StepModel(model, 1e-9)
    step_model.read(data)
    assert len(step_model.rows) > 0
    free = step_model.step(np.ones(len(step_model.rows), bool)).drift
    np.testing.assert_allclose(free, data.qacc_smooth, rtol=1e-4, atol=1e-3)


def test_constraint_forces_are_mujocos(bimanual: Embodiment, model: mujoco.MjModel) -> None:
    data = _state(bimanual, model, np.random.default_rng(4))
    step_model = StepModel(model, 0.01)
    step_model.read(data)
    force = step_model.constraint_force(data.qacc)
    np.testing.assert_allclose(
        force, data.efc_force[step_model.rows], rtol=1e-5, atol=1e-4 * np.abs(force).max()
    )


def test_bounded_ridge_meets_its_optimality_conditions() -> None:
    """At the solution the gradient vanishes inside, and points outwards at, the bounds."""
    rng = np.random.default_rng(0)
    matrix, target = rng.standard_normal((7, 30)), 5 * rng.standard_normal(7)
    center, low, high = rng.uniform(0, 1, 30), rng.uniform(-0.2, 0, 30), rng.uniform(0.3, 1, 30)
    for effort in (1e-2, 1.0, 100.0):
        x = bounded_ridge(matrix, target, center, low, high, effort)
        slope = matrix.T @ (matrix @ x - target) + effort * (x - center)
        inside = (x > low) & (x < high)
        assert np.abs(slope[inside]).max(initial=0) < 1e-5
        assert (slope[x == low] >= -1e-9).all() and (slope[x == high] <= 1e-9).all()
        assert (x >= low).all() and (x <= high).all()
        assert effort > 1e-2 or (~inside).any(), "no bound was met: the case shows nothing"


def test_bounded_ridge_ends_the_same_wherever_it_starts() -> None:
    rng = np.random.default_rng(1)
    matrix, target = rng.standard_normal((7, 30)), 5 * rng.standard_normal(7)
    center, low, high = rng.uniform(0, 1, 30), np.full(30, -0.1), np.full(30, 0.6)
    x = bounded_ridge(matrix, target, center, low, high, 1.0)
    for _ in range(5):
        start = 20 * rng.standard_normal(7)
        other = bounded_ridge(matrix, target, center, low, high, 1.0, start)
        np.testing.assert_allclose(other, x, atol=1e-6)


def test_the_lowest_point_along_a_move() -> None:
    """Where start + rise t + effort pace . (clip(free + t pace) - clip(free)) is zero."""
    rng = np.random.default_rng(2)
    for _ in range(20):
        free, pace = rng.standard_normal(9), rng.standard_normal(9)
        pace[0] = 0.0
        low, high = np.full(9, -0.5), np.full(9, 0.5)
        start, rise, effort = -rng.uniform(0.1, 9), rng.uniform(0.1, 1), rng.uniform(0.1, 5)
        part = _root(start, rise, free, pace, low, high, effort)
        moved = np.clip(free + part * pace, low, high) - np.clip(free, low, high)
        assert part > 0
        assert abs(start + rise * part + effort * pace @ moved) < 1e-9
