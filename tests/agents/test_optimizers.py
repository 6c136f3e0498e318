import copy

import pytest
import torch
from torch import nn

from agents import Muon, PolicyOptimizer, build_mlp
from agents.muon import orthogonalize


def make(kind="muon", **options):
    net = build_mlp(6, (16, 16, 12), 2, generator=torch.Generator().manual_seed(0))
    return net, PolicyOptimizer(net.parameters(), net.hidden_matrices(), kind=kind, **options)


def fill_gradients(net, value=None):
    generator = torch.Generator().manual_seed(1)
    for param in net.parameters():
        param.grad = torch.randn(param.shape, generator=generator)
        if value is not None:
            param.grad.view(-1)[0] = value


@pytest.mark.parametrize("shape", [(64, 64), (64, 32), (32, 64), (3, 40, 20)])
def test_orthogonalize_brings_singular_values_near_one(shape):
    torch.manual_seed(0)
    # A well-conditioned matrix: five iterations lift singular values above about 0.01 of the norm.
    u, _, vh = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    values = torch.linspace(0.2, 1.0, min(shape[-2:]))
    out = orthogonalize((u * values) @ vh * 37.0)
    singular = torch.linalg.svdvals(out)
    assert singular.min() > 0.65 and singular.max() < 1.25
    polar = u @ vh
    alignment = (out * polar).sum((-2, -1)) / (out.norm(dim=(-2, -1)) * polar.norm(dim=(-2, -1)))
    assert (alignment > 0.98).all()


def test_muon_step_size_ignores_the_size_of_the_gradient():
    for size in (1e-4, 1.0, 1e4):
        weight = nn.Parameter(torch.zeros(32, 8))
        weight.grad = size * torch.linalg.qr(torch.randn(32, 8)).Q
        Muon([weight], lr=0.1).step()
        singular = torch.linalg.svdvals(weight.detach())
        expected = 0.1 * 2.0  # sqrt(fan_out / fan_in) = 2
        assert singular.min() > 0.65 * expected and singular.max() < 1.25 * expected


def test_muon_solves_a_matrix_regression():
    torch.manual_seed(0)
    weight, target = nn.Parameter(torch.zeros(10, 10)), torch.randn(10, 10)
    optimizer = Muon([weight], lr=0.2)
    for step in range(300):
        weight.grad = weight.detach() - target
        optimizer.param_groups[0]["lr"] = 0.2 * (1 - step / 300)
        optimizer.step()
    assert (weight - target).norm() < 0.05 * target.norm()


def test_muon_takes_matrices_only():
    with pytest.raises(ValueError, match="matrices only"):
        Muon([nn.Parameter(torch.zeros(3))], lr=0.1)


def test_who_trains_what():
    net, optimizer = make("muon", lr=0.0, muon_lr=0.1)
    before = copy.deepcopy(net.state_dict())
    fill_gradients(net)
    optimizer.step()
    moved = {name for name, p in net.state_dict().items() if not torch.equal(p, before[name])}
    assert moved == {"body.1.linear.weight", "body.2.linear.weight"}


@pytest.mark.parametrize("kind", ["muon", "adam"])
def test_learning_rate_scale(kind):
    net, optimizer = make(kind)
    before = copy.deepcopy(net.state_dict())
    optimizer.set_lr_scale(0.0)
    fill_gradients(net)
    optimizer.step()
    assert all(torch.equal(p, before[name]) for name, p in net.state_dict().items())
    optimizer.set_lr_scale(0.5)
    optimizer.step()
    assert not any(torch.equal(p, before[name]) for name, p in net.state_dict().items())


def test_step_returns_the_norm_before_clipping():
    net, optimizer = make("adam", max_grad_norm=0.5)
    fill_gradients(net)
    expected = torch.cat([p.grad.view(-1) for p in net.parameters()]).norm()
    torch.testing.assert_close(optimizer.step(), expected)
    clipped = torch.cat([p.grad.view(-1) for p in net.parameters()]).norm()
    assert clipped.item() == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("kind", ["muon", "adam"])
@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
def test_bad_steps_change_nothing_and_are_counted(kind, poison):
    (net, optimizer), (twin, twin_optimizer) = make(kind), make(kind)
    for bad in (True, False, True, False):  # also before any state exists
        if bad:
            fill_gradients(net, poison)
            optimizer.step()
        else:
            for model, opt in ((net, optimizer), (twin, twin_optimizer)):
                fill_gradients(model)
                opt.step()
    assert optimizer.skipped == 2 and twin_optimizer.skipped == 0
    for ours, theirs in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("kind", ["muon", "adam"])
def test_snapshots_restore_and_do_not_alias(kind):
    net, optimizer = make(kind)
    fill_gradients(net)
    optimizer.step()
    snapshot = optimizer.state_dict()
    twin, twin_optimizer = make(kind)
    twin.load_state_dict(net.state_dict())
    twin_optimizer.load_state_dict(snapshot)
    for model, opt in ((net, optimizer), (twin, twin_optimizer)):
        for _ in range(3):  # if anything were shared, training one would disturb the other
            fill_gradients(model)
            opt.step()
    for ours, theirs in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_errors():
    net, optimizer = make("adam")
    with pytest.raises(ValueError, match="kind must be one of"):
        make("sgd")
    with pytest.raises(ValueError, match="of kind 'adam', not 'muon'"):
        make("muon")[1].load_state_dict(optimizer.state_dict())
    with pytest.raises(ValueError, match="must be one of the parameters"):
        PolicyOptimizer(net.parameters(), [nn.Parameter(torch.eye(2))], kind="muon")


def test_parameters_apart_have_their_own_rate():
    """Equal gradients, rates of 0.1 and 0.01 (Adam's first step is its rate), scaled apart."""
    a, b = (nn.Parameter(torch.zeros(3)) for _ in range(2))
    optimizer = PolicyOptimizer([a, b], lr=0.1, max_grad_norm=1e3, apart=[b], apart_lr=0.01)
    optimizer.set_lr_scale(0.5, apart=1.0)
    for parameter in (a, b):
        parameter.grad = torch.ones(3)
    optimizer.step()
    assert a.tolist() == pytest.approx([-0.05] * 3, rel=1e-3)
    assert b.tolist() == pytest.approx([-0.01] * 3, rel=1e-3)
    again = PolicyOptimizer([a, b], lr=0.1, max_grad_norm=1e3, apart=[b], apart_lr=0.01)
    again.load_state_dict(optimizer.state_dict())
    saved, loaded = optimizer.state_dict()["states"], again.state_dict()["states"]
    assert saved.keys() == loaded.keys() == {"adam", "apart"}
    assert torch.equal(saved["apart"][0]["exp_avg"], loaded["apart"][0]["exp_avg"])
