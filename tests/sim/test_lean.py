"""The lean model against the full one: same bodies, same step, less on the device."""

from __future__ import annotations

import copy
import dataclasses

import mujoco
import numpy as np
import pytest
import torch

from cfg import load_config
from mm_torch.build import demo_folder, make_task
from retarget.motion_set import load_motion_set
from sim import Embodiment
from sim.embodiment import load_embodiment
from sim.lean import kept_elements, lean_model
from sim.simulator import SimOptions

_CPU = torch.device("cpu")
_STATES = 20


@pytest.fixture(scope="module", params=[("bimanual", False), ("fullbody", False)])
def pair(request: pytest.FixtureRequest) -> tuple[Embodiment, mujoco.MjModel]:
    body = load_embodiment(*request.param)
    return body, lean_model(body)


def _demo_states(body: Embodiment, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (count, nq), (count, nv) frames spread over the demo motions of a body."""
    motions = load_motion_set(demo_folder(body.name), body)
    qpos = np.concatenate([motion.qpos for motion in motions])
    qvel = np.concatenate([motion.qvel for motion in motions])
    rows = np.linspace(0, len(qpos) - 1, count).astype(int)
    return qpos[rows].astype(float), qvel[rows].astype(float)


def _control_step(model, qpos, qvel, act, ctrl) -> mujoco.MjData:
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:], data.act[:], data.ctrl[:] = qpos, qvel, act, ctrl
    mujoco.mj_step(model, data, 5)
    return data


def _relative(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference as a share of the largest number (0 if both are empty)."""
    if not expected.size:
        return 0.0
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-12))


def test_control_steps_equal_those_of_the_full_model(pair) -> None:
    body, lean = pair
    rng = np.random.default_rng(0)
    pressed = 0.0
    for qpos, qvel in zip(*_demo_states(body, _STATES), strict=True):
        act, ctrl = rng.random((2, body.model.nu))
        expected = _control_step(body.model, qpos, qvel, act, ctrl)
        found = _control_step(lean, qpos, qvel, act, ctrl)
        assert found.ncon == expected.ncon and found.nefc == expected.nefc
        assert _relative(found.qpos - qpos, expected.qpos - qpos) < 1e-6
        for name in ("qvel", "act", "qacc", "actuator_length", "actuator_velocity",
                     "actuator_force", "ten_length", "xpos", "subtree_com", "cvel"):  # fmt: skip
            gap = _relative(getattr(found, name), getattr(expected, name))
            assert gap < 1e-6, f"{name} differs by {gap:.1e} of its largest value"
        for site in body.mimic_sites:
            gap = _relative(found.site(site).xpos, expected.site(site).xpos)
            assert gap < 1e-6, f"site {site} differs by {gap:.1e}"
        touch, full_touch = (
            np.array([data.sensor(name).data[0] for name in body.touch_sensors])
            for data in (found, expected)
        )
        assert _relative(touch, full_touch) < 1e-6
        pressed += full_touch.sum()
    assert not body.touch_sensors or pressed > 0.0, "no foot on the floor: touch was not tested"


def test_masses_and_order_are_those_of_the_full_model(pair) -> None:
    body, lean = pair
    full = body.model
    for name in ("body_mass", "body_inertia", "body_ipos", "body_iquat", "body_subtreemass",
                 "body_invweight0", "dof_invweight0", "dof_M0", "tendon_length0", "qpos0",
                 "actuator_lengthrange", "actuator_acc0", "eq_data", "pair_solref"):  # fmt: skip
        np.testing.assert_array_equal(getattr(lean, name), getattr(full, name), err_msg=name)
    assert lean.stat.meaninertia == full.stat.meaninertia
    for kind, count in (("body", "nbody"), ("joint", "njnt"), ("actuator", "nu"),
                        ("tendon", "ntendon"), ("equality", "neq")):  # fmt: skip
        names = [
            [getattr(model, kind)(i).name for i in range(getattr(model, count))]
            for model in (lean, full)
        ]
        assert names[0] == names[1], kind


def test_nothing_is_left_that_is_only_displayed(pair) -> None:
    body, lean = pair
    sizes = ("nmesh", "nskin", "ntex", "nmat", "ncam", "nlight", "nkey")
    assert {size: getattr(lean, size) for size in sizes} == dict.fromkeys(sizes, 0)
    names = [lean.sensor(i).name for i in range(lean.nsensor)]
    assert tuple(names) == body.touch_sensors
    # Every geom left collides or is wrapped.
    colliding = (lean.geom_contype != 0) | (lean.geom_conaffinity != 0)
    wraps = (mujoco.mjtWrap.mjWRAP_SPHERE, mujoco.mjtWrap.mjWRAP_CYLINDER)
    wrapped = np.isin(np.arange(lean.ngeom), lean.wrap_objid[np.isin(lean.wrap_type, wraps)])
    assert (colliding | wrapped).all()
    assert lean.ngeom < body.model.ngeom / 2 and lean.nsite < 0.7 * body.model.nsite


def test_values_edited_in_the_model_are_kept(bimanual: Embodiment) -> None:
    edited = copy.copy(bimanual.model)
    edited.actuator_gainprm[:, 2] *= 0.5
    edited.body_mass[5] *= 2.0
    edited.geom_friction[:, 0] = 0.3
    edited.opt.gravity[2] = -1.62
    edited.opt.timestep = 0.001
    lean = lean_model(dataclasses.replace(bimanual, model=edited))
    np.testing.assert_array_equal(lean.actuator_gainprm, edited.actuator_gainprm)
    np.testing.assert_array_equal(lean.body_mass, edited.body_mass)
    assert (lean.geom_friction[:, 0] == 0.3).all()
    assert lean.opt.gravity[2] == -1.62 and lean.opt.timestep == 0.001
    # The model made next is of the unedited body again.
    np.testing.assert_array_equal(lean_model(bimanual).body_mass, bimanual.model.body_mass)


def test_models_of_another_structure_are_refused(bimanual: Embodiment) -> None:
    edited = copy.copy(bimanual.model)
    edited.eq_active0[0] = 0
    with pytest.raises(ValueError, match=r"no lean model of bimanual: eq_active0 .*sim.lean=false"):
        lean_model(dataclasses.replace(bimanual, model=edited))
    edited = copy.copy(bimanual.model)
    collides = kept_elements(bimanual).geoms[0]
    edited.geom_type[collides] = mujoco.mjtGeom.mjGEOM_MESH
    with pytest.raises(ValueError, match=r"geom_type .* are no meshes"):
        lean_model(dataclasses.replace(bimanual, model=edited))


@pytest.mark.parametrize("name", ["bimanual", "fullbody"])
def test_fingers(name: str) -> None:
    body = load_embodiment(name, fingers=True)
    lean = lean_model(body)
    assert lean.nu == body.model.nu and lean.nq == body.model.nq
    rng = np.random.default_rng(1)
    qpos, qvel = body.model.qpos0, np.zeros(body.model.nv)
    act, ctrl = rng.random((2, body.model.nu))
    found, expected = (_control_step(m, qpos, qvel, act, ctrl) for m in (lean, body.model))
    assert _relative(found.qpos - qpos, expected.qpos - qpos) < 1e-6


def _world_bytes(simulator) -> tuple[float, float]:
    """Return bytes a world in arrays with a row a world, and in the pool of contacts."""
    import warp as wp

    rows = pools = 0
    parts = [simulator._data]
    while parts:
        part = parts.pop()
        for field in dataclasses.fields(part):
            value = getattr(part, field.name)
            if dataclasses.is_dataclass(value):
                parts.append(value)
            elif isinstance(value, wp.array) and value.ndim:
                size = getattr(field.type, "shape", (None,))[0]
                rows += value.capacity if size == "nworld" else 0
                pools += value.capacity if size in ("naconmax", "naccdmax") else 0
    return rows / simulator.nworld, pools / simulator.nworld


def test_warp_with_and_without(pair) -> None:
    pytest.importorskip("mujoco_warp")
    from sim.warp_sim import WarpSim

    body, _ = pair
    nworld = 4
    qpos, qvel = (torch.as_tensor(part, dtype=torch.float32) for part in _demo_states(body, nworld))
    rng = torch.Generator().manual_seed(0)
    act, ctrl = torch.rand(2, nworld, body.model.nu, generator=rng)
    everywhere = torch.ones(nworld, dtype=torch.bool)
    lean, full = (WarpSim(body, nworld, _CPU, SimOptions(lean=flag)) for flag in (True, False))
    for simulator in (lean, full):
        simulator.reset(everywhere, qpos, qvel, act)
        simulator.step(ctrl)
        assert not simulator.invalid.any()
    for name in ("qpos", "qvel", "act", "site_pos", "site_rot", "site_vel", "muscle_length",
                 "muscle_velocity", "muscle_force", "touch"):  # fmt: skip
        found, expected = (getattr(simulator, name).numpy() for simulator in (lean, full))
        gap = _relative(found, expected)
        assert gap < 1e-5, f"{name} differs by {gap:.1e} of its largest value"
    (rows, pools), (full_rows, full_pools) = _world_bytes(lean), _world_bytes(full)
    assert pools == full_pools
    assert rows + pools < 0.6e6
    assert rows < 0.92 * full_rows


def test_the_setting_reaches_the_simulator(bimanual: Embodiment) -> None:
    pytest.importorskip("mujoco_warp")
    for value in (True, False):
        config = load_config(
            ["cfg=demo", "embodiment=bimanual", "sim.backend=warp", "device=cpu", "sim.nworld=1",
             f"sim.lean={str(value).lower()}"]
        )  # fmt: skip
        simulator = make_task(config, bimanual).simulator
        assert simulator.options.lean is value
        assert (simulator._model.nsite < bimanual.model.nsite) is value
        simulator.close()
