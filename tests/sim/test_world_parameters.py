"""Physical parameters of single worlds, against physics done by hand and against MuJoCo C."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import mujoco
import numpy as np
import pytest
import torch

from sim.embodiment import Embodiment
from sim.mujoco_sim import MujocoSim
from sim.simulator import SimOptions, Simulator
from sim.world_parameters import PARAMETERS, fields_of, host_array, weakened
from tests.conftest import body

_RANGES = {
    "mass": (0.5, 2.0),
    "friction": (0.05, 2.0),
    "strength": (0.0, 2.0),
    "time_constants": (0.25, 4.0),
    "gravity": (0.0, 1.5),
    "damping": (0.0, 3.0),
}
_READ = ("qpos", "qvel", "act", "ctrl", "site_pos", "site_vel", "muscle_force", "touch")
BACKENDS = ("mujoco", "warp")


def _simulator(backend: str, embodiment: Embodiment, nworld: int, *names: str) -> Simulator:
    options = SimOptions(parameter_ranges={name: _RANGES[name] for name in names})
    if backend == "mujoco":
        return MujocoSim(embodiment, nworld, options, dtype=torch.float64)
    pytest.importorskip("mujoco_warp")
    from sim.warp_sim import WarpSim

    return WarpSim(embodiment, nworld, torch.device("cpu"), options)


def _everywhere(sim: Simulator) -> torch.Tensor:
    return torch.ones(sim.nworld, dtype=torch.bool, device=sim.device)


def _place(sim: Simulator, act: torch.Tensor | float = 0.3, seed: int = 0) -> None:
    """Put every world into the same state: a pose near the reference one, moving."""
    generator = torch.Generator().manual_seed(seed)
    qpos = torch.as_tensor(sim.embodiment.model.qpos0).expand(sim.nworld, -1).clone()
    qvel = 0.5 * (torch.rand(sim.embodiment.model.nv, generator=generator) - 0.5)
    activation = torch.as_tensor(act).expand(sim.nworld, sim.embodiment.model.nu)
    batch = (qpos, qvel.expand(sim.nworld, -1), activation)
    sim.reset(_everywhere(sim), *(part.to(sim.device) for part in batch))


def _excitations(sim: Simulator, level: float = 0.4) -> torch.Tensor:
    return torch.full((sim.nworld, sim.embodiment.model.nu), level, device=sim.device)


def _values(**by_name: list[float]) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(values) for name, values in by_name.items()}


@pytest.mark.parametrize("backend", BACKENDS)
def test_half_strength_is_half_the_force(backend: str, bimanual: Embodiment) -> None:
    """A muscle's force is its peak force times (activation x gain curves + passive curve)."""
    sim = _simulator(backend, bimanual, 2, "strength")
    weak = [3, 40]
    strength = torch.ones(2, bimanual.model.nu)
    strength[1, weak] = 0.5
    sim.set_parameters(_everywhere(sim), {"strength": strength})
    for act in (0.0, 0.6):  # passive alone, then active and passive
        _place(sim, act)
        assert (sim.muscle_force[0].abs() > 1.0).any()
        expected = sim.muscle_force[0] * strength[1]
        # Halving is exact in binary.
        assert torch.equal(sim.muscle_force[1], expected)
    sim.step(_excitations(sim))
    assert not torch.equal(sim.qpos[0], sim.qpos[1])
    assert torch.equal(sim.act[0], sim.act[1])


@pytest.mark.parametrize("backend", BACKENDS)
def test_time_constants_change_the_activation_filter(backend: str, bimanual: Embodiment) -> None:
    """Euler steps of da/dt = (u - a) / tau; tau = tau_act s or tau_deact / s, s = 0.5 + 1.5 a."""
    sim = _simulator(backend, bimanual, 3, "time_constants")
    factors = [1.0, 2.0, 0.5]
    sim.set_parameters(_everywhere(sim), _values(time_constants=factors))
    for start, excitation in ((0.1, 0.7), (0.7, 0.1)):
        _place(sim, start)
        sim.step(_excitations(sim, excitation))
        for world, factor in enumerate(factors):
            activation = np.float64(start)
            for _ in range(5):
                slope = 0.5 + 1.5 * activation
                tau = factor * (0.01 * slope if excitation > activation else 0.04 / slope)
                activation += 0.002 * (excitation - activation) / tau
            gap = (sim.act[world].double() - activation).abs().max()
            # A start such as 0.1 is first rounded to single precision.
            assert gap < 1e-6


def _centre_of_mass(embodiment: Embodiment, qpos: torch.Tensor) -> np.ndarray:
    data = mujoco.MjData(embodiment.model)
    data.qpos[:] = qpos.double().numpy()
    mujoco.mj_kinematics(embodiment.model, data)
    mujoco.mj_comPos(embodiment.model, data)
    return data.subtree_com[1].copy()


@pytest.mark.parametrize("backend", BACKENDS)
def test_gravity(backend: str, fullbody: Embodiment) -> None:
    """In the air muscles cannot move the centre of mass: it falls by g dt² (1 + 2 + 3 + 4 + 5)."""
    sim = _simulator(backend, fullbody, 3, "gravity")
    factors = [1.0, 0.0, 1.5]
    sim.set_parameters(_everywhere(sim), _values(gravity=factors))
    qpos = torch.as_tensor(fullbody.model.qpos0).expand(3, -1).clone()
    qpos[:, 2] += 1.0
    sim.reset(_everywhere(sim), qpos, torch.zeros(3, fullbody.model.nv))
    sim.step(_excitations(sim, 0.1))
    start = _centre_of_mass(fullbody, qpos[0])
    for world, factor in enumerate(factors):
        moved = _centre_of_mass(fullbody, sim.qpos[world]) - start
        np.testing.assert_allclose(moved, [0, 0, -factor * 9.81 * 0.002**2 * 15], atol=2e-5)


def _standing(embodiment: Embodiment, nworld: int) -> torch.Tensor:
    """Return (nworld, nq) reference poses with the feet 5 mm in the floor."""
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    mujoco.mj_kinematics(model, data)
    feet = np.concatenate(list(embodiment.foot_geoms.values()))
    capsules = feet[model.geom_type[feet] == mujoco.mjtGeom.mjGEOM_CAPSULE]
    qpos = torch.as_tensor(model.qpos0).expand(nworld, -1).clone()
    qpos[:, 2] -= (data.geom_xpos[capsules, 2] - model.geom_size[capsules, 0]).min() + 0.005
    return qpos


def test_feet_slide_further_with_less_friction(fullbody: Embodiment) -> None:
    sim = _simulator("mujoco", fullbody, 3, "friction")
    sim.set_parameters(_everywhere(sim), _values(friction=[1.0, 0.3, 0.05]))
    qpos = _standing(fullbody, 3)
    # The whole body slides.
    qvel = torch.zeros(3, fullbody.model.nv, dtype=torch.float64)
    qvel[:, 1] = 0.5
    sim.reset(_everywhere(sim), qpos, qvel)
    sites = [i for i, name in enumerate(fullbody.mimic_sites) if "toes" in name]
    start = sim.site_pos[:, sites, 1].mean(1).clone()
    pressed = 0.0
    for _ in range(6):
        sim.step(_excitations(sim, 0.05))
        pressed += float(sim.touch.sum())
    assert pressed > 0.0, "no foot on the floor: nothing was tested"
    slid = sim.site_pos[:, sites, 1].mean(1) - start
    assert slid[0] < 0.9 * slid[1] and slid[1] < 0.95 * slid[2], slid


@pytest.mark.parametrize("factor", [0.625, 2.0])
def test_mass_is_that_of_an_edited_model(embodiment: Embodiment, factor: float) -> None:
    """Everything that `mj_setConst` derives is as if the model had been made with these masses."""
    sim = _simulator("mujoco", embodiment, 2, "mass")
    sim.set_parameters(torch.tensor([False, True]), _values(mass=[3.0, factor]))
    edited = copy.copy(embodiment.model)
    edited.body_mass[:] *= factor
    edited.body_inertia[:] *= factor
    data = mujoco.MjData(edited)
    mujoco.mj_setConst(edited, data)
    arrays = {name: sim.parameters._arrays[name][1] for name in PARAMETERS["mass"].derived}
    for name, found in arrays.items():
        expected = getattr(edited, name)
        np.testing.assert_allclose(found, expected, 1e-9, 1e-15, err_msg=name)
    _place(sim)
    data.qpos[:], data.qvel[:] = sim.qpos[1], sim.qvel[1]
    data.act[:], data.ctrl[:] = sim.act[1], 0.4
    # The warm start that a reset leaves.
    mujoco.mj_forward(edited, data)
    for _ in range(sim.substeps):
        mujoco.mj_step(edited, data)
    sim.step(_excitations(sim))
    # The solver stops at its tolerance: 1e-12 in a constant can move qpos by 1e-7. With the masses
    # of the edited model but the constants of the embodiment it would be 3e-3.
    np.testing.assert_allclose(sim.qpos[1], data.qpos, rtol=0, atol=1e-6)
    assert (sim.qvel[0] - sim.qvel[1]).abs().max() > 1e-2


def test_derived_constants_on_warp(embodiment: Embodiment) -> None:
    sim = _simulator("warp", embodiment, 2, "mass")
    factor = 1.7
    sim.set_parameters(_everywhere(sim), _values(mass=[1.0, factor]))
    edited = copy.copy(embodiment.model)
    edited.body_mass[:] *= factor
    edited.body_inertia[:] *= factor
    mujoco.mj_setConst(edited, mujoco.MjData(edited))
    for name in (*PARAMETERS["mass"].fields, *PARAMETERS["mass"].derived):
        found = getattr(sim._model, name).numpy()
        for world, model in enumerate((embodiment.model, edited)):
            expected = getattr(model, name)
            least = 1e-6 * np.abs(expected).max()  # tendons that move nothing have 1e-32
            np.testing.assert_allclose(found[world], expected, 1e-6, least, err_msg=name)
        assert np.array_equal(found[0], getattr(embodiment.model, name).astype(np.float32)), name


@pytest.mark.parametrize("backend", BACKENDS)
def test_worlds_are_independent_and_one_is_nominal(backend: str, bimanual: Embodiment) -> None:
    """Multipliers of 1 change no bit, nor do those of another world."""
    plain = _simulator(backend, bimanual, 3)
    sim = _simulator(backend, bimanual, 3, *_RANGES)
    far = {name: torch.tensor([9.0, low + 0.3, 9.0]) for name, (low, _) in _RANGES.items()}
    mask = torch.tensor([False, True, False])
    sim.set_parameters(mask, far)
    for one in (plain, sim):
        _place(one)
        one.step(_excitations(one))
        one.step(_excitations(one, 0.1))
    for name in _READ:
        assert torch.equal(getattr(sim, name)[~mask], getattr(plain, name)[~mask]), name
    assert not torch.equal(sim.qpos[1], plain.qpos[1])
    # Back to 1 is back to the embodiment, exactly.
    sim.set_parameters(mask, {name: torch.ones(3) for name in _RANGES})
    for one in (plain, sim):
        _place(one, seed=1)
        one.step(_excitations(one))
    for name in _READ:
        assert torch.equal(getattr(sim, name), getattr(plain, name)), name


def test_warp_agrees_with_mujoco(embodiment: Embodiment) -> None:
    from tests.sim.test_warp_sim import _assert_derived_agree

    warp, reference = (_simulator(b, embodiment, 4, *_RANGES) for b in reversed(BACKENDS))
    generator = torch.Generator().manual_seed(3)
    values = {}
    for name, (low, high) in _RANGES.items():
        shape = (4, embodiment.model.nu) if PARAMETERS[name].per_muscle else (4,)
        values[name] = low + (high - low) * torch.rand(shape, generator=generator)
    for sim in (warp, reference):
        sim.set_parameters(_everywhere(sim), values)
        _place(sim)
        sim.step(_excitations(sim))
    _assert_derived_agree(warp, reference, touch_share=0.1, speed=1e-3)
    assert (warp.qpos - reference.qpos).abs().max() < 1e-5
    assert (warp.act - reference.act).abs().max() < 1e-6


@pytest.mark.parametrize("backend", BACKENDS)
def test_state_continues_exactly_and_fits_only_its_own_kind(
    backend: str, bimanual: Embodiment
) -> None:
    sim = _simulator(backend, bimanual, 2, "strength", "mass")
    sim.set_parameters(_everywhere(sim), _values(strength=[0.5, 1.5], mass=[0.7, 1.3]))
    _place(sim)
    saved = sim.state_dict()
    sim.step(_excitations(sim))
    other = _simulator(backend, bimanual, 2, "strength", "mass")
    other.load_state_dict(saved)
    other.step(_excitations(other))
    for name in _READ:
        assert torch.equal(getattr(other, name), getattr(sim, name)), name
    plain = _simulator(backend, bimanual, 2)
    with pytest.raises(ValueError, match=r"parameters of worlds .*mass.* expected none: it was"):
        plain.load_state_dict(saved)
    with pytest.raises(ValueError, match="parameters of worlds none, expected"):
        sim.load_state_dict(plain.state_dict())


def test_only_what_is_switched_on_is_expanded(bimanual: Embodiment) -> None:
    sim = _simulator("warp", bimanual, 3, "strength", "gravity")
    rows = {name: host_array(sim._model, name).shape[0] for names in PARAMETERS.values()
            for name in (*names.fields, *names.derived) if name in vars(sim._model)}  # fmt: skip
    expanded = {name for name, count in rows.items() if count == 3}
    assert expanded | {"gravity"} == set(fields_of(bimanual.model, {"strength": 0, "gravity": 0}))
    assert sim._model.opt.gravity.shape == (3,)
    plain = _simulator("warp", bimanual, 3)
    assert all(host_array(plain._model, name).shape[0] == 1 for name in rows)


def test_mistakes_are_named(bimanual: Embodiment) -> None:
    plain = _simulator("mujoco", bimanual, 2)
    with pytest.raises(ValueError, match="no parameter of this simulator differs"):
        plain.set_parameters(_everywhere(plain), _values(mass=[1.0, 1.0]))
    sim = _simulator("mujoco", bimanual, 2, "mass", "strength")
    for values, message in (
        (_values(gravity=[1.0, 1.0]), "'gravity' is not switched on: expected one of mass, str"),
        (_values(mass=[1.0]), r"'mass' has shape \(1,\), expected \(2,\) or \(2, 1\)"),
        (_values(mass=[1.0, 2.5]), "'mass' is 2.5 in a world: expected 0.5 to 2"),
        (_values(mass=[1.0, float("nan")]), "'mass' is nan in a world"),
    ):
        with pytest.raises(ValueError, match=message):
            sim.set_parameters(_everywhere(sim), values)
    for ranges, message in (
        ({"mas": (1, 2)}, "unknown parameter 'mas': expected one of mass"),
        ({"mass": (0.0, 2)}, "need 0 < lo <= hi"),
        ({"strength": (2, 1)}, "need 0 <= lo <= hi"),
    ):
        with pytest.raises(ValueError, match=message):
            MujocoSim(bimanual, 1, SimOptions(parameter_ranges=ranges))


def test_weakness_of_muscles_and_groups(fullbody: Embodiment) -> None:
    weak = weakened(fullbody, {"hamstrings_left": 0.5, "soleus_r": 0.0, "soleus": 0.5})
    ratio = weak.model.actuator_gainprm[:, 2] / fullbody.model.actuator_gainprm[:, 2]
    np.testing.assert_array_equal(
        weak.model.actuator_biasprm[:, 2] / fullbody.model.actuator_biasprm[:, 2], ratio
    )
    named = dict(zip(fullbody.muscle_names, ratio, strict=True))
    assert named["soleus_r"] == 0.0 and named["soleus_l"] == 0.5
    assert named["semimem_l"] == 0.5 and named["semimem_r"] == 1.0
    assert (ratio != 1.0).sum() == 2 + len(fullbody.muscle_groups["hamstrings_left"])
    assert (fullbody.model.actuator_gainprm[:, 2] > 0).all()
    with pytest.raises(ValueError, match=r"'hamstring_left' is no .* mean 'hamstrings_left'"):
        weakened(fullbody, {"hamstring_left": 0.5})
    with pytest.raises(ValueError, match="expected a factor of at least 0"):
        weakened(fullbody, {"soleus": -1.0})


def test_reset_without_touch(fullbody: Embodiment) -> None:
    """Everything but touch is as after a full forward pass, on both simulators."""
    pytest.importorskip("mujoco_warp")
    from sim.warp_profile import count_launches
    from sim.warp_sim import WarpSim

    device, launches, sims = torch.device("cpu"), {}, {}
    for touch in (True, False):
        options = SimOptions(reset_touch=touch)
        warp = WarpSim(fullbody, 2, device, options)
        sims[touch] = warp, MujocoSim(fullbody, 2, options, dtype=torch.float64)
        for sim in sims[touch]:
            qpos = _standing(fullbody, 2)
            sim.reset(_everywhere(sim), qpos, torch.zeros(2, fullbody.model.nv))
            sim.step(_excitations(sim, 0.0))
            before = sim.touch.clone()
            again = torch.tensor([False, True])
            sim.reset(again, qpos, torch.zeros(2, fullbody.model.nv))
            assert torch.equal(sim.touch[0], before[0]) and before.sum() > 0
            assert bool((sim.touch[1] > 0).any()) == touch
        launches[touch] = sum(count_launches(warp._forward).values())
    for full, short in zip(*sims.values(), strict=True):
        for name in set(_READ) - {"touch"}:
            assert torch.equal(getattr(full, name), getattr(short, name)), name
        # The next step computes everything anew; MuJoCo C starts its solver elsewhere.
        for sim in (full, short):
            sim.step(_excitations(sim, 0.0))
        for name in ("qpos", "touch"):
            gap = (getattr(full, name) - getattr(short, name)).abs().max()
            assert gap <= (1e-6 if isinstance(full, MujocoSim) else 0.0), (name, gap)
    assert launches[False] < 0.5 * launches[True], launches


def test_deterministic_option_runs(bimanual: Embodiment) -> None:
    """On the CPU there is nothing to gain: results agree with those without it."""
    pytest.importorskip("mujoco_warp")
    from mujoco_warp import DeterminismType

    from sim.warp_sim import WarpSim

    found = {}
    for flag in (False, True):
        sim = WarpSim(bimanual, 2, torch.device("cpu"), SimOptions(deterministic=flag))
        assert sim._model.opt.deterministic == (DeterminismType.ALL if flag else 0)
        _place(sim)
        sim.step(_excitations(sim))
        found[flag] = sim.qpos.clone()
    assert (found[True] - found[False]).abs().max() < 1e-5


_needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


@pytest.mark.gpu
@_needs_gpu
def test_changes_after_capture_take_effect() -> None:
    """The graph of a step reads the arrays that `set_parameters` writes into."""
    from sim.warp_sim import WarpSim
    from tests.sim.test_warp_sim import _assert_derived_agree

    embodiment, device = body("bimanual"), torch.device("cuda")
    options = SimOptions(parameter_ranges=_RANGES)
    sim = WarpSim(embodiment, 3, device, options)
    reference = MujocoSim(embodiment, 3, options, dtype=torch.float64)
    assert sim.captured
    before = sim._advance._graph
    values = {name: torch.tensor([1.0, low + 0.2, 1.2]) for name, (low, _) in _RANGES.items()}
    for one in (sim, reference):
        moved = {name: value.to(one.device) for name, value in values.items()}
        one.set_parameters(_everywhere(one), moved, check=False)
        _place(one)
        one.step(_excitations(one))
    assert sim._advance._graph is before
    read = (*_READ, "site_rot", "muscle_length", "muscle_velocity")
    copied = SimpleNamespace(**{name: getattr(sim, name).cpu() for name in read})
    _assert_derived_agree(copied, reference, touch_share=0.1, speed=1e-3)
    assert not torch.equal(copied.qpos[0], copied.qpos[1])
    # Without a check nothing waits for the device.
    everywhere = _everywhere(sim)
    moved = {name: value.to(device) for name, value in values.items()}
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        sim.set_parameters(everywhere, moved, check=False)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@_needs_gpu
@pytest.mark.xfail(
    raises=ValueError,
    reason="Warp 1.19 asks for a workspace of over 2^31 bytes in tendon_armature (seen on an H200)",
)
def test_deterministic_runs_are_equal_on_cuda() -> None:
    from sim.warp_sim import WarpSim

    embodiment, device = body("fullbody"), torch.device("cuda")
    found = []
    for _ in range(2):
        sim = WarpSim(embodiment, 64, device, SimOptions(deterministic=True))
        _place(sim)
        for _ in range(20):
            sim.step(_excitations(sim))
        found.append({name: getattr(sim, name).cpu() for name in _READ})
    for name in _READ:
        assert torch.equal(found[0][name], found[1][name]), name
