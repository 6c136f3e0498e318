"""A policy's first lesson: to excite as a teacher would that knows the body's mechanics.

The policy acts, and at states that it comes to it is shown what the teacher would do there (DAgger,
Ross, Gordon & Bagnell 2011), so that it also answers where it has left the reference. No reward is
looked at. Two teachers are there to choose from:

- statics: the activations that static optimisation finds for the reference's next frame. They hold
  the body on the reference for a few tenths of a second, open loop: the policy need not find out
  which muscles carry which joint, but has yet to learn to correct.
- muscle_control: computed muscle control (:mod:`mm_torch.expert`), which looks at the body and
  corrects, balance included; for bodies that walk. Some 130 states a second and core.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from agents import ActorCritic, linear_schedule
from cfg.errors import UserError
from cfg.schema import PretrainingConfig
from mm_torch.action import INVERSES, MeanExcitation
from mm_torch.env import ImitationEnv
from mm_torch.expert import Expert
from mm_torch.mirrored_task import MirroredTask

# Excitation noise while acting: states around those that the policy comes to.
_NOISE = 0.05
# Of the mean over the policy's own noise: fewer than a policy is played with, which saves a quarter
# of an update's time.
_NODES = 5


def pretrain(
    policy: ActorCritic,
    env: ImitationEnv,
    config: PretrainingConfig,
    mapping: str,
    seed: int,
    report: Callable[[str], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> tuple[int, float]:
    """Train the actor and its normaliser, in place, by rounds of acting and regression.

    Args:
        policy: untrained, on the environment's device.
        env: any state; it is left somewhere, reset it.
        config: rounds, steps and updates.
        mapping: from action to excitation, a key of `INVERSES`.
        seed: of noise and minibatches.
        report: told of every round in a line.
        stop: asked before every control step; the lesson ends there, its last round unlearnt.

    Returns:
        The control steps simulated, over all worlds, and the root mean square error of the
        excitations in the last round.

    Raises:
        UserError: the motions have no activations, the mapping no inverse, or the teacher cannot
            be had for this body.
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
    act, invert = MeanExcitation(policy, mapping, _NODES), INVERSES[mapping]
    expert = Expert(task, mapping) if config.teacher == "muscle_control" else None
    mirrored = MirroredTask(task) if config.mirror else None
    optimizer = torch.optim.Adam(policy.actor.parameters(), lr=config.lr)
    seen: list[Tensor] = []
    shown: list[Tensor] = []
    error, steps = torch.zeros((), device=device), 0
    for round_ in range(config.rounds):
        leads, visited = round_ < config.led_rounds, []
        obs = env.reset()
        with torch.no_grad():
            for step in range(config.steps):
                if stop is not None and stop():
                    return steps * env.num_envs, float(error.sqrt())
                steps += 1
                visited.append(obs.nan_to_num(0.0, 0.0, 0.0))
                excitation = act.excitation(obs)
                if leads or step % config.every == 0:
                    if expert is not None:
                        label = expert.excitations()
                    else:
                        label = task.library.activations(task.clip, task.next_frame)
                    seen.append(visited[-1])
                    shown.append(label)
                    if mirrored is not None:
                        seen.append(mirrored.observe().nan_to_num(0.0, 0.0, 0.0))
                        shown.append(mirrored.muscles(label))
                    excitation = label if leads else excitation
                noise = torch.randn(excitation.shape, generator=generator, device=device)
                action = invert((excitation + _NOISE * noise).clamp(0.0, 1.0))
                obs = policy.normalizer.fill_nonfinite(env.step(action).obs)
        policy.normalizer.update(torch.stack(visited))
        inputs, targets = torch.cat(seen), torch.cat(shown)
        error = torch.zeros((), device=device)
        for group in optimizer.param_groups:
            group["lr"] = config.lr * linear_schedule(round_ / config.rounds, config.lr_floor)
        for _ in range(config.updates):
            rows = torch.randint(len(inputs), (config.batch,), generator=generator, device=device)
            loss = (act.excitation(inputs[rows]) - targets[rows]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            error += loss.detach() / config.updates
        if report is not None:
            report(
                f"pretraining: round {round_ + 1} of {config.rounds}, {len(inputs):,} states, "
                f"excitations off by {float(error.sqrt()):.3f}"
            )
    return steps * env.num_envs, float(error.sqrt())
