"""Multilayer perceptrons, plain and residual, with layer normalisation and orthogonal weights."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Literal, get_args

import torch
from torch import Tensor, nn

Residual = Literal["none", "fixed", "gated"]
Activation = Literal["silu", "elu", "relu", "tanh"]

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
}
_FIXED_GATE = 0.1  # weight of a residual branch that is not gated
_GATE_INIT = -2.0  # sigmoid(-2) = 0.12, so a gated branch starts near the fixed one


def _linear(fan_in: int, fan_out: int, gain: float, generator: torch.Generator | None) -> nn.Linear:
    layer = nn.Linear(fan_in, fan_out)
    nn.init.orthogonal_(layer.weight, gain, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer


class PlainBlock(nn.Module):
    """``x -> act(LN(W x + b))``, from (..., fan_in) to (..., width)."""

    def __init__(
        self, fan_in: int, width: int, activation: Activation, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        self.linear = _linear(fan_in, width, sqrt(2.0), generator)
        self.norm = nn.LayerNorm(width, eps=1e-5)
        self.activation = _ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.norm(self.linear(x)))

    def input_layers(self) -> list[nn.Linear]:
        """The linear layers that read the block's input."""
        return [self.linear]


class ResidualBlock(nn.Module):
    """``x -> act(skip(x) + gate * LN(W1 act(LN(W0 x))))``, from (..., fan_in) to (..., widths[1]).

    The skip is the identity, or an unnormalised linear map where the widths differ. The gate is
    ``sigmoid(g)`` with one learnt scalar g ("gated") or the constant 0.1 ("fixed"): either way a
    deep network starts close to a shallow one.
    """

    def __init__(
        self,
        fan_in: int,
        widths: tuple[int, int],
        activation: Activation,
        gated: bool,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        inner, outer = widths
        self.linear0 = _linear(fan_in, inner, sqrt(2.0), generator)
        self.norm0 = nn.LayerNorm(inner, eps=1e-5)
        self.linear1 = _linear(inner, outer, 0.01, generator)
        self.norm1 = nn.LayerNorm(outer, eps=1e-5)
        self.skip = nn.Identity() if fan_in == outer else _linear(fan_in, outer, 1.0, generator)
        self.gate = nn.Parameter(torch.tensor(_GATE_INIT)) if gated else None
        self.activation = _ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        branch = self.norm1(self.linear1(self.activation(self.norm0(self.linear0(x)))))
        weight = _FIXED_GATE if self.gate is None else self.gate.sigmoid()
        return self.activation(self.skip(x) + weight * branch)

    def input_layers(self) -> list[nn.Linear]:
        """The linear layers that read the block's input."""
        return [self.linear0, *([self.skip] if isinstance(self.skip, nn.Linear) else [])]


class MLP(nn.Module):
    """Hidden blocks (``body``) and a linear ``head``: (..., input_dim) to (..., output_dim).

    With ``direct`` a linear map of the input is added to the output.
    """

    def __init__(
        self,
        blocks: Sequence[PlainBlock | ResidualBlock],
        head: nn.Linear,
        direct: nn.Linear | None = None,
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(*blocks)
        self.head = head
        self.direct = direct

    def forward(self, x: Tensor) -> Tensor:
        output = self.head(self.body(x))
        return output if self.direct is None else output + self.direct(x)

    def hidden_matrices(self) -> list[nn.Parameter]:
        """Weights that map hidden to hidden features: neither the first layer's nor the head's."""
        outside = self.body[0].input_layers()
        layers = [m for m in self.body.modules() if isinstance(m, nn.Linear)]
        return [layer.weight for layer in layers if all(layer is not other for other in outside)]


def build_mlp(
    input_dim: int,
    hidden: Sequence[int],
    output_dim: int,
    *,
    residual: Residual = "none",
    activation: Activation = "silu",
    output_gain: float = 0.01,
    direct: bool = False,
    generator: torch.Generator | None = None,
) -> MLP:
    """Build an MLP with the given hidden widths and no output activation.

    With ``residual`` "fixed" or "gated", consecutive pairs of widths form one residual block each
    and an odd last width is a plain block. Weights are orthogonal (Saxe et al. 2014) with gain
    sqrt(2) in hidden layers and ``output_gain`` in the head; biases are zero. ``direct`` adds a
    linear path from input to output, zero at first. ``generator`` (of the CPU) makes them
    reproducible.

    Raises:
        ValueError: for a width below one, no hidden layer, or an unknown option.
    """
    if not hidden or min(input_dim, output_dim, *hidden) < 1:
        raise ValueError(f"widths must be positive, got {input_dim}, {list(hidden)}, {output_dim}")
    if residual not in get_args(Residual):
        raise ValueError(f"residual must be one of {get_args(Residual)}, got {residual!r}")
    if activation not in _ACTIVATIONS:
        raise ValueError(f"activation must be one of {tuple(_ACTIVATIONS)}, got {activation!r}")

    blocks: list[PlainBlock | ResidualBlock] = []
    fan_in, stride = input_dim, 1 if residual == "none" else 2
    for start in range(0, len(hidden), stride):
        match tuple(hidden[start : start + stride]):
            case (width,):
                blocks.append(PlainBlock(fan_in, width, activation, generator))
            case (inner, width):
                gated = residual == "gated"
                blocks.append(ResidualBlock(fan_in, (inner, width), activation, gated, generator))
        fan_in = width
    head = _linear(fan_in, output_dim, output_gain, generator)
    if not direct:
        return MLP(blocks, head)
    path = nn.Linear(input_dim, output_dim, bias=False)
    nn.init.zeros_(path.weight)
    return MLP(blocks, head, path)
