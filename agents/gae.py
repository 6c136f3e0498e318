"""Generalised advantage estimation."""

from __future__ import annotations

import torch
from torch import Tensor


def generalized_advantage(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    done: Tensor,
    gamma: float,
    lam: float,
) -> Tensor:
    """(T, N) advantages, equation 16 of Schulman et al. 2015 (arXiv:1506.02438).

    ``A[t] = delta[t] + gamma lam A[t + 1]`` with ``delta[t] = r[t] + gamma V'[t] - V[t]``. The
    recursion is cut where an episode ended. The bootstrap V' is zero where it *terminated*, and
    the value of the true last state where it was truncated.

    Args: all tensors are (T, N)
        rewards: reward of step t.
        values: V of the observation acted on at step t.
        next_values: V of the observation that step t led to, *before* any reset.
        terminated: bool, the episode ended at step t and the future is worth zero.
        done: bool, the episode ended at step t for any reason (terminated or truncated).
        gamma: discount per step, in [0, 1].
        lam: weight of longer returns, in [0, 1]: 0 is TD(0), 1 Monte Carlo.

    Raises:
        ValueError: if the shapes differ, because broadcasting would hide a mistake.
    """
    shapes = {tuple(x.shape) for x in (rewards, values, next_values, terminated, done)}
    if len(shapes) != 1 or rewards.ndim != 2:
        raise ValueError(f"all tensors must share one shape (T, N), got {sorted(shapes)}")
    delta = rewards + gamma * next_values.masked_fill(terminated, 0.0) - values
    carry = done.logical_not() * (gamma * lam)
    advantages = torch.empty_like(delta)
    running = torch.zeros_like(delta[0])
    for t in reversed(range(len(delta))):
        advantages[t] = running = delta[t] + carry[t] * running
    return advantages
