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


def test_imitation_counts_a_state_by_its_square_or_by_the_root_of_it() -> None:
    label = torch.zeros(2, 2)
    pulls = {}
    for kind in ("squared", "root"):
        excitation = torch.tensor([[0.3, 0.4], [0.03, 0.04]], requires_grad=True)
        loss = imitation_loss(excitation, label, kind, smallest=0.0)
        loss.backward()
        pulls[kind] = loss.item(), excitation.grad.norm(dim=-1)
    # Mean squares: (0.09 + 0.16) / 2 = 0.125, and a hundredth of that.
    assert pulls["squared"][0] == pytest.approx((0.125 + 0.00125) / 2)
    assert pulls["root"][0] == pytest.approx((0.35355339 + 0.035355339) / 2)
    # What is off by ten times as much pulls ten times harder, or as hard.
    assert pulls["squared"][1][0].item() == pytest.approx(10 * pulls["squared"][1][1].item())
    assert pulls["root"][1][0].item() == pytest.approx(pulls["root"][1][1].item())
    small = torch.full((1, 2), 1e-4, requires_grad=True)
    imitation_loss(small, label[:1], "root").backward()
    assert 0.0 < small.grad.norm() < 0.02
    with pytest.raises(ValueError, match="kind=cubed: expected squared or root"):
        imitation_loss(small, label[:1], "cubed")
