"""The discriminator of motions: its networks, and one step of its training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from agents.amp.config import AMPConfig
from agents.amp.difference_scale import DifferenceScale
from agents.amp.losses import adversarial_loss, logits_and_penalty
from agents.metrics import Metrics
from agents.normalizer import RunningNormalizer
from agents.optimizers import PolicyOptimizer


class Discriminator(nn.Module):
    """Raw (..., D) samples to (...,) logits, larger where they pass for real.

    Plain ReLU layers behind a normaliser of their own: the gradient penalty bounds the slope of
    the logit, which layer normalisation would work against. The head starts at zero, so that
    every sample has the same reward until the discriminator has learnt something.
    """

    def __init__(self, dim: int, config: AMPConfig, generator: torch.Generator) -> None:
        """Args: ``dim`` D of a sample; ``generator`` (of the CPU) of the weights."""
        super().__init__()
        self.normalizer = (RunningNormalizer if config.kind == "amp" else DifferenceScale)(dim)
        layers: list[nn.Module] = []
        for fan_in, width in zip((dim, *config.hidden), config.hidden, strict=False):
            linear = nn.Linear(fan_in, width)
            nn.init.kaiming_uniform_(linear.weight, nonlinearity="relu", generator=generator)
            nn.init.uniform_(linear.bias, -(fan_in**-0.5), fan_in**-0.5, generator=generator)
            layers += [linear, nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(config.hidden[-1], 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, samples: Tensor) -> Tensor:
        """Logits (...,) of raw (..., D) samples."""
        return self.network(self.normalizer(samples))

    def network(self, normalized: Tensor) -> Tensor:
        """Logits (...,) of normalised (..., D) samples."""
        return self.head(self.body(normalized)).squeeze(-1)

    def squared_weights(self) -> Tensor:
        """() sum of the squared weights of all layers, without biases."""
        layers = [layer for layer in self.modules() if isinstance(layer, nn.Linear)]
        return torch.stack([layer.weight.square().sum() for layer in layers]).sum()


class DiscriminatorTrainer:
    """Gradient steps on a discriminator: Adam, skipped where a gradient is not finite."""

    def __init__(self, discriminator: Discriminator, config: AMPConfig) -> None:
        self.discriminator, self.config = discriminator, config
        self.optimizer = PolicyOptimizer(discriminator.parameters(), lr=config.lr)

    def step(self, real: Tensor, policy: Tensor, metrics: Metrics) -> None:
        """Learn to tell (R, D) real from (P, D) policy samples, raw ones, and report it.

        Adds, before the step: ``style/accuracy_real`` and ``style/accuracy_policy`` (shares on
        the right side of zero), ``style/logit_real`` and ``style/logit_policy``, ``style/loss``
        (all terms), ``style/grad_penalty`` (mean squared gradient of the logit, without its
        weight) and ``style/grad_norm`` (of the weights, before clipping).
        """
        config, judge = self.config, self.discriminator
        real, policy = judge.normalizer(real), judge.normalizer(policy)
        # ADD's real samples are a single point, around which alone the slope says little.
        if config.kind == "amp":
            real_logits, penalty = logits_and_penalty(judge.network, real)
            policy_logits = judge.network(policy)
        else:
            real_logits = judge.network(real)
            policy_logits, penalty = logits_and_penalty(judge.network, policy)
        loss = adversarial_loss(real_logits, policy_logits, config.loss)
        loss = loss + config.grad_penalty * penalty
        loss = loss + config.logit_reg * judge.head.weight.square().sum()
        loss = loss + config.weight_decay * judge.squared_weights()
        self.optimizer.zero_grad()
        loss.backward()
        grad_norm = self.optimizer.step()

        applied = grad_norm.isfinite()
        for name, value in (
            ("accuracy_real", real_logits > 0),
            ("accuracy_policy", policy_logits < 0),
            ("logit_real", real_logits),
            ("logit_policy", policy_logits),
            ("grad_norm", grad_norm),
            ("grad_penalty", penalty),
            ("loss", loss),
        ):
            metrics.add(f"style/{name}", value.detach(), weight=applied)
