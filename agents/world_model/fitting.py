"""Fitting the dynamics model to real steps, and judging it on steps it has not seen."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from agents.world_model.dynamics import DynamicsModel
from agents.world_model.interface import ModelState
from agents.world_model.replay import Replay


def one_step_loss(
    model: DynamicsModel, state: ModelState, excitation: Tensor, after: ModelState, weight: Tensor
) -> Tensor:
    """Mean absolute error of the normalised change of velocity over one step.

    Args:
        model: the dynamics.
        state, excitation, after: (B, dim) real transitions.
        weight: (B,) 1 for a transition that counts, else 0.
    """
    mean_act, _ = model.physics.activate(state.act, excitation)
    guess = model.predict(model.physics.features(state.position, state.velocity), mean_act)
    error = (guess - model.target(state, after)).abs().mean(-1)
    return (error * weight).sum() / weight.sum().clamp_min(1.0)


def window_loss(
    model: DynamicsModel, states: ModelState, excitation: Tensor, weight: Tensor
) -> Tensor:
    """Mean absolute velocity error of a free-running window, in units of a step's changes.

    Args:
        model: the dynamics.
        states: (T + 1, B, dim) real states.
        excitation: (T, B, nu).
        weight: (T, B) 1 for a transition that counts, else 0.
    """
    state, total = states.map(lambda part: part[0]), 0.0
    for step in range(len(excitation)):
        state = model.step(state, excitation[step])
        # Errors add up along the window: their share of a step's change stays comparable.
        error = (state.velocity - states.velocity[step + 1]) / (model.scale * (step + 1) ** 0.5)
        total = total + (error.abs().mean(-1) * weight[step]).sum()
    return total / weight.sum().clamp_min(1.0)


@torch.no_grad()
def explained(
    model: DynamicsModel, state: ModelState, excitation: Tensor, after: ModelState, weight: Tensor
) -> Tensor:
    """Return (velocity_dim,) R2: the share of each change's variance that the model explains."""
    mean_act, _ = model.physics.activate(state.act, excitation)
    guess = model.predict(model.physics.features(state.position, state.velocity), mean_act)
    target, weight = model.target(state, after), weight.unsqueeze(-1)
    total = weight.sum().clamp_min(1.0)
    mean = (target * weight).sum(0) / total
    spread = ((target - mean).square() * weight).sum(0) / total
    left = ((guess - target).square() * weight).sum(0) / total
    return 1.0 - left / spread.clamp_min(1e-12)


@torch.no_grad()
def open_loop_errors(
    model: DynamicsModel,
    replay: Replay,
    rows: Tensor,
    worlds: Tensor,
    horizons: tuple[int, ...] = (1, 8, 16, 32),
) -> dict[str, Tensor]:
    """Return position errors after so many steps of the model under recorded excitations.

    ``model_error_H`` is the root mean square over positions (joints in rad; root in m and
    quaternion entries); ``still_error_H`` the same for a body that does not move: a model is worth
    its gradient only while the first is well below the second.
    """
    steps = max(horizons)
    states, excitation, weight = replay.window(rows, worlds, steps)
    state = states.map(lambda part: part[0])
    errors = {}
    for step in range(1, steps + 1):
        state = model.step(state, excitation[step - 1])
        if step not in horizons:
            continue
        counted = weight[step - 1]
        total = counted.sum().clamp_min(1.0)
        for name, guess in (("model", state.position), ("still", states.position[0])):
            squares = (guess - states.position[step]).square().mean(-1)
            errors[f"{name}_error_{step}"] = ((squares * counted).sum() / total).sqrt()
    return errors


class WeightAverage:
    """An exponential average of a network's weights, kept in a second network."""

    def __init__(self, source: nn.Module, target: nn.Module, decay: float) -> None:
        """Args: ``target`` of the same shape, which is overwritten; ``decay`` of the average."""
        self._source, self._target, self._decay = source, target, decay
        self.updates = 0
        target.load_state_dict(source.state_dict())

    def settle(self) -> None:
        """From here on the average is worth keeping: no update moves it by more than 1 - decay."""
        self.updates = max(self.updates, round(10.0 / (1.0 - self._decay)))

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the source; the first updates weigh more."""
        self.updates += 1
        decay = min(self._decay, self.updates / (self.updates + 10.0))
        targets, sources = list(self._target.parameters()), list(self._source.parameters())
        torch._foreach_lerp_(targets, sources, 1.0 - decay)
        for average, value in zip(self._target.buffers(), self._source.buffers(), strict=True):
            average.copy_(value)
