"""A policy's first lesson: the activations that static optimisation finds for the reference.

They hold the body on the reference for a few tenths of a second, open loop. A policy that starts
from them need not find out which muscles carry which joint; what it has to learn is to correct.
The policy acts, and at every state that it comes to it is shown the activation of the reference
frame that comes next (DAgger, Ross, Gordon & Bagnell 2011), so that it also answers where it has
left the reference. No reward is looked at.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agents import ActorCritic
from cfg.errors import UserError
from cfg.schema import PretrainingConfig
from mm_torch.action import INVERSES, MeanExcitation
from mm_torch.env import ImitationEnv

# Excitation noise while acting: states around those that the policy comes to.
_NOISE = 0.05


def pretrain(
    policy: ActorCritic, env: ImitationEnv, config: PretrainingConfig, mapping: str, seed: int
) -> tuple[int, float]:
    """Train the actor and its normaliser, in place, by rounds of acting and regression.

    Args:
        policy: untrained, on the environment's device.
        env: any state; it is left somewhere, reset it.
        config: rounds, steps and updates.
        mapping: from action to excitation, a key of `INVERSES`.
        seed: of noise and minibatches.

    Returns:
        The control steps simulated, over all worlds, and the root mean square error of the
        excitations in the last round.

    Raises:
        UserError: the motions have no activations, or the mapping no inverse.
    """
    task = env.task
    if mapping not in INVERSES:
        raise UserError(
            f"action.mapping={mapping}: pretraining needs one of {', '.join(INVERSES)}; or set "
            f"pretraining.rounds=0"
        )
    if not task.library.has_activations:
        raise UserError(
            "pretraining needs motions with activations: set reset.activation=statics, which "
            "computes them, or pretraining.rounds=0"
        )
    device = env.device
    generator = torch.Generator(device).manual_seed(seed)
    act, invert = MeanExcitation(policy, mapping), INVERSES[mapping]
    optimizer = torch.optim.Adam(policy.actor.parameters(), lr=config.lr)
    seen: list[Tensor] = []
    shown: list[Tensor] = []
    error = torch.zeros((), device=device)
    for _ in range(config.rounds):
        obs = env.reset()
        with torch.no_grad():
            for _ in range(config.steps):
                seen.append(obs.nan_to_num(0.0, 0.0, 0.0))
                shown.append(task.library.activations(task.clip, task.next_frame))
                excitation = act.excitation(obs)
                noise = torch.randn(excitation.shape, generator=generator, device=device)
                action = invert((excitation + _NOISE * noise).clamp(0.0, 1.0))
                obs = policy.normalizer.fill_nonfinite(env.step(action).obs)
        policy.normalizer.update(torch.stack(seen[-config.steps :]))
        inputs, targets = torch.cat(seen), torch.cat(shown)
        error = torch.zeros((), device=device)
        for _ in range(config.updates):
            rows = torch.randint(len(inputs), (config.batch,), generator=generator, device=device)
            loss = (act.excitation(inputs[rows]) - targets[rows]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            error += loss.detach() / config.updates
    return config.rounds * config.steps * env.num_envs, float(error.sqrt())
