"""The linear system of a smoothed Gauss-Newton step, for all frames together.

    minimise over x:  sum_t (x_t' H_t x_t / 2 - b_t' x_t) + sum_t |D (x_{t-1} - 2 x_t + x_{t+1})|²/2

with D² the stiffness of each coordinate: independent frames, tied by the cost of acceleration. The
matrix is block-pentadiagonal. It is not factored: conjugate gradients (Hestenes and Stiefel 1952)
preconditioned by its block diagonal converge in a few steps, and every step is one batched product
over frames, on CPU or GPU alike, at a cost for each frame that does not depend on their number.
"""

from __future__ import annotations

import torch
from torch import Tensor


def second_difference(x: Tensor, link: Tensor) -> Tensor:
    """Return x_{t-1} - 2 x_t + x_{t+1}, (T - 2, n), where frames are linked, zero elsewhere.

    Args:
        x: (T, n).
        link: (T - 2,) one where frames t-1, t and t+1 belong to one clip.
    """
    return (x[:-2] - 2 * x[1:-1] + x[2:]) * link[:, None]


def second_difference_transposed(y: Tensor, link: Tensor) -> Tensor:
    """Return the transpose of `second_difference` applied to y (T - 2, n): (T, n)."""
    y = y * link[:, None]
    x = y.new_zeros(len(y) + 2, y.shape[1])
    x[:-2] += y
    x[1:-1] -= 2 * y
    x[2:] += y
    return x


class SmoothSystem:
    """blockdiag(H) + D2' diag(stiffness) D2, with some coordinates fixed.

    Attributes:
        free: (T, n) one where a coordinate is free, zero where it is fixed.
    """

    def __init__(self, hessian: Tensor, stiffness: Tensor, link: Tensor, free: Tensor) -> None:
        """Factor the diagonal blocks.

        Args:
            hessian: (T, n, n) symmetric positive definite blocks.
            stiffness: (n,) cost of squared acceleration of each coordinate.
            link: (T - 2,) one where three successive frames belong to one clip.
            free: (T, n).
        """
        self._hessian, self._stiffness, self._link, self.free = hessian, stiffness, link, free
        weight = stiffness.new_zeros(len(hessian))
        weight[:-2] += link
        weight[1:-1] += 4 * link
        weight[2:] += link
        blocks = hessian + torch.diag_embed(weight[:, None] * stiffness)
        self._inverse = torch.cholesky_inverse(torch.linalg.cholesky(blocks))

    def times(self, x: Tensor) -> Tensor:
        """The whole matrix times x (T, n)."""
        product = (self._hessian @ x.unsqueeze(-1)).squeeze(-1)
        bent = second_difference(x, self._link) * self._stiffness
        return product + second_difference_transposed(bent, self._link)

    def solve(self, rhs: Tensor, start: Tensor, iterations: int) -> Tensor:
        """Solve for the free coordinates by conjugate gradients; the fixed ones stay as in `start`.

        Args:
            rhs: (T, n).
            start: (T, n) first guess.
            iterations: steps.

        Returns:
            (T, n).
        """
        tiny = torch.finfo(rhs.dtype).tiny
        x = start
        residual = (rhs - self.times(x)) * self.free
        z = self._preconditioned(residual)
        direction, power = z, (residual * z).sum()
        for _ in range(iterations):
            product = self.times(direction) * self.free
            step = power / (direction * product).sum().clamp_min(tiny)
            x = torch.addcmul(x, step, direction)
            residual = torch.addcmul(residual, -step, product)
            z = self._preconditioned(residual)
            following = (residual * z).sum()
            direction = torch.addcmul(z, following / power.clamp_min(tiny), direction)
            power = following
        return x

    def _preconditioned(self, residual: Tensor) -> Tensor:
        # Cutting the fixed coordinates out of the inverse keeps it symmetric positive definite.
        return (self._inverse @ residual.unsqueeze(-1)).squeeze(-1) * self.free
