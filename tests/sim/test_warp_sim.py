"""WarpSim: masked resets, derived quantities, continuing from a state, invalid worlds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("mujoco_warp")

from sim.embodiment import EMBODIMENTS, load_embodiment
from sim.mujoco_sim import MujocoSim
from sim.simulator import SimOptions
from sim.warp_parity import sample_states
from sim.warp_sim import WarpSim

_WORLDS = 4
_ATTRIBUTES = (
    "qpos", "qvel", "last_qvel", "act", "ctrl", "site_pos", "site_rot", "site_vel",
    "muscle_length", "muscle_velocity", "muscle_force", "touch", "invalid",
)  # fmt: skip
_CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=EMBODIMENTS)
def simulator(request):
    """One simulator a body for the whole module: every test puts it into a state of its own."""
    simulator = WarpSim(load_embodiment(request.param), _WORLDS, _CPU)
    yield simulator
    simulator.close()


def _states(simulator, seed=0):
    return sample_states(simulator.embodiment, simulator.nworld, np.random.default_rng(seed))


def _place(simulator, states):
    everywhere = torch.ones(simulator.nworld, dtype=torch.bool, device=simulator.device)
    batch = (part.to(simulator.device) for part in (states.qpos, states.qvel, states.act))
    simulator.reset(everywhere, *batch)


def _snapshot(simulator):
    return {name: getattr(simulator, name).clone() for name in _ATTRIBUTES}


def _assert_derived_agree(simulator, reference, touch_share, speed=1e-4):
    """Compare with MujocoSim: within `speed` (m/s, rad/s) and a share of the touch forces."""
    tolerances = {"site_pos": 1e-5, "site_rot": 1e-5, "muscle_length": 1e-5}
    tolerances |= {"site_vel": speed, "muscle_velocity": speed}
    for name, tolerance in tolerances.items():
        gap = (getattr(simulator, name).double() - getattr(reference, name)).abs().max()
        assert gap < tolerance, f"{name} differs by {gap:.1e}"
    gap = (simulator.muscle_force.double() - reference.muscle_force).abs()
    assert (gap < 1e-3 * (reference.muscle_force.abs() + 10.0)).all(), "muscle_force differs"
    gap = (simulator.touch.double() - reference.touch).abs()
    assert (gap < touch_share * (reference.touch.abs() + 10.0)).all(), "touch differs"


def test_shapes_and_reference_pose(simulator):
    reference = MujocoSim(simulator.embodiment, 1)
    for name in _ATTRIBUTES:
        expected = getattr(reference, name)
        found = getattr(simulator, name)
        assert found.dtype == expected.dtype
        assert found.shape == (_WORLDS, *expected.shape[1:])


def test_reset_gives_derived_quantities_of_the_new_state(simulator):
    states = _states(simulator)
    reference = MujocoSim(simulator.embodiment, _WORLDS, dtype=torch.float64)
    for sim in (simulator, reference):
        _place(sim, states)
    _assert_derived_agree(simulator, reference, touch_share=0.05)
    assert torch.equal(simulator.ctrl, states.act)


def test_masked_reset_leaves_the_others_alone(simulator):
    body, states, fresh = simulator.embodiment, _states(simulator), _states(simulator, seed=1)
    reference = MujocoSim(body, _WORLDS, dtype=torch.float64)
    for sim in (simulator, reference):
        _place(sim, states)
        sim.step(states.excitations)
    before, saved = _snapshot(simulator), simulator.state_dict()
    mask = torch.tensor([False, True, False, True])
    for sim in (simulator, reference):
        sim.reset(mask, fresh.qpos, fresh.qvel)
    for name, value in before.items():
        assert torch.equal(getattr(simulator, name)[~mask], value[~mask]), name
    assert torch.equal(simulator.qpos[mask], fresh.qpos[mask])
    assert not simulator.act[mask].any() and not simulator.ctrl[mask].any()

    for sim in (simulator, reference):
        sim.step(fresh.excitations)
    after = _snapshot(simulator)
    # Accelerations are large: float32 rounding of velocities grows over two control steps.
    _assert_derived_agree(simulator, reference, touch_share=0.2, speed=2e-3)
    # The others go on as if there had been no reset, to the last bit.
    simulator.load_state_dict(saved)
    simulator.step(fresh.excitations)
    for name, value in after.items():
        assert torch.equal(getattr(simulator, name)[~mask], value[~mask]), name


def test_reset_of_no_world_changes_nothing(simulator):
    states = _states(simulator)
    _place(simulator, states)
    before = _snapshot(simulator)
    nothing = torch.zeros(_WORLDS, dtype=torch.bool)
    simulator.reset(nothing, torch.full_like(states.qpos, torch.nan), states.qvel)
    for name, value in before.items():
        assert torch.equal(getattr(simulator, name), value), name


def test_continuing_from_a_state_is_exact(simulator):
    states = _states(simulator)
    _place(simulator, states)
    simulator.step(states.excitations)
    saved = simulator.state_dict()
    at_save = _snapshot(simulator)
    simulator.step(states.act)
    uninterrupted = _snapshot(simulator)
    _place(simulator, _states(simulator, seed=2))
    simulator.load_state_dict(saved)
    for name, value in at_save.items():
        assert torch.equal(getattr(simulator, name), value), name
    # Exact on the CPU, where Warp runs the threads of a kernel in order. On CUDA atomic additions
    # come in any order and only agreement within float32 rounding could be asked for.
    simulator.step(states.act)
    for name, value in uninterrupted.items():
        assert torch.equal(getattr(simulator, name), value), name


def test_tells_the_velocities_of_the_step_before(simulator):
    states = _states(simulator)
    _place(simulator, states)
    assert torch.equal(simulator.last_qvel, states.qvel)
    simulator.step(states.excitations)
    assert torch.equal(simulator.last_qvel, states.qvel)
    assert not torch.equal(simulator.last_qvel, simulator.qvel)
    # A state that an earlier version saved has none: the bodies do not accelerate at first.
    saved = simulator.state_dict()
    del saved["last_qvel"]
    simulator.load_state_dict(saved)
    assert torch.equal(simulator.last_qvel, simulator.qvel)


def test_state_of_another_size_is_refused(simulator):
    state = simulator.state_dict()
    with pytest.raises(ValueError, match=r"'qpos' has shape .* another body or number of worlds"):
        simulator.load_state_dict(state | {"qpos": state["qpos"][:2]})
    with pytest.raises(ValueError, match="it is of another simulator"):
        simulator.load_state_dict(MujocoSim(simulator.embodiment, _WORLDS).state_dict())


def test_non_finite_world_is_flagged_alone(simulator):
    states = _states(simulator)
    _place(simulator, states)
    simulator.step(states.excitations)
    expected = _snapshot(simulator)
    _place(simulator, states)
    simulator.qvel[1, -1] = torch.nan
    simulator.step(states.excitations)
    assert simulator.invalid.tolist() == [False, True, False, False]
    others = torch.tensor([0, 2, 3])
    for name, value in expected.items():
        assert torch.equal(getattr(simulator, name)[others], value[others]), name
    # A reset brings the world back as if nothing had been.
    mask = torch.arange(_WORLDS) == 1
    simulator.reset(mask, states.qpos, states.qvel, states.act)
    assert not simulator.invalid.any()
    simulator.step(states.excitations)
    for name, value in expected.items():
        assert torch.equal(getattr(simulator, name)[1], value[1]), name


def test_without_refresh_derived_quantities_lag(simulator):
    body, states = simulator.embodiment, _states(simulator)
    options = SimOptions(refresh_derived=False)
    lagging = WarpSim(body, _WORLDS, _CPU, options)
    reference = MujocoSim(body, _WORLDS, options, dtype=torch.float64)
    for sim in (lagging, reference, simulator):
        _place(sim, states)
        sim.step(states.excitations)
    assert torch.equal(lagging.qpos, simulator.qpos)
    assert not torch.equal(lagging.site_pos, simulator.site_pos)
    _assert_derived_agree(lagging, reference, touch_share=0.1, speed=1e-3)


def test_overflow_is_flagged_and_counted():
    body = load_embodiment("bimanual")
    simulator = WarpSim(body, 2, _CPU, SimOptions(njmax=10))
    simulator.step(torch.zeros(2, body.model.nu))
    assert simulator.invalid.all()
    assert int(simulator.overflow_counts["njmax"]) == 2
    # The mark is of the last step only, and a reset clears it.
    everywhere = torch.ones(2, dtype=torch.bool)
    # Not to where the step ended: without its constraints that may be anything, NaN included.
    reference = torch.as_tensor(body.model.qpos0, dtype=torch.float32).expand_as(simulator.qpos)
    simulator.reset(everywhere, reference, torch.zeros_like(simulator.qvel))
    assert not simulator.invalid.any()
    simulator.step(torch.zeros(2, body.model.nu))
    assert int(simulator.overflow_counts["njmax"]) == 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("name", EMBODIMENTS)
def test_graphs_do_what_plain_launches_do(name):
    body, device = load_embodiment(name), torch.device("cuda")
    graphed = WarpSim(body, _WORLDS, device)
    plain = WarpSim(body, _WORLDS, device, capture=False)
    assert graphed.captured and not plain.captured
    states = _states(graphed)
    for sim in (graphed, plain):
        _place(sim, states)
        sim.step(states.excitations.to(device))
    for attribute in _ATTRIBUTES:
        expected = getattr(plain, attribute).double()
        if not expected.numel():
            continue  # arms have no touch sensors
        gap = (getattr(graphed, attribute).double() - expected).abs()
        # Atomic additions come in any order, so the two agree within float32 rounding only.
        assert (gap <= 1e-3 * (expected.abs() + 1.0)).float().mean() > 0.99, attribute


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_neither_step_nor_reset_waits_for_the_device():
    body, device = load_embodiment("bimanual"), torch.device("cuda")
    simulator = WarpSim(body, _WORLDS, device)
    excitations = torch.full((_WORLDS, body.model.nu), 0.1, device=device)
    mask = torch.arange(_WORLDS, device=device) == 1
    qpos, qvel = simulator.qpos.clone(), simulator.qvel.clone()
    simulator.step(excitations)
    simulator.reset(mask, qpos, qvel)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.cuda.stream(torch.cuda.Stream()):
            for _ in range(3):
                simulator.step(excitations)
                simulator.reset(mask, qpos, qvel)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()
    assert not simulator.invalid.any()
