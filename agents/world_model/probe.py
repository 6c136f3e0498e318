"""Whether the model can be exploited: excitations that are best in it, replayed in the real world.

A policy that climbs the model's gradient ends up where the model is wrong in its favour, and no
error on remembered steps tells of that. The probe goes there on purpose: for a few worlds it
climbs the gradient of the imagined reward over the excitations themselves, then those worlds are
excited so for real while the others follow the policy. What they do is remembered like any other
step, so that the model learns where it was wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from agents.metrics import Metrics
from agents.world_model.imagine import Imagined, Step, imagine
from agents.world_model.interface import Goal, ImaginedTask, ModelState

_LR = 0.1  # of logits of excitations
_INSIDE = 1e-3  # the first excitations keep this distance from 0 and 1


class Probe(NamedTuple):
    """Excitations to replay.

    Attributes:
        excitation: (T, W, nu) of the first W worlds.
        policy: () mean imagined reward of the policy from the same states, 1 = perfect.
        best: () that of these excitations.
    """

    excitation: Tensor
    policy: Tensor
    best: Tensor


def climb(
    step_model: Step,
    task: ImaginedTask,
    act: Callable[[Tensor], Tensor],
    start: ModelState,
    goal: Goal,
    last: Tensor,
    steps: int,
    updates: int,
) -> Probe:
    """Find the excitations that the model likes best, from the policy's own on.

    Args:
        step_model: the dynamics, whose parameters need no gradient.
        task: the task.
        act: observation (W, obs_dim) to the policy's excitation (W, nu).
        start, goal, last: states, goals and last excitations of W worlds, as of :func:`imagine`.
        steps: T.
        updates: steps of Adam along the gradient.
    """
    silent = torch.zeros(steps, *last.shape, dtype=last.dtype, device=last.device)

    def run(excite: Callable[[Tensor], Tensor]) -> Imagined:
        return imagine(step_model, task, excite, start, goal, last, silent)

    chosen: list[Tensor] = []

    def remembered(obs: Tensor) -> Tensor:
        chosen.append(act(obs).clamp(0.0, 1.0))
        return chosen[-1]

    with torch.no_grad():
        policy = _mean_reward(run(remembered))
    first = torch.stack(chosen)
    logits = first.clamp(_INSIDE, 1.0 - _INSIDE).logit().requires_grad_(True)
    optimizer = torch.optim.Adam([logits], lr=_LR)

    def replayed() -> Imagined:
        ahead = iter(logits.sigmoid().unbind(0))
        return run(lambda obs: next(ahead))

    with torch.enable_grad():
        for _ in range(updates):
            path = replayed()
            loss = -(path.gain * path.inside).sum(0).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        best = _mean_reward(replayed())
    excitation = logits.detach().sigmoid()
    # A model that runs away has no gradient to follow: such worlds do what the policy would.
    return Probe(torch.where(excitation.isfinite(), excitation, first), policy, best)


def report(probe: Probe, reward: Tensor, counted: Tensor, metrics: Metrics) -> None:
    """Compare a probe with what came of it.

    Args:
        probe: the excitations, of W of N worlds.
        reward: (T, N) real rewards of those steps, 1 = perfect.
        counted: (T, N) 1 for the steps of the episodes that the probe began in, else 0.
        metrics: gets mean rewards, imagined and real, of the probe and of the policy.
    """
    worlds = probe.excitation.shape[1]
    metrics.add("probe_imagined", probe.best)
    metrics.add("probe_imagined_policy", probe.policy)
    parts = {"probe_real": slice(None, worlds), "probe_real_policy": slice(worlds, None)}
    for name, part in parts.items():
        total = counted[:, part].sum().clamp_min(1.0)
        metrics.add(name, (reward[:, part] * counted[:, part]).sum() / total)


def _mean_reward(path: Imagined) -> Tensor:
    counted = path.inside * path.alive[:-1]
    return (path.reward * counted).sum() / counted.sum().clamp_min(1.0)
