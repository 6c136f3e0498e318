"""WarpSim against MujocoSim: one control step from the same states ends in the same place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("mujoco_warp")

from benchmarks.parity import reference_states
from sim.embodiment import EMBODIMENTS, load_embodiment
from sim.warp_parity import compare_step, sample_states
from sim.warp_sim import WarpSim

_STATES = 12
_DEMO = Path(__file__).parents[2] / "data" / "demo"


@pytest.fixture(scope="module", params=EMBODIMENTS)
def simulator(request):
    simulator = WarpSim(load_embodiment(request.param), _STATES, torch.device("cpu"))
    yield simulator
    simulator.close()


@pytest.mark.parametrize("source", ["sampled", "demo"])
def test_one_control_step_agrees(simulator, source):
    body, rng = simulator.embodiment, np.random.default_rng(0)
    if source == "sampled":
        states = sample_states(body, _STATES, rng)
    elif (_DEMO / body.name / "index.json").is_file():
        states = reference_states(body, _DEMO / body.name, _STATES, rng)
    else:
        pytest.skip(f"no demo motions of {body.name}")
    parity = compare_step(simulator, states)
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
