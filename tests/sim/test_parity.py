"""WarpSim against MujocoSim: from the same states, and how small differences grow."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("mujoco_warp")

from benchmarks import parity as benchmark
from benchmarks.parity import reference_states
from mm_torch.command_line import run_command
from sim.constraint_parity import compare_constraints
from sim.embodiment import EMBODIMENTS, load_embodiment
from sim.mujoco_sim import MujocoSim
from sim.parity_growth import Growth, excitation_sequence, joint_differences
from sim.simulator import SimOptions
from sim.tendon_parity import TendonParity, compare_tendons
from sim.warp_parity import Parity, compare_step, compare_steps, sample_states
from sim.warp_sim import WarpSim

_STATES = 12
_DEMO = Path(__file__).parents[2] / "data" / "demo"


@pytest.fixture(scope="module", params=EMBODIMENTS)
def simulator(request):
    simulator = WarpSim(load_embodiment(request.param), _STATES, torch.device("cpu"))
    yield simulator
    simulator.close()


def _states(simulator, source):
    body, rng = simulator.embodiment, np.random.default_rng(0)
    if source == "sampled":
        return sample_states(body, _STATES, rng)
    if not (_DEMO / body.name / "index.json").is_file():
        pytest.skip(f"no demo motions of {body.name}")
    return reference_states(body, _DEMO / body.name, _STATES, rng)


@pytest.mark.parametrize("source", ["sampled", "demo"])
def test_one_control_step_agrees(simulator, source):
    parity = compare_step(simulator, _states(simulator, source))
    found = parity.summary()
    joints = f"joints that differ most: {parity.worst_joints()}"
    muscles = f"muscles that differ most: {parity.worst_muscles()}"
    assert not parity.invalid.any()
    # Float32 alone gives a hundredth of these; what they are to catch is a wrong model.
    assert found["qpos_median"] < 1e-4, joints
    assert found["qpos_p99"] < 1e-2, joints
    assert found["act_max"] < 1e-5, muscles
    assert found["force_median"] < 1e-4, muscles
    assert found["force_p99"] < 1e-2, muscles


def test_differences_grow_slowly_along_motions(simulator):
    states, nu = _states(simulator, "demo"), simulator.embodiment.model.nu
    excitations = excitation_sequence("policy", 10, _STATES, nu, np.random.default_rng(1))
    parities = compare_steps(simulator, states, excitations)
    growth = Growth.of(parities)
    joints = f"joints that differ most: {joint_differences(parities)[:5]}"
    # Ten times what was measured of 200 states (docs/simulation.md).
    assert growth.percentiles("qpos")[-1, 0] < 1e-4, joints
    assert growth.act.max() < 1e-5
    assert growth.percentiles("force")[-1, 0] < 1e-3
    # Excitations of the last step only change the last difference: steps are what they claim.
    shorter = compare_steps(simulator, states, excitations[:2])
    assert np.array_equal(shorter[1].qpos, parities[1].qpos)


def test_muscle_paths_are_the_same_in_identical_states(simulator):
    parity = compare_tendons(simulator, _states(simulator, "sampled").qpos)
    length, arm = parity.rounding()
    assert length < 1e-5 and arm < 1e-3, parity.switched()
    # Next to a switch float32 may decide otherwise: few muscles, not a wrong model.
    assert (parity.touching | parity.side).mean() < 0.01, parity.switched()


def test_constraints_are_the_same_in_identical_states(simulator):
    states = _states(simulator, "sampled")
    parity = compare_constraints(simulator, states.qpos, states.qvel, states.act)
    assert parity.same.mean() > 0.8, (parity.contacts, parity.limits)
    assert np.median(parity.acceleration[parity.same]) < 1e-3


def test_a_moved_tendon_is_noticed(simulator):
    qpos = _states(simulator, "sampled").qpos
    assert compare_tendons(simulator, qpos[:2]).length.max() < 1e-5
    model = simulator.embodiment.model
    first = model.tendon_adr[model.actuator_trnid[0, 0]]  # where the first muscle's path begins
    moved = model.site_pos[model.wrap_objid[first]]
    moved += 0.01
    try:
        assert compare_tendons(simulator, qpos[:2]).length.max() > 1e-4
    finally:
        moved -= 0.01


def test_steps_under_other_options_differ(bimanual):
    states = sample_states(bimanual, 3, np.random.default_rng(0))
    simulator = MujocoSim(bimanual, 2, SimOptions(euler_damping=False), dtype=torch.float64)
    excitations = states.excitations.expand(3, -1, -1)
    same = compare_steps(simulator, states, excitations)
    other = compare_steps(simulator, states, excitations, options=SimOptions())
    assert all(not parity.qpos.any() and not parity.force.any() for parity in same)
    assert (Growth.of(other).qpos > 0).all()
    assert other[0].qpos.shape == (3, bimanual.model.nq)
    simulator.close()


def _parity(qpos, invalid=(False, False)):
    qpos = np.array(qpos, dtype=float)
    zeros = np.zeros((len(qpos), 1))
    return Parity(qpos, zeros, zeros, np.array(invalid), ("root", "root", "knee"), ("m",))


def test_growth_by_hand():
    parities = [
        _parity([[0.0, 1e-3, 0.0], [0.0, 0.0, 2e-3]]),
        _parity([[0.0, 0.0, 0.02], [0.0, 4e-3, 0.0]]),
        _parity([[0.0, 0.03, 0.01], [0.0, 0.0, 0.0]], invalid=(False, True)),
    ]
    growth = Growth.of(parities)
    assert growth.qpos.tolist() == [[1e-3, 2e-3], [0.02, 4e-3], [0.03, 0.0]]
    assert growth.diverged_at(0.01).tolist() == [2, 3]
    assert growth.diverged_at(0.1).tolist() == [0, 3]
    assert growth.percentiles("qpos")[:, 0] == pytest.approx([1.5e-3, 0.012, 0.03])
    assert joint_differences(parities) == [("root", 0.03), ("knee", 0.01)]


def test_switched_paths_by_hand():
    flags = np.zeros((3, 2), dtype=bool)
    flags[1:, 1] = True
    length = np.array([[1e-7, 1e-6], [2e-7, 3e-3], [0.0, 1e-3]])
    parity = TendonParity(length, 2 * length, flags, np.zeros_like(flags), ("a", "b"))
    assert parity.switched() == [("b", 2, 3e-3, 6e-3)]
    assert parity.rounding() == (1e-6, 2e-6)


def test_excitations_are_those_of_an_untrained_policy():
    rng = np.random.default_rng(0)
    drawn = excitation_sequence("policy", 200, 50, 20, rng).double()
    noise = (drawn.logit() + 2.5).numpy()
    assert noise.mean() == pytest.approx(0.0, abs=0.02)
    assert noise.std() == pytest.approx(1.0, abs=0.02)
    assert (noise[1:] * noise[:-1]).mean() == pytest.approx(0.8, abs=0.02)
    uniform = excitation_sequence("uniform", 3, 50, 20, rng)
    assert uniform.min() >= 0 and uniform.max() <= 1 and abs(uniform.mean() - 0.5) < 0.02
    with pytest.raises(ValueError, match="'white': expected one of policy, uniform"):
        excitation_sequence("white", 1, 1, 1, rng)


def test_benchmark_prints_its_tables(capsys):
    arguments = ["embodiment=bimanual", "states=2", "steps=2", "device=cpu"]
    assert run_command(benchmark.main, "", arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    record = json.loads(lines[-1])
    assert len(record["by_step"]["qpos"]) == 2 and record["invalid"] == 0
    assert any("muscle takes another path" in line or "muscle on another" in line for line in lines)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("embodiment=arm", "embodiment=arm: expected fullbody or bimanual"),
        ("steps=0", "steps=0: expected a number, at least 1"),
        ("step=1", "'step'"),
        ("excitations=white", "expected policy or uniform"),
    ],
)
def test_benchmark_errors_are_one_line(argument, message, capsys):
    assert run_command(benchmark.main, "", [argument]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
