"""A graphed function is the function: on the CPU always, on CUDA once captured."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from agents import ActorCritic, PolicyOptimizer
from agents.cuda_graph import Graphed

gpu = pytest.mark.gpu
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


class Fit:
    """A regression whose every update could be a graph."""

    def __init__(self, device: str, kind: str, graphed: bool) -> None:
        generator = torch.Generator().manual_seed(0)
        self.policy = ActorCritic(6, 2, actor_hidden=(32, 32, 32), generator=generator).to(device)
        actor = self.policy.actor
        self.optimizer = PolicyOptimizer(
            actor.parameters(),
            actor.hidden_matrices(),
            kind=kind,
            lr=1e-2,
            muon_lr=1e-2,
            capturable=True,
        )
        self.update = Graphed(self._update, torch.device(device)) if graphed else self._update

    def _update(self, x: Tensor, y: Tensor) -> Tensor:
        loss = (self.policy.actor(x) - y).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        return torch.stack((loss.detach(), self.optimizer.step()))

    def run(self, device: str, updates: int = 12) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(1)
        figures = []
        for update in range(updates):
            self.optimizer.set_lr_scale(1.0 - update / updates)
            x = torch.randn(64, 6, generator=generator)
            figures.append(self.update(x.to(device), x[:, :2].to(device)).clone())
        return torch.stack(figures), torch.cat([p.flatten() for p in self.policy.parameters()])


def test_on_the_cpu_it_is_the_function() -> None:
    (plain, weights), (graphed, graphed_weights) = (
        Fit("cpu", "adam", flag).run("cpu") for flag in (False, True)
    )
    assert torch.equal(plain, graphed) and torch.equal(weights, graphed_weights)
    assert plain[-1, 0] < plain[0, 0]


@gpu
@needs_cuda
@pytest.mark.parametrize("kind", ["adam", "muon"])
def test_a_replayed_update_is_the_update(kind: str) -> None:
    """Losses, learning rates that change, optimiser states: twelve updates, nine of them graphs."""
    plain = Fit("cuda", kind, False)
    graphed = Fit("cuda", kind, True)
    (figures, weights), (again, graphed_weights) = plain.run("cuda"), graphed.run("cuda")
    assert graphed.update.captured
    tolerance = 1e-4 if kind == "adam" else 2e-2  # Muon iterates in bfloat16
    assert torch.allclose(figures, again, rtol=tolerance, atol=tolerance)
    assert torch.allclose(weights, graphed_weights, rtol=tolerance, atol=tolerance)


@gpu
@needs_cuda
def test_a_forgotten_graph_is_captured_anew() -> None:
    value = torch.ones(3, device="cuda")
    holder = [value]
    double = Graphed(lambda x: x * 2 + holder[0], torch.device("cuda"))
    for _ in range(5):
        result = double(value)
    assert double.captured and result.tolist() == [3.0] * 3
    holder[0] = torch.full((3,), 5.0, device="cuda")
    double.forget()
    for _ in range(5):
        result = double(value)
    assert double.captured and result.tolist() == [7.0] * 3
