"""How hard it is to tell a policy's motion from a real one: a measure of its own.

The discriminator that a policy was trained against is no judge of it: the policy has learnt what
that one overlooks, and two policies have had two of them. Here every policy gets a new one, with
the same training, and is judged by samples that it has not seen.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from agents.amp.config import AMPConfig
from agents.amp.discriminator import Discriminator, DiscriminatorTrainer
from agents.amp.losses import style_reward
from agents.amp.replay import usable
from agents.metrics import Metrics

_HELD_OUT = 4  # one block in so many is held out
_FEWEST = 32  # samples of either kind, below which the figures would be noise


class StyleScore(NamedTuple):
    """Figures of samples that the discriminator was not trained on."""

    score: float
    """``2 (1 - accuracy)`` in [0, 1]: 1 if no better than guessing, 0 if always right."""
    accuracy: float
    """Mean of the shares of real and of policy samples that are told right; 0.5 is guessing."""
    auc: float
    """Chance that a real sample has a larger logit than one of the policy; 0.5 is guessing."""
    reward: float
    """Mean style reward (least squares, as in AMP) of the policy's samples, in [0, 1]."""
    reward_real: float
    """The same of the real samples; both are 0.75 if nothing can be told."""
    samples: int
    """Held-out samples of each kind, the fewer of the two."""


def style_score(
    real: Tensor,
    policy: Tensor,
    *,
    hidden: tuple[int, ...] = (256, 128),
    updates: int = 500,
    batch_size: int = 256,
    lr: float = 1e-3,
    grad_penalty: float = 1.0,
    block: int = 1,
    seed: int = 0,
) -> StyleScore:
    """Train a discriminator on three quarters of the samples and judge it by the rest.

    Only scores with equal settings and about equal numbers of samples compare. Where all motions
    are easily told from real ones and the score is 0, ``auc`` and ``reward`` may still differ.

    Args:
        real: (R, D) raw samples of the kind that AMP judges, on the device to compute on.
        policy: (P, D) likewise, of a policy.
        hidden, batch_size, lr, grad_penalty: of the discriminator, with least squares and Adam.
        updates: its training.
        block: consecutive rows that are held out together. If rows are in the order of time,
            neighbours are nearly copies, and a block should last longer than they resemble.
        seed: of weights, batches and split.

    Raises:
        ValueError: if sizes differ, or there are fewer than 32 usable samples for training and
            for judgement.
    """
    if real.ndim != 2 or policy.ndim != 2 or real.shape[1] != policy.shape[1]:
        raise ValueError(
            f"real {tuple(real.shape)} and policy {tuple(policy.shape)} must be (rows, D) of one D"
        )
    generator = torch.Generator().manual_seed(seed)
    sets = [_split(rows, block, generator) for rows in (real, policy)]
    (real_train, real_test), (policy_train, policy_test) = sets
    fewest = min(len(rows) for pair in sets for rows in pair)
    if fewest < _FEWEST:
        raise ValueError(
            f"{len(real)} real and {len(policy)} policy samples in blocks of {block} leave "
            f"{fewest} usable ones on one side, expected {_FEWEST} or more: give more samples or "
            "smaller blocks"
        )
    config = AMPConfig(hidden=hidden, lr=lr, grad_penalty=grad_penalty)
    judge = Discriminator(real.shape[1], config, generator).to(real.device)
    for rows in (real_train, policy_train):
        judge.normalizer.update(rows)
    trainer, metrics = DiscriminatorTrainer(judge, config), Metrics(real.device)
    for _ in range(updates):
        batches = [
            rows[torch.randint(len(rows), (batch_size,), generator=generator).to(rows.device)]
            for rows in (real_train, policy_train)
        ]
        trainer.step(*batches, metrics)
    with torch.no_grad():
        return _judge(judge(real_test), judge(policy_test))


def _split(rows: Tensor, block: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Training and held-out rows, the usable ones, of blocks dealt at random."""
    blocks = -(-len(rows) // block)
    held_out = torch.randperm(blocks, generator=generator) % _HELD_OUT == 0
    held_out = held_out.repeat_interleave(block)[: len(rows)].to(rows.device)
    good = usable(rows)
    return rows[good & ~held_out], rows[good & held_out]


def _judge(real: Tensor, policy: Tensor) -> StyleScore:
    # A logit of exactly zero is half right either way, as an untrained head gives.
    right = (real.sign().mean() - policy.sign().mean()).item()
    accuracy = 0.5 + 0.25 * right
    below = torch.searchsorted(policy.sort().values, real).double()
    upto = torch.searchsorted(policy.sort().values, real, right=True).double()
    return StyleScore(
        score=min(1.0, max(0.0, 2.0 * (1.0 - accuracy))),
        accuracy=accuracy,
        auc=(0.5 * (below + upto).mean() / len(policy)).item(),
        reward=style_reward(policy, "least_squares").mean().item(),
        reward_real=style_reward(real, "least_squares").mean().item(),
        samples=min(len(real), len(policy)),
    )
