"""Computed muscle control of the arms: it reaches what it asks for, and follows a motion."""

from __future__ import annotations

import copy
from dataclasses import replace

import mujoco
import numpy as np
import pytest
import torch

from mm_torch.build import demo_folder
from retarget.motion_set import load_motion_set
from sim.activation_filter import ActivationFilter
from sim.computed_muscle_control import ComputedMuscleControl, Gains, Target
from sim.embodiment import CONTROL_HZ, Embodiment
from sim.simulator import SimOptions, apply_options

SUBSTEPS = 5


@pytest.fixture(scope="module")
def model(bimanual: Embodiment) -> mujoco.MjModel:
    model = copy.copy(bimanual.model)
    apply_options(model, SimOptions())
    return model


def test_excitations_lead_to_the_activations_asked_for(
    bimanual: Embodiment, model: mujoco.MjModel
) -> None:
    rng = np.random.default_rng(0)
    control = ComputedMuscleControl(bimanual, model, 1 / CONTROL_HZ)
    act = rng.uniform(0, 1, (3, model.nu))
    lowest, highest = control.reachable(act)
    assert (lowest < act).all() and (act < highest).all()
    wanted = lowest + rng.uniform(0, 1, act.shape) * (highest - lowest)
    filter_ = ActivationFilter(bimanual, model.opt.timestep, SUBSTEPS, torch.float64)
    excitation = torch.from_numpy(control.excite(act, wanted))
    _, after = filter_(torch.from_numpy(act), excitation)
    np.testing.assert_allclose(after.numpy(), wanted, atol=5e-4)


def _play(bimanual: Embodiment, model: mujoco.MjModel, controlled: bool) -> float:
    """Root mean square joint error (rad) after half a second of the reaching movement."""
    motions = load_motion_set(demo_folder("bimanual"), bimanual)
    motion = next(motion for motion in motions if motion.name == "reach")
    qacc = np.gradient(motion.qvel, 1 / CONTROL_HZ, axis=0)
    control = ComputedMuscleControl(bimanual, model, 1 / CONTROL_HZ)
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:], data.act[:] = motion.qpos[0], motion.qvel[0], motion.act[0]
    for frame in range(1, 51):
        target = Target(motion.qpos[frame], motion.qvel[frame], qacc[frame], motion.act[frame])
        data.ctrl[:] = control.excitations(data, target) if controlled else motion.act[frame]
        for _ in range(SUBSTEPS):
            mujoco.mj_step(model, data)
    error = (data.qpos - motion.qpos[50])[bimanual.independent_qpos]
    return float(np.sqrt((error**2).mean()))


def test_steadiness_keeps_activations_where_they_are(
    bimanual: Embodiment, model: mujoco.MjModel
) -> None:
    rng = np.random.default_rng(1)
    data = mujoco.MjData(model)
    data.qpos[bimanual.independent_qpos] += 0.1 * rng.standard_normal(
        len(bimanual.independent_qpos)
    )
    data.act[:] = rng.uniform(0.05, 0.3, model.nu)
    act, still = data.act.copy(), np.zeros(model.nv)
    target = Target(model.qpos0, still, still, rng.uniform(0, 0.5, model.nu))
    changes = []
    for steadiness in (0.0, 1e4, 1e9):
        control = ComputedMuscleControl(bimanual, model, 1 / CONTROL_HZ, steadiness=steadiness)
        reached = control.activations(data, target, *control.reachable(act))
        changes.append(float(np.abs(reached - act).max()))
    assert changes[0] > 1.5 * changes[1] > 100 * changes[2]
    assert changes[2] < 1e-3


def test_follows_a_movement_that_its_activations_alone_leave(
    bimanual: Embodiment, model: mujoco.MjModel
) -> None:
    controlled, open_loop = _play(bimanual, model, True), _play(bimanual, model, False)
    assert controlled < 0.05
    assert controlled < 0.25 * open_loop


def test_joints_come_back_at_their_own_pace_and_no_faster_than_asked(
    bimanual: Embodiment, model: mujoco.MjModel
) -> None:
    gains = Gains(joints=20.0, upper=10.0, damping=0.9, approach=2.0)
    control = ComputedMuscleControl(bimanual, model, 1 / CONTROL_HZ, gains)
    data, still = mujoco.MjData(model), np.zeros(model.nv)
    column = int(model.joint("elbow_flex_r").dofadr[0])
    row = bimanual.independent_joints.index("elbow_flex_r")
    # Critically damped but for a tenth: w² e, or 2 z w v at most.
    for error, wanted in ((0.1, 10.0), (1.0, 36.0), (-1.0, -36.0)):
        goal = data.qpos.copy()
        goal[column] += error
        target = Target(goal, still, still, np.zeros(model.nu))
        found = control._wanted(control._holds[False], data, target)
        assert found[row] == pytest.approx(wanted)
        assert np.abs(np.delete(found, row)).max() < 1e-9
    # Speed is damped without a bound.
    data.qvel[column] = 10.0
    target = Target(data.qpos.copy(), still, still, np.zeros(model.nu))
    assert control._wanted(control._holds[False], data, target)[row] == pytest.approx(-180.0)


def test_a_swinging_leg_weighs_more_the_more_it_is_held(fullbody: Embodiment) -> None:
    control = ComputedMuscleControl(
        fullbody, fullbody.model, 1 / CONTROL_HZ, Gains(swing_weight=5.0)
    )
    data, still = mujoco.MjData(fullbody.model), np.zeros(fullbody.model.nv)
    hold = control._holds[False]
    hold.step.read(data)
    at_rest = Target(data.qpos.copy(), still, still, np.zeros(fullbody.model.nu))
    stance, *swings = (
        control._weights(hold, data.qpos, replace(at_rest, swing=swing))
        for swing in ({}, {"left": 1.0}, {"left": 0.5}, {"left": 0.0})
    )
    leg = 6 + fullbody.independent_joints.index("knee_angle_l")
    other = 6 + fullbody.independent_joints.index("knee_angle_r")
    assert [swing[leg] / stance[leg] for swing in swings] == pytest.approx([5.0, 3.0, 1.0])
    assert all(swing[other] == stance[other] for swing in swings)


def test_trunk_and_arms_have_gains_of_their_own(fullbody: Embodiment) -> None:
    gains = Gains(joints=20.0, upper=10.0, upper_weight=3.0)
    controls = [
        ComputedMuscleControl(fullbody, fullbody.model, 1 / CONTROL_HZ, chosen)
        for chosen in (gains, replace(gains, upper_weight=1.0))
    ]
    data, still = mujoco.MjData(fullbody.model), np.zeros(fullbody.model.nv)
    goal = data.qpos.copy()
    goal[fullbody.independent_qpos] += 0.01
    target = Target(goal, still, still, np.zeros(fullbody.model.nu))
    holds = [control._holds[False] for control in controls]
    for hold in holds:
        hold.step.read(data)
    wanted = controls[0]._wanted(holds[0], data, target)[6:]
    heavier, plain = (
        control._weights(hold, data.qpos, target)[6:]
        for control, hold in zip(controls, holds, strict=True)
    )
    for row, name in enumerate(fullbody.independent_joints):
        legs = name.split("_")[0] in ("hip", "knee", "ankle", "subtalar", "mtp")
        assert wanted[row] == pytest.approx(4.0 if legs else 1.0), name
        assert heavier[row] / plain[row] == pytest.approx(1.0 if legs else 3.0), name


def _on_the_ground(fullbody: Embodiment) -> mujoco.MjData:
    """The neutral posture, its soles just on the floor."""
    model, data = fullbody.model, mujoco.MjData(fullbody.model)
    mujoco.mj_kinematics(model, data)
    geoms = np.concatenate(list(fullbody.foot_geoms.values()))
    gaps = [
        mujoco.mj_geomDistance(model, data, fullbody.floor_geom, int(geom), 1.0, None)
        for geom in geoms
    ]
    data.qpos[2] -= min(gaps)
    return data


def test_in_the_air_the_root_counts_for_little_and_any_foot_carries(fullbody: Embodiment) -> None:
    control = ComputedMuscleControl(fullbody, fullbody.model, 1 / CONTROL_HZ, Gains(airborne=0.125))
    data, still = _on_the_ground(fullbody), np.zeros(fullbody.model.nv)
    hold = control._holds[False]
    hold.step.read(data)
    swing = {"left": 1.0, "right": 1.0}
    dragging = Target(data.qpos.copy(), still, still, np.zeros(fullbody.model.nu), swing)
    aloft = replace(dragging, aloft=True)
    ratio = control._weights(hold, data.qpos, aloft) / control._weights(hold, data.qpos, dragging)
    assert ratio[:6] == pytest.approx(0.125) and ratio[6:] == pytest.approx(1.0)
    assert control._swinging(hold, dragging).any()
    assert not control._swinging(hold, aloft).any()


def test_a_run_has_gains_of_its_own(fullbody: Embodiment) -> None:
    data, still = _on_the_ground(fullbody), np.zeros(fullbody.model.nv)
    soft = Gains(root=10.0, root_weight=1.0, joints=10.0)
    walks, runs = (
        ComputedMuscleControl(fullbody, fullbody.model, 1 / CONTROL_HZ, **gains)
        for gains in ({"running": soft}, {"gains": soft})
    )
    goal = data.qpos.copy()
    goal[2] += 0.02
    target = Target(goal, still, still, np.zeros(fullbody.model.nu))
    bounds = walks.reachable(data.act)
    softly = runs.activations(data, target, *bounds)
    running = replace(target, running=True)
    np.testing.assert_allclose(walks.activations(data, running, *bounds), softly, atol=1e-9)
    assert np.abs(walks.activations(data, target, *bounds) - softly).max() > 0.01
