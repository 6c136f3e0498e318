"""A learned model of a body's dynamics: how its velocity changes in a control step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from agents.networks import build_mlp
from agents.normalizer import RunningNormalizer
from agents.world_model.interface import ModelState, Physics


class DynamicsModel(nn.Module):
    """Predicts the change of velocity from state features and mean activations.

    Muscle force is affine in activation, and so is acceleration as long as no constraint is active:
    besides a network of everything, the model has a term that is linear in the activations, with
    gates that depend on the state,

        change = f(x, a) + W2 [g(x) * (W1 a)].

    The activations themselves follow their known dynamics, and dependent joints their couplings.

    An ensemble splits every batch evenly among its members, when it is fitted and when it imagines:
    a member learns from other samples than the next, and what a policy gains by the error of one of
    them it does not gain from the others.
    """

    def __init__(
        self,
        physics: Physics,
        hidden: Sequence[int],
        rank: int,
        generator: torch.Generator | None = None,
        members: int = 1,
    ) -> None:
        """Build the networks.

        Args:
            physics: the known part of the dynamics.
            hidden: widths of f.
            rank: rows of W1; 0 leaves the affine term out.
            generator: of the CPU, for reproducible weights.
            members: independent networks.
        """
        super().__init__()
        self.physics = physics
        features, controls, changes = (
            physics.feature_dim,
            physics.control_dim,
            physics.velocity_dim,
        )
        self.inputs = RunningNormalizer(features, clip=8.0)
        self.activations = RunningNormalizer(controls, eps=1e-4, clip=20.0)
        self.outputs = RunningNormalizer(changes, eps=1e-8, clip=50.0)
        self.members = nn.ModuleList(
            _Member(features, controls, changes, hidden, rank, generator) for _ in range(members)
        )

    @torch.no_grad()
    def fit_statistics(self, state: ModelState, excitation: Tensor, after: ModelState) -> None:
        """Update the statistics of inputs and outputs by transitions (..., dim)."""
        self.inputs.update(self.physics.features(state.position, state.velocity))
        self.activations.update(self.physics.activate(state.act, excitation)[0])
        change = self.physics.change(state.position, state.velocity, after.velocity)
        self.outputs.update(change)

    @property
    def scale(self) -> Tensor:
        """(velocity_dim,) standard deviation of the changes: the unit of predictions."""
        return (self.outputs.var + self.outputs.eps).sqrt().to(self._dtype)

    @property
    def offset(self) -> Tensor:
        """(velocity_dim,) mean of the changes."""
        return self.outputs.mean.to(self._dtype)

    @property
    def _dtype(self) -> torch.dtype:
        return self.members[0].network.head.weight.dtype

    def predict(self, features: Tensor, mean_act: Tensor) -> Tensor:
        """Return normalised changes (B, velocity_dim), each from its row's member."""
        x, a = self.inputs(features), self.activations(mean_act)
        count = len(self.members)
        if count == 1:
            return self.members[0](x, a)
        parts = zip(self.members, x.tensor_split(count), a.tensor_split(count), strict=True)
        return torch.cat([member(*part) for member, *part in parts])

    def target(self, state: ModelState, after: ModelState) -> Tensor:
        """Return the normalised changes (..., velocity_dim) of real transitions."""
        change = self.physics.change(state.position, state.velocity, after.velocity)
        return (change - self.offset) / self.scale

    def step(self, state: ModelState, excitation: Tensor) -> ModelState:
        """Advance states (B, ...) by one control step under excitations (B, nu)."""
        mean_act, act = self.physics.activate(state.act, excitation)
        features = self.physics.features(state.position, state.velocity)
        change = self.predict(features, mean_act) * self.scale + self.offset
        position, velocity = self.physics.integrate(state.position, state.velocity, change)
        return ModelState(position, velocity, act)

    def hidden_matrices(self) -> list[nn.Parameter]:
        """Hidden-to-hidden weights, which Muon may train."""
        return [p for member in self.members for p in member.network.hidden_matrices()]


class _Member(nn.Module):
    """One network of the ensemble, from normalised inputs to normalised changes."""

    def __init__(
        self,
        features: int,
        controls: int,
        changes: int,
        hidden: Sequence[int],
        rank: int,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        self.rank = rank
        self.network = build_mlp(
            features + controls, hidden, changes, output_gain=0.1, generator=generator
        )
        if rank:
            self.gates = build_mlp(
                features, [hidden[0]], rank, output_gain=1.0, generator=generator
            )
            self.mix = nn.Linear(controls, rank, bias=False)
            self.out = nn.Linear(rank, changes, bias=False)
            for layer, gain in ((self.mix, 1.0), (self.out, 0.1)):
                nn.init.orthogonal_(layer.weight, gain, generator=generator)

    def forward(self, x: Tensor, a: Tensor) -> Tensor:
        change = self.network(torch.cat((x, a), dim=-1))
        if self.rank:
            change = change + self.out(self.gates(x) * self.mix(a))
        return change
