"""What a discriminator minimises, and the reward that its logits give.

AMP: Peng et al. 2021, arXiv:2104.02180. ADD: Zhang et al. 2025, arXiv:2505.04961.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import softplus

from agents.amp.config import StyleLoss


def adversarial_loss(real: Tensor, policy: Tensor, loss: StyleLoss) -> Tensor:
    """() loss of the logits of (R,) real and (P,) policy samples.

    "least_squares" has targets +1 and -1 (AMP). "logistic" is the cross-entropy
    ``-log s(real) - log(1 - s(policy))`` with the sigmoid s (ADD).
    """
    if loss == "least_squares":
        return (real - 1.0).square().mean() + (policy + 1.0).square().mean()
    return softplus(-real).mean() + softplus(policy).mean()


def style_reward(logits: Tensor, loss: StyleLoss, clip: float = torch.inf) -> Tensor:
    """Rewards in [0, clip] of logits, of any shape; more where a sample passes for real.

    "least_squares": ``max(0, 1 - (d - 1)^2 / 4)`` (AMP): 1 at d = 1, 0 at d <= -1
    and at d >= 3. "logistic": ``-log(1 - s(d))``, which has no bound of its own.
    """
    if loss == "least_squares":
        reward = (1.0 - 0.25 * (logits - 1.0).square()).clamp(min=0.0)
    else:
        reward = softplus(logits)  # -log(1 - s(d)) = log(1 + e^d), without overflow
    return reward.clamp(max=clip)


def logits_and_penalty(
    network: Callable[[Tensor], Tensor], samples: Tensor
) -> tuple[Tensor, Tensor]:
    """Logits (B,) of (B, D) samples and the () mean squared norm of their gradients.

    Without this penalty a discriminator becomes so steep that its reward shows no direction
    (Mescheder et al. 2018, arXiv:1801.04406). It can be differentiated.
    """
    samples = samples.detach().requires_grad_()
    logits = network(samples)
    (gradient,) = torch.autograd.grad(logits.sum(), samples, create_graph=True)
    return logits, gradient.square().sum(-1).mean()
