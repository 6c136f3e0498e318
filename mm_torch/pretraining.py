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
        stop: asked before every control step and every update; the lesson ends there.

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
    stop = stop or (lambda: False)
    if config.teacher == "statics":
        known = task.library.activations
        return _rounds(
            policy, env, config, mapping, lambda: known(task.clip, task.next_frame), seed, report,
            stop,
        )  # fmt: skip
    expert = Expert(task, mapping, processes=config.processes)
    try:
        return _rounds(policy, env, config, mapping, expert.excitations, seed, report, stop)
    finally:
        expert.close()


class _Asked:
    """Observations and what the teacher would do there, of the whole lesson in one place."""

    def __init__(self, config: PretrainingConfig, env: ImitationEnv) -> None:
        led = min(config.led_rounds, config.rounds)
        own = (config.rounds - led) * -(-config.steps // config.every)
        most = (led * config.steps + own) * env.num_envs * (1 + config.mirror)
        self._obs = torch.empty(most, env.obs_dim, device=env.device)
        self._label = torch.empty(most, env.action_dim, device=env.device)
        self.count = 0

    def add(self, obs: Tensor, label: Tensor) -> None:
        end = self.count + len(obs)
        self._obs[self.count : end], self._label[self.count : end] = obs, label
        self.count = end

    def sample(self, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        device = self._obs.device
        rows = torch.randint(self.count, (size,), generator=generator, device=device)
        return self._obs[rows], self._label[rows]


def _rounds(
    policy: ActorCritic,
    env: ImitationEnv,
    config: PretrainingConfig,
    mapping: str,
    teacher: Callable[[], Tensor],
    seed: int,
    report: Callable[[str], None] | None,
    stop: Callable[[], bool],
) -> tuple[int, float]:
    """The lesson itself, by a teacher that says how to excite the bodies as they are."""
    device = env.device
    generator = torch.Generator(device).manual_seed(seed)
    act, invert = MeanExcitation(policy, mapping, _NODES), INVERSES[mapping]
    mirrored = MirroredTask(env.task) if config.mirror else None
    optimizer = torch.optim.Adam(policy.actor.parameters(), lr=config.lr)
    asked = _Asked(config, env)
    error, steps = torch.zeros((), device=device), 0
    now = env.reset()
    for round_ in range(config.rounds):
        leads, visited = round_ < config.led_rounds, []
        with torch.no_grad():
            for step in range(config.steps):
                if stop():
                    return steps * env.num_envs, float(error.sqrt())
                steps += 1
                visited.append(now.nan_to_num(0.0, 0.0, 0.0))
                excitation = act.excitation(now)
                if leads or step % config.every == 0:
                    label = teacher()
                    asked.add(visited[-1], label)
                    if mirrored is not None:
                        image = mirrored.observe().nan_to_num(0.0, 0.0, 0.0)
                        asked.add(image, mirrored.muscles(label))
                    excitation = label if leads else excitation
                noise = torch.randn(excitation.shape, generator=generator, device=device)
                action = invert((excitation + _NOISE * noise).clamp(0.0, 1.0))
                now = policy.normalizer.fill_nonfinite(env.step(action).obs)
        policy.normalizer.update(torch.stack(visited))
        losses = []
        for group in optimizer.param_groups:
            group["lr"] = config.lr * linear_schedule(round_ / config.rounds, config.lr_floor)
        for _ in range(config.updates):
            if stop():
                break
            obs, label = asked.sample(config.batch, generator)
            loss = (act.excitation(obs) - label).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        error = torch.stack(losses).mean() if losses else error
        if report is not None:
            report(
                f"pretraining: round {round_ + 1} of {config.rounds}, {asked.count:,} states, "
                f"excitations off by {float(error.sqrt()):.3f}"
            )
    return steps * env.num_envs, float(error.sqrt())
