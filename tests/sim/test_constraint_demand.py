"""What sizes buffers: counts against MuJoCo's own, and the benchmark that prints them."""

from __future__ import annotations

import json

import mujoco
import numpy as np
import pytest
import torch

from cfg import UserError
from sim.constraint_demand import Demand, measure_demand, measure_demand_on_warp, thrown_states
from sim.simulator import SimOptions
from sim.warp_parity import sample_states


def test_counts_are_those_of_mujoco(fullbody):
    states = sample_states(fullbody, 2, np.random.default_rng(0))
    demand, most = measure_demand(fullbody, states, states.excitations.unsqueeze(0))
    assert len(demand.rows) == 2 * 5
    model, data = fullbody.model, mujoco.MjData(fullbody.model)
    data.qpos[:], data.qvel[:] = states.qpos[1], states.qvel[1]
    data.act[:], data.ctrl[:] = states.act[1], states.excitations[1]
    for substep in range(5):
        mujoco.mj_step(model, data)
        assert demand.contacts[5 + substep] == data.ncon
        assert demand.rows[5 + substep] == data.nefc
        assert demand.iterations[5 + substep] == data.solver_niter.max()
    assert demand.nonzeros[-1] == data.efc_J_rownnz.sum()
    assert most.tolist() == [demand.rows[:5].max(), demand.rows[5:].max()]
    # The couplings are rows in every substep.
    assert (demand.rows >= model.neq).all() and (demand.evaluations > 0).all()


def test_caps_show_in_the_counts(fullbody):
    states = sample_states(fullbody, 2, np.random.default_rng(0))
    excitations = states.excitations.unsqueeze(0)
    free, _ = measure_demand(fullbody, states, excitations)
    capped, _ = measure_demand(fullbody, states, excitations, SimOptions(iterations=1))
    assert free.iterations.max() > 1 and capped.iterations.max() == 1


def test_thrown_bodies_start_above_the_floor(fullbody):
    states = thrown_states(fullbody, 6, np.random.default_rng(0))
    demand, _ = measure_demand(fullbody, states, states.excitations.expand(60, -1, -1))
    landed = demand.contacts.reshape(6, -1)
    assert (landed.max(1) > 4).all(), "not every body reached the floor"
    data = mujoco.MjData(fullbody.model)
    for qpos in states.qpos:
        data.qpos[:] = qpos
        mujoco.mj_forward(fullbody.model, data)
        floor = data.contact.geom == fullbody.floor_geom
        assert not (floor.any(1) & (data.contact.dist < -1e-6)).any()
    assert torch.allclose(states.qpos[:, 3:7].norm(dim=1), torch.ones(6))


def test_warp_needs_what_mujoco_needs(bimanual):
    pytest.importorskip("mujoco_warp")
    states = sample_states(bimanual, 2, np.random.default_rng(1))
    excitations = states.excitations.expand(2, -1, -1)
    expected, _ = measure_demand(bimanual, states, excitations)
    found = measure_demand_on_warp(bimanual, states, excitations)
    # Warp's counts are of the last of the five substeps.
    assert found.demand.rows.tolist() == expected.rows.reshape(-1, 5)[:, -1].tolist()
    assert found.demand.contacts.tolist() == expected.contacts.reshape(-1, 5)[:, -1].tolist()
    assert not any(found.limits_met.values())
    assert found.nonzero_size > found.demand.nonzeros.max() > 0
    small = measure_demand_on_warp(bimanual, states, excitations, SimOptions(njmax=10))
    assert small.limits_met["njmax"] == 4


def test_demand_of_rows():
    demand = Demand.of([(1, 2, 3, 4, 5, 6), (7, 8, 9, 10, 11, 12)])
    assert demand.contacts.tolist() == [1, 7] and demand.candidates.tolist() == [6, 12]
    assert len(Demand.of([]).rows) == 0


def test_benchmark_prints_sizes_and_options(capsys):
    pytest.importorskip("mujoco_warp")
    from benchmarks import buffers

    arguments = ["cfg=bimanual", "states=2", "steps=1", "thrown=1", "thrown_steps=1",
                 "warp_states=1", "device=cpu"]  # fmt: skip
    assert buffers.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    record = json.loads(lines[-1])
    assert set(record["options"]) == set(buffers.VARIANTS)
    assert record["reference"]["rows"][2] >= 22
    assert record["sizes"]["rows"] == 96
    # Two steps of a milli-second are not one of two.
    assert record["options"]["timestep=0.001"][0] > 0
    with pytest.raises(UserError, match="states=0: expected a number, at least 1"):
        buffers.main(["cfg=bimanual", "states=0"])
