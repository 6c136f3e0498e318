"""The activation filter in torch against MuJoCo's."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch

from sim.activation_filter import ActivationFilter
from tests.conftest import body


@pytest.mark.parametrize(("name", "fingers"), [("bimanual", True), ("fullbody", False)])
def test_equals_mujoco(name: str, fingers: bool) -> None:
    embodiment = body(name, fingers)
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    rng = np.random.default_rng(0)
    advance = ActivationFilter(embodiment, model.opt.timestep, 5, dtype=torch.float64)
    data.act[:] = rng.uniform(0.0, 1.0, model.na)
    for _ in range(3):
        # Excitations outside [0, 1] are clamped; equal ones neither rise nor fall.
        data.ctrl[:] = np.where(
            rng.random(model.nu) < 0.1, data.act, rng.uniform(-0.3, 1.3, model.nu)
        )
        seen, start = [], torch.from_numpy(data.act.copy())
        ctrl = torch.from_numpy(data.ctrl.copy())
        for _ in range(5):
            seen.append(data.act.copy())
            mujoco.mj_step(model, data)
        mean, end = advance(start, ctrl)
        np.testing.assert_allclose(end, data.act, atol=1e-6)
        np.testing.assert_allclose(mean, np.mean(seen, axis=0), atol=1e-6)


def test_gradient_equals_finite_differences() -> None:
    embodiment = body("bimanual", False)
    advance = ActivationFilter(embodiment, 0.002, 5, dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    shape = (3, embodiment.model.nu)
    act = torch.rand(shape, generator=generator, dtype=torch.float64).requires_grad_()
    excitation = torch.rand(shape, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(advance, (act, excitation), atol=1e-6)
