import pytest
import torch

from agents.losses import (
    approximate_kl,
    explained_variance,
    imitation_loss,
    policy_loss,
    standardize,
    value_loss,
)  # fmt: skip


def test_policy_loss_is_pessimistic_on_both_sides():
    ratio = torch.tensor([1.5, 1.5, 0.5, 0.5, 1.1])
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0, 2.0])
    # The lower of clipped and unclipped: 1.2, -1.5, 0.5, -0.8, 2.2.
    assert policy_loss(ratio, advantages, 0.2).item() == pytest.approx(-1.6 / 5)


def test_value_loss_with_and_without_clip():
    values, old = torch.tensor([1.0, 0.1]), torch.tensor([0.0, 0.0])
    targets = torch.tensor([1.0, 1.0])
    assert value_loss(values, old, targets, None).item() == pytest.approx(0.5 * (0 + 0.81) / 2)
    # The first value moved further than 0.2, so its error is taken from 0.2.
    assert value_loss(values, old, targets, 0.2).item() == pytest.approx(0.5 * (0.64 + 0.81) / 2)


def test_kl_estimate_matches_two_gaussians():
    torch.manual_seed(0)
    x = torch.randn(200_000)
    log_ratio = 0.5 * x.square() - 0.5 * (x - 0.3).square()
    assert approximate_kl(log_ratio).item() == pytest.approx(0.045, rel=0.05)


def test_explained_variance_and_standardize():
    targets = torch.randn(100)
    assert explained_variance(targets, targets) == 1.0
    assert abs(explained_variance(torch.full((100,), 3.0), targets).item()) < 1e-5
    z = standardize(5.0 + 2.0 * targets)
    assert abs(z.mean().item()) < 1e-5 and z.std(correction=0).item() == pytest.approx(1.0)


def test_imitation_counts_a_state_by_the_root_of_its_square() -> None:
    label = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    excitation = torch.tensor([[0.3, 0.4], [0.03, 0.04]], requires_grad=True)
    loss = imitation_loss(excitation, label, smallest=0.0)
    # Root mean squares: sqrt((0.09 + 0.16) / 2) = 0.353553, and a tenth of that.
    torch.testing.assert_close(loss, torch.tensor((0.353553 + 0.0353553) / 2))
    loss.backward()
    # A fall that is off by ten times as much pulls as hard, not ten times harder.
    torch.testing.assert_close(excitation.grad[0], excitation.grad[1])
    small = torch.full((1, 2), 1e-4, requires_grad=True)
    imitation_loss(small, label[:1]).backward()
    assert small.grad.norm() < 0.02 * excitation.grad[0].norm() * 2
