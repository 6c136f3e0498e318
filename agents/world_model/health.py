"""Whether the model deserves trust: its errors, and imagined against real reward."""

from __future__ import annotations

import torch

from agents.metrics import Metrics
from agents.world_model.dynamics import DynamicsModel
from agents.world_model.fitting import explained, open_loop_errors
from agents.world_model.imagine import Imagined
from agents.world_model.replay import Replay

HORIZONS = (1, 8, 16, 32)


def study_fresh_steps(model: DynamicsModel, replay: Replay, steps: int, metrics: Metrics) -> None:
    """Judge the model on the last ``steps`` rows, unseen so far, then take in their statistics."""
    device = model.outputs.count.device
    known = model.outputs.count > 0
    rows = torch.arange(replay.filled - steps, replay.filled - 1, device=device)
    rows = rows.repeat_interleave(replay.worlds)
    worlds = torch.arange(replay.worlds, device=device).repeat(steps - 1)
    states, excitation, weight = replay.window(rows, worlds, 1)
    state, after = (states.map(lambda part, i=i: part[i]) for i in (0, 1))
    r2 = explained(model, state, excitation[0], after, weight[0])
    metrics.add("model_r2", r2.mean(), weight=known.double())
    metrics.add("model_r2_worst", r2.min(), weight=known.double())
    # Rows that are not finite are left out of statistics.
    ended = weight[0].unsqueeze(-1) == 0
    velocity = after.velocity.masked_fill(ended, torch.nan)
    model.fit_statistics(state, excitation[0], after._replace(velocity=velocity))


def last_starts(replay: Replay, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Rows and worlds of the latest state of every world with enough real steps after it."""
    steps = min(max(HORIZONS), replay.filled - 1)
    worlds = torch.arange(replay.worlds, device=device)
    return torch.full_like(worlds, replay.filled - 1 - steps), worlds, steps


@torch.no_grad()
def examine(
    model: DynamicsModel, replay: Replay, path: Imagined, maximum: float, metrics: Metrics
) -> None:
    """Compare the model with what happened from ``last_starts``.

    Args:
        model: the dynamics.
        replay: real steps.
        path: imagined by the policy from the same starts.
        maximum: reward of a perfect real step.
        metrics: gets errors over several steps, and imagined and real reward.
    """
    rows, worlds, steps = last_starts(replay, path.reward.device)
    horizons = tuple(h for h in HORIZONS if h <= steps)
    for name, error in open_loop_errors(model, replay, rows, worlds, horizons).items():
        metrics.add(name, error)
    length = len(path.reward)
    _, _, weight = replay.window(rows, worlds, length)
    times = rows + torch.arange(length, device=rows.device).unsqueeze(1)
    real = replay.take("reward", times, worlds.expand_as(times))
    counted = weight * path.inside
    total = counted.sum().clamp_min(1.0)
    metrics.add("imagined_reward", (path.reward * counted).sum() / total)
    metrics.add("real_reward", (real * counted).sum() / total / maximum)
