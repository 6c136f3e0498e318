"""Muon: momentum whose update is orthogonalised, for the hidden matrices of a network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from math import sqrt

import torch
from torch import Tensor, nn

# Quintic iteration tuned for the steepest slope at zero (Jordan 2024). It does not converge to 1:
# singular values end up between about 0.7 and 1.2, which trains as well.
_QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonalize(matrices: Tensor, steps: int = 5) -> Tensor:
    """The nearest (semi-)orthogonal matrices to a (..., m, n) stack, approximately.

    Newton-Schulz iteration ``X <- a X + (b X X^T + c (X X^T)^2) X``: only matrix products, no SVD.
    It runs in bfloat16 on CUDA, where it tolerates the rounding and tensor cores make it cheap,
    and in float32 elsewhere, since most CPUs lack instructions for it.
    """
    a, b, c = _QUINTIC
    wide = matrices.shape[-2] <= matrices.shape[-1]
    x = matrices if wide else matrices.mT  # the Gram matrix of the shorter side is smaller
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)  # singular values at most 1
    x = x.to(torch.bfloat16 if matrices.is_cuda else torch.float32)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x if wide else x.mT).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum (Jordan 2024, kellerjordan.github.io/posts/muon).

    The step of each matrix is ``lr * sqrt(max(1, fan_out / fan_in))`` times an orthogonal matrix,
    whatever the size of the gradient.

    ``torch.optim.Muon`` is not used for three reasons. It iterates in bfloat16 on CPUs as well,
    which takes 1.5 times as long where they have instructions for it and four times where they
    have not; it iterates over matrices one by one, where stacking those of equal shape saves
    kernel launches; and it cannot skip a step without the host knowing. Here a step with
    ``found_inf`` (a tensor, as in ``torch.optim.Adam(fused=True)``) above zero changes neither
    parameters nor momentum.
    """

    found_inf: Tensor | None = None

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float | Tensor,
        momentum: float = 0.95,
        steps: int = 5,
    ) -> None:
        """Args: ``params`` all 2-D; ``lr`` step size; ``steps`` of the Newton-Schulz iteration."""
        super().__init__(params, {"lr": lr, "momentum": momentum, "steps": steps})
        shapes = [tuple(p.shape) for group in self.param_groups for p in group["params"]]
        if any(len(shape) != 2 for shape in shapes):
            raise ValueError(f"Muon trains matrices only, got shapes {shapes}")

    @torch.no_grad()
    def step(self) -> None:
        """Apply the gradients of all parameters that have one."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for param in group["params"]:
                if param.grad is not None:
                    by_shape[param.shape].append(param)
            for params in by_shape.values():
                self._step_stack(params, group["lr"], group["momentum"], group["steps"])

    def _step_stack(
        self, params: list[nn.Parameter], lr: float | Tensor, momentum: float, steps: int
    ) -> None:
        grads = torch.stack([param.grad for param in params])
        keep = torch.ones((), device=grads.device)
        if self.found_inf is not None:
            keep = keep - self.found_inf
            grads = grads.masked_fill(self.found_inf > 0, 0.0)  # 0 * NaN would still be NaN
        for param, grad in zip(params, grads, strict=True):
            state = self.state[param]
            if not state:
                state["momentum"] = torch.zeros_like(param)
            state["momentum"].lerp_(grad, (1.0 - momentum) * keep)
        buffers = torch.stack([self.state[param]["momentum"] for param in params])
        updates = orthogonalize(grads.lerp(buffers, momentum), steps)
        fan_out, fan_in = params[0].shape
        scale = -lr * sqrt(max(1.0, fan_out / fan_in))
        for param, update in zip(params, updates, strict=True):
            param.add_(scale * keep * update)
