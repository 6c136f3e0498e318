"""MujocoSim against MuJoCo itself."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch

from sim import Embodiment
from sim.mujoco_sim import MujocoSim
from sim.simulator import SimOptions, make_simulator, resolve_backend


def _excitations(sim: MujocoSim, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.4 * torch.rand(sim.nworld, sim.embodiment.model.nu, generator=generator)


def test_step_is_five_mujoco_steps(embodiment: Embodiment) -> None:
    sim = MujocoSim(embodiment, 3, dtype=torch.float64)
    excitations = _excitations(sim)
    sim.step(excitations)
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    data.ctrl[:] = excitations[1]
    for _ in range(5):
        mujoco.mj_step(model, data)
    np.testing.assert_array_equal(sim.qpos[1], data.qpos)
    np.testing.assert_array_equal(sim.act[1], data.act)
    touch = data.sensordata[embodiment.touch_addresses].copy()
    mujoco.mj_forward(model, data)
    np.testing.assert_allclose(sim.site_pos[1], data.site_xpos[embodiment.site_ids], atol=1e-12)
    np.testing.assert_allclose(sim.muscle_length[1], data.actuator_length, atol=1e-12)
    np.testing.assert_allclose(sim.muscle_velocity[1], data.actuator_velocity, atol=1e-10)
    np.testing.assert_allclose(sim.muscle_force[1], data.actuator_force, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(sim.touch[1], touch)
    for row, site in enumerate(embodiment.site_ids):
        velocity = np.zeros(6)
        mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_SITE, site, velocity, 0)
        np.testing.assert_allclose(sim.site_vel[1, row], velocity, atol=1e-9)
    sim.close()


def test_masked_reset_leaves_the_others(bimanual: Embodiment) -> None:
    sim = MujocoSim(bimanual, 4)
    sim.step(_excitations(sim))
    before = {k: v.clone() for k, v in sim.state_dict().items()}
    qpos = torch.from_numpy(bimanual.model.qpos0).float().expand(4, -1).clone()
    qvel = torch.ones(4, bimanual.model.nv)
    mask = torch.tensor([False, True, False, True])
    sim.reset(mask, qpos, qvel, torch.full((4, bimanual.model.nu), 0.1))
    after = sim.state_dict()
    for name, value in before.items():
        assert torch.equal(after[name][[0, 2]], value[[0, 2]]), name
    assert torch.equal(sim.qvel[[1, 3]], torch.ones(2, bimanual.model.nv))
    assert torch.allclose(sim.act[[1, 3]], torch.tensor(0.1))
    # Derived quantities are those of the new state.
    assert not torch.equal(after["actuator_length"][1], before["actuator_length"][1])


def test_results_do_not_depend_on_threads(bimanual: Embodiment) -> None:
    states = []
    for threads in (1, 3):
        sim = MujocoSim(bimanual, 5, SimOptions(threads=threads))
        for step in range(3):
            sim.step(_excitations(sim, step))
        states.append(sim.qpos.clone())
        sim.close()
    assert torch.equal(*states)


def test_state_dict_continues_exactly(bimanual: Embodiment) -> None:
    sim = MujocoSim(bimanual, 2)
    sim.step(_excitations(sim))
    saved = sim.state_dict()
    sim.step(_excitations(sim, 1))
    expected = sim.qpos.clone(), sim.muscle_force.clone()
    other = MujocoSim(bimanual, 2)
    other.load_state_dict(saved)
    other.step(_excitations(sim, 1))
    assert torch.equal(other.qpos, expected[0])
    assert torch.equal(other.muscle_force, expected[1])
    with pytest.raises(ValueError, match="another body or number of worlds"):
        MujocoSim(bimanual, 3).load_state_dict(saved)


def test_tells_the_velocities_of_the_step_before(bimanual: Embodiment) -> None:
    sim = MujocoSim(bimanual, 3)
    sim.step(_excitations(sim))
    before = sim.qvel.clone()
    sim.step(_excitations(sim, 1))
    assert torch.equal(sim.last_qvel, before) and not torch.equal(sim.qvel, before)
    qpos = torch.from_numpy(bimanual.model.qpos0).float().expand(3, -1)
    mask = torch.tensor([False, True, False])
    sim.reset(mask, qpos, torch.full_like(sim.qvel, 0.5))
    assert torch.equal(sim.last_qvel[1], torch.full_like(before[1], 0.5))
    assert torch.equal(sim.last_qvel[[0, 2]], before[[0, 2]])
    saved = sim.state_dict()
    other = MujocoSim(bimanual, 3)
    other.load_state_dict(saved)
    assert torch.equal(other.last_qvel, sim.last_qvel)
    # A state that an earlier version saved has none: the bodies do not accelerate at first.
    del saved["last_qvel"]
    other.load_state_dict(saved)
    assert torch.equal(other.last_qvel, sim.qvel)


def test_non_finite_world_is_flagged_and_confined(bimanual: Embodiment) -> None:
    clean, sim = MujocoSim(bimanual, 3), MujocoSim(bimanual, 3)
    qpos, qvel = sim.qpos.clone(), sim.qvel.clone()
    qvel[1] = 1e9
    sim.reset(torch.tensor([False, True, False]), qpos, qvel)
    sim.step(_excitations(sim))
    clean.step(_excitations(sim))
    assert sim.invalid.tolist() == [False, True, False]
    assert torch.equal(sim.qpos[[0, 2]], clean.qpos[[0, 2]])
    # A reset heals it.
    sim.reset(sim.invalid.clone(), qpos, torch.zeros_like(qvel))
    sim.step(_excitations(sim))
    assert not sim.invalid.any()


def test_options_reach_the_solver(bimanual: Embodiment) -> None:
    options = SimOptions(timestep=0.001, iterations=4, ls_iterations=8, euler_damping=False)
    sim = MujocoSim(bimanual, 1, options)
    assert sim.substeps == 10
    assert sim.model.opt.iterations == 4
    assert sim.model.opt.ls_iterations == 8
    assert sim.model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_EULERDAMP
    # The embodiment's own model is untouched.
    assert bimanual.model.opt.iterations == 100
    with pytest.raises(ValueError, match="does not divide the control step"):
        MujocoSim(bimanual, 1, SimOptions(timestep=0.003))


def test_backend_resolution(bimanual: Embodiment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.simulator.cuda_usable", lambda: False)
    assert resolve_backend("auto", "auto") == ("mujoco", torch.device("cpu"))
    assert resolve_backend("warp", "auto") == ("warp", torch.device("cpu"))
    with pytest.raises(ValueError, match="no CUDA device"):
        resolve_backend("auto", "cuda")
    with pytest.raises(ValueError, match="expected auto, warp or mujoco"):
        resolve_backend("bullet", "cpu")
    monkeypatch.setattr("sim.simulator.cuda_usable", lambda: True)
    assert resolve_backend("auto", "auto") == ("warp", torch.device("cuda"))
    assert resolve_backend("mujoco", "auto") == ("mujoco", torch.device("cpu"))
    with pytest.raises(ValueError, match="at least one world"):
        make_simulator(bimanual, 0, "mujoco", "cpu")


def test_importing_sim_loads_neither_warp_nor_torch() -> None:
    import subprocess
    import sys

    code = "import sim, sys; sys.exit(bool({'warp', 'torch', 'mujoco_warp'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
