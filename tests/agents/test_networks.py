from math import sqrt

import pytest
import torch
from torch.nn.functional import layer_norm, silu

from agents import build_mlp


def test_plain_network_equation_and_initialisation():
    net = build_mlp(6, (8, 5), 3)
    first, second = (block.linear for block in net.body)
    gram = second.weight @ second.weight.T
    torch.testing.assert_close(gram, 2.0 * torch.eye(5), atol=1e-5, rtol=0)
    head = net.head.weight @ net.head.weight.T
    torch.testing.assert_close(head, 1e-4 * torch.eye(3), atol=1e-8, rtol=0)
    assert not any(layer.bias.any() for layer in (first, second, net.head))

    x = torch.randn(4, 6)
    h = silu(layer_norm(x @ first.weight.T, (8,)))
    h = silu(layer_norm(h @ second.weight.T, (5,)))
    torch.testing.assert_close(net(x), h @ net.head.weight.T)


@pytest.mark.parametrize("residual", ["fixed", "gated"])
@pytest.mark.parametrize("fan_in", [6, 9])
def test_residual_block_equation(residual, fan_in):
    net = build_mlp(fan_in, (8, 6), 2, residual=residual)
    (block,) = net.body
    assert isinstance(block.skip, torch.nn.Identity) == (fan_in == 6)
    with torch.no_grad():
        block.linear1.bias.uniform_()  # away from the symmetric start
        block.norm1.weight.uniform_()
    x = torch.randn(4, fan_in)
    h = silu(layer_norm(block.linear0(x), (8,)))
    h = layer_norm(block.linear1(h), (6,), block.norm1.weight, block.norm1.bias)
    skip = x if fan_in == 6 else block.skip(x)
    gate = torch.sigmoid(torch.tensor(-2.0)) if residual == "gated" else 0.1
    torch.testing.assert_close(net.body(x), silu(skip + gate * h))


def test_residual_gains():
    (block,) = build_mlp(4, (8, 6), 2, residual="gated").body
    for layer, gain in ((block.linear0, sqrt(2)), (block.linear1, 0.01), (block.skip, 1.0)):
        singular = torch.linalg.svdvals(layer.weight)
        torch.testing.assert_close(singular, torch.full_like(singular, gain))


def test_odd_last_width_is_a_plain_block():
    net = build_mlp(4, (8, 8, 6, 6, 5), 2, residual="fixed")
    kinds = [type(block).__name__ for block in net.body]
    assert kinds == ["ResidualBlock", "ResidualBlock", "PlainBlock"]
    assert net(torch.randn(7, 3, 4)).shape == (7, 3, 2)


def test_hidden_matrices_leave_out_first_layer_and_head():
    plain = build_mlp(4, (8, 7, 6), 2)
    assert [tuple(w.shape) for w in plain.hidden_matrices()] == [(7, 8), (6, 7)]
    deep = build_mlp(4, (8, 8, 6, 6), 2, residual="gated")
    # First block: linear1 only; second: linear0, linear1 and the skip.
    shapes = [tuple(w.shape) for w in deep.hidden_matrices()]
    assert shapes == [(8, 8), (6, 8), (6, 6), (6, 8)]
    assert build_mlp(4, (8,), 2).hidden_matrices() == []


def test_generator_makes_weights_reproducible():
    nets = [build_mlp(4, (8, 8), 2, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    weights = [net.body[0].linear.weight for net in nets]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden": ()}, "widths must be positive"),
        ({"hidden": (8, 0)}, "widths must be positive"),
        ({"input_dim": 0}, "widths must be positive"),
        ({"residual": "dense"}, "residual must be one of"),
        ({"activation": "gelu"}, "activation must be one of"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        build_mlp(**({"input_dim": 4, "hidden": (8,), "output_dim": 2} | arguments))
    assert "\n" not in str(error.value)


def test_direct_path_adds_a_linear_map_that_is_zero_at_first() -> None:
    seeds = (torch.Generator().manual_seed(0) for _ in range(2))
    plain, direct = (
        build_mlp(5, (8, 8), 3, direct=on, generator=seed)
        for on, seed in zip((False, True), seeds, strict=True)
    )
    x = torch.randn(7, 5)
    torch.testing.assert_close(direct(x), plain(x))
    with torch.no_grad():
        direct.direct.weight.fill_(0.5)
    torch.testing.assert_close(direct(x), plain(x) + 0.5 * x.sum(-1, keepdim=True))
    assert len(direct.hidden_matrices()) == len(plain.hidden_matrices())
