"""MuJoCo's muscle activation dynamics in torch: batched, differentiable, exact.

Activation a follows excitation u with a time constant that depends on both,

    da/dt = (u - a) / tau,   tau = tau_act (0.5 + 1.5 a) while u > a,
                             tau = tau_deact / (0.5 + 1.5 a) otherwise

(Millard et al. 2013, J. Biomech. Eng. 135:021005; MuJoCo's `mju_muscleDynamics`), integrated with
MuJoCo's Euler steps. A learned model of the body need not learn it.
"""

from __future__ import annotations

import mujoco
import numpy as np
import torch
from torch import Tensor

from sim.embodiment import Embodiment


class ActivationFilter:
    """Advances activations by one control step of several physics steps."""

    def __init__(
        self,
        embodiment: Embodiment,
        timestep: float,
        substeps: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        """Read the time constants of a body.

        Args:
            embodiment: the body.
            timestep: of the physics (s).
            substeps: physics steps of a control step, over which excitations are constant.
            dtype, device: of the activations.

        Raises:
            ValueError: an actuator is no muscle, or one with smoothed dynamics.
        """
        model = embodiment.model
        if np.any(model.actuator_dyntype != mujoco.mjtDyn.mjDYN_MUSCLE):
            raise ValueError("activation filter: every actuator must be a muscle")
        if np.any(model.actuator_dynprm[:, 2] > 0):
            raise ValueError("activation filter: muscles with smoothed dynamics are not supported")
        rise, fall = (
            torch.as_tensor(model.actuator_dynprm[:, i], dtype=dtype, device=device) for i in (0, 1)
        )
        self._rise, self._fall = timestep / rise, timestep / fall
        self._substeps = substeps

    def __call__(self, act: Tensor, excitation: Tensor) -> tuple[Tensor, Tensor]:
        """Advance activations (..., nu) under excitations (..., nu).

        Returns:
            The mean of the activations that the physics steps start from, which is what their
            forces are made of, and the activations after the control step, both (..., nu).
        """
        target = excitation.clamp(0.0, 1.0)
        total = torch.zeros_like(act)
        for _ in range(self._substeps):
            total = total + act
            factor = 0.5 + 1.5 * act.clamp(0.0, 1.0)
            gap = target - act
            act = act + gap * torch.where(gap > 0, self._rise / factor, self._fall * factor)
        return total / self._substeps, act
