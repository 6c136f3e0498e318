"""Faulty worlds: recognised, confined, and sound after a reset."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sim.faults import KINDS, MAX_SPEED, NONE, NONFINITE, OVERFLOW, SPEED, classify
from sim.simulator import SimOptions, Simulator, make_simulator
from sim.warp_parity import sample_states
from tests.conftest import body

WORLDS, SICK = 3, 1


def test_classification_names_the_cause() -> None:
    qpos, qvel, act = torch.zeros(7, 4), torch.zeros(7, 3), torch.zeros(7, 2)
    qvel[1, 0], qvel[2, 1], qpos[3, 0], act[4, 1] = 2 * MAX_SPEED, torch.nan, torch.inf, torch.nan
    qvel[5], qvel[6] = torch.nan, -0.99 * MAX_SPEED
    overflowed = torch.tensor([0, 0, 0, 0, 0, 1, 0], dtype=torch.bool)
    codes = classify(qpos, qvel, act, overflowed).tolist()
    assert codes == [NONE, SPEED, NONFINITE, NONFINITE, NONFINITE, OVERFLOW, NONE]
    assert classify(qpos, qvel, act).tolist()[5] == NONFINITE
    assert KINDS[NONFINITE] == "nonfinite" and KINDS[SPEED] == "speed"


def _simulator(backend: str) -> tuple[Simulator, tuple[torch.Tensor, ...]]:
    sim = make_simulator(body("bimanual", False), WORLDS, backend, "cpu", SimOptions(threads=1))
    states = sample_states(sim.embodiment, WORLDS, np.random.default_rng(0))
    start = (states.qpos, states.qvel, 0.1 * states.act)
    sim.reset(torch.ones(WORLDS, dtype=torch.bool), *start)
    return sim, start


@pytest.mark.parametrize("backend", ["mujoco", "warp"])
@pytest.mark.parametrize("kind", ["nonfinite", "speed"])
def test_fault_stays_in_its_world_and_ends_with_a_reset(backend: str, kind: str) -> None:
    runs = []
    for inject in (False, True):
        sim, start = _simulator(backend)
        excitation = torch.full_like(sim.act, 0.1)
        sim.step(excitation)
        if inject:
            qvel = sim.qvel.clone()
            qvel[SICK, 3] = torch.nan if kind == "nonfinite" else 1e5
            only = torch.arange(WORLDS) == SICK
            sim.reset(only, sim.qpos.clone(), qvel, sim.act.clone())
            sim.step(excitation)
            assert sim.invalid.tolist() == [False, True, False]
            assert sim.fault[SICK] in (NONFINITE, SPEED)
            # Reset alone, it goes on like a world that never was faulty.
            sim.reset(only, *start)
            assert not sim.invalid.any()
        else:
            sim.step(excitation)
        for _ in range(2):
            sim.step(excitation)
        assert not sim.invalid.any()
        runs.append({name: getattr(sim, name).clone() for name in ("qpos", "qvel", "site_vel")})
        if inject:
            fresh, start = _simulator(backend)
            for _ in range(2):
                fresh.step(excitation)
            torch.testing.assert_close(fresh.qpos[SICK], sim.qpos[SICK], atol=1e-5, rtol=0)
            fresh.close()
        sim.close()
    healthy = [world for world in range(WORLDS) if world != SICK]
    for name, value in runs[0].items():
        if backend == "mujoco":
            assert torch.equal(value[healthy], runs[1][name][healthy]), name
        else:
            torch.testing.assert_close(value[healthy], runs[1][name][healthy], atol=1e-5, rtol=1e-5)
