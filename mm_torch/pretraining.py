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

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from agents import ActorCritic, linear_schedule
from agents.losses import imitation_loss
from agents.metrics import Metrics
from agents.precision import autocast
from cfg.errors import UserError
from cfg.schema import PretrainingConfig
from mm_torch.action import INVERSES, MeanExcitation
from mm_torch.env import ImitationEnv
from mm_torch.expert import Expert
from mm_torch.lesson_memory import LessonMemory
from mm_torch.mirrored_task import MirroredTask
from mm_torch.stage_clock import wait

# Excitation noise while acting, at most: states around those that the policy comes to. Noise
# excites muscles that are silent, which slows a walk down, so worlds have less and less of it: a
# policy that has only seen bodies with noise gets ahead of its reference without.
_NOISE = 0.05
# Of the mean over the policy's own noise: fewer than a policy is played with, which saves a quarter
# of an update's time.
_NODES = 5


class Lesson:
    """Trains an actor and its normaliser, in place, by rounds of acting and regression.

    Its state is that after some number of whole rounds; an interrupted one is taken back, so that
    a lesson that is resumed ends like one that was not interrupted.

    Attributes:
        round: rounds given.
        steps: control steps simulated in them, over all worlds.
        seconds: that they took.
        error: root mean square error of the excitations in the last one.
    """

    def __init__(
        self,
        policy: ActorCritic,
        env: ImitationEnv,
        config: PretrainingConfig,
        mapping: str,
        seed: int,
        state: dict[str, Any] | None = None,
    ) -> None:
        """Prepare.

        Args:
            policy: untrained, or as it was when the lesson was interrupted; on the environment's
                device.
            env: any state, or the one it was interrupted in. It is left somewhere, reset it.
            config: rounds, steps and updates.
            mapping: from action to excitation, a key of `INVERSES`.
            seed: of noise and minibatches.
            state: `state_dict` of an interrupted lesson, to go on with.

        Raises:
            UserError: the motions have no activations, the mapping no inverse, the teacher cannot
                be had for this body, or the state is of another lesson.
        """
        if mapping not in INVERSES:
            raise UserError(
                f"action.mapping={mapping}: pretraining needs one of {', '.join(INVERSES)}; or set "
                f"pretraining.rounds=0"
            )
        if not env.task.library.has_activations:
            raise UserError(
                "pretraining needs motions with activations: set reset.activation=statics, which "
                "computes them, or pretraining.rounds=0"
            )
        self._policy, self._env, self._config = policy, env, config
        self._act, self._invert = MeanExcitation(policy, mapping, _NODES), INVERSES[mapping]
        self._expert = None
        if config.teacher == "muscle_control":
            self._expert = Expert.of(env.task, mapping, config, config.processes)
        self._mirrored = MirroredTask(env.task) if config.mirror else None
        self._optimizer = torch.optim.Adam(policy.actor.parameters(), lr=config.lr, fused=True)
        self._generator = torch.Generator(env.device).manual_seed(seed)
        self._noise = _NOISE * torch.linspace(0.0, 1.0, env.num_envs, device=env.device)[:, None]
        self._asked = LessonMemory(config, env)
        self.round, self.steps, self.seconds, self.error = 0, 0, 0.0, 0.0
        self._teaching = 0.0  # s, of the teacher, in this round
        if state is None:
            self._obs = env.reset()
        else:
            self._resume(state)

    @property
    def progress(self) -> float:
        """How much of the lesson was given, 0 to 1, by rounds or by minutes, whichever is more."""
        limit = 60.0 * self._config.minutes
        by_time = self.seconds / limit if limit else 0.0
        return min(1.0, max(self.round / self._config.rounds, by_time))

    def give(
        self,
        report: Callable[[dict[str, float]], None] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> bool:
        """Give the rounds that are left; return whether all were given.

        Args:
            report: given the statistics of every round (named as in :mod:`mm_torch.run_log`).
            stop: asked before every control step and every update; the lesson ends there.
        """
        stop = stop or (lambda: False)
        while self.progress < 1.0:
            before, start = self._snapshot(), time.perf_counter()
            metrics, self._teaching = Metrics(self._env.device), 0.0
            try:
                with _one_thread():
                    complete = self._visit(stop, metrics)
                wait(self._env.device)
                middle = time.perf_counter()
                complete = complete and self._learn(stop)
            except UserError:
                # Schedulers send SIGTERM to all processes of a job, the teacher's too.
                if not stop():
                    raise
                complete = False
            if not complete:
                self._take_back(before)
                return False
            end = time.perf_counter()
            made = self._config.steps * self._env.num_envs
            self.round += 1
            self.steps += made
            self.seconds += end - start
            if report is not None:
                report(metrics.to_floats() | {
                    "lesson/round": self.round,
                    "lesson/states": self._asked.count,
                    "lesson/error": self.error,
                    "learning_rate": self._optimizer.param_groups[0]["lr"],
                    "collection_time": middle - start - self._teaching,
                    "teacher_time": self._teaching,
                    "learning_time": end - middle,
                    "steps_per_second": made / (end - start),
                })  # fmt: skip
        return True

    def close(self) -> None:
        """End the teacher's processes."""
        if self._expert is not None:
            self._expert.close()

    def state_dict(self) -> dict[str, Any]:
        """What continues the lesson exactly, beside the policy and the environment.

        It holds every state asked about: gigabytes, for a long lesson.
        """
        obs, label = self._asked.content()
        return {
            "round": self.round, "steps": self.steps, "seconds": self.seconds,
            "error": self.error, "obs": obs, "label": label,
            "optimizer": self._optimizer.state_dict(), "generator": self._generator.get_state(),
        }  # fmt: skip

    def _resume(self, state: dict[str, Any]) -> None:
        try:
            self._asked.add(state["obs"], state["label"])
            self._optimizer.load_state_dict(state["optimizer"])
        except UserError:
            raise  # no memory
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"the checkpoint's lesson is another one than pretraining.* and observation.* "
                f"say: {str(error).splitlines()[0]}"
            ) from error
        self._generator.set_state(state["generator"].cpu())
        self.round, self.steps, self.error = (state[key] for key in ("round", "steps", "error"))
        self.seconds = state.get("seconds", 0.0)  # not in those of earlier versions
        self._obs = self._observe()

    def _observe(self) -> Tensor:
        return self._policy.normalizer.fill_nonfinite(self._env.task.observe())

    @torch.no_grad()
    def _visit(self, stop: Callable[[], bool], metrics: Metrics) -> bool:
        """Act, and ask the teacher on the way; return whether to the end of the round."""
        config, leads, visited = self._config, self.round < self._config.led_rounds, []
        normalizer = self._policy.normalizer
        for step in range(config.steps):
            if stop():
                return False
            visited.append(self._obs.nan_to_num(0.0, 0.0, 0.0))
            excitation = self._act.excitation(self._obs)
            if leads or step % config.every == 0:
                label = self._teach()
                self._asked.add(visited[-1], label)
                if self._mirrored is not None:
                    image = self._mirrored.observe().nan_to_num(0.0, 0.0, 0.0)
                    self._asked.add(image, self._mirrored.muscles(label))
                excitation = label if leads else excitation
            noise = torch.randn(
                excitation.shape, generator=self._generator, device=self._env.device
            )
            action = self._invert((excitation + self._noise * noise).clamp(0.0, 1.0))
            result = self._env.step(action)
            self._obs = normalizer.fill_nonfinite(result.obs)
            metrics.add("reward", result.reward)
            metrics.add("terminated", result.terminated)
            metrics.add("truncated", result.truncated)
            for name, diagnostic in result.info.items():
                metrics.add(f"info/{name}", diagnostic)
        normalizer.update(torch.stack(visited))
        return True

    def _teach(self) -> Tensor:
        """How the teacher would excite the bodies as they are, (nworld, nu)."""
        task = self._env.task
        if self._expert is None:
            return task.library.activations(task.clip, task.next_frame)
        wait(self._env.device)  # or the simulation's time would count as the teacher's
        start = time.perf_counter()
        excitations = self._expert.excitations()
        self._teaching += time.perf_counter() - start
        return excitations

    def _learn(self, stop: Callable[[], bool]) -> bool:
        """Make the round's updates; return whether all of them."""
        config, squared = self._config, []
        for group in self._optimizer.param_groups:
            group["lr"] = config.lr * linear_schedule(self.progress, config.lr_floor)
        for _ in range(config.updates):
            if stop():
                return False
            obs, label = self._asked.sample(config.batch, self._generator)
            with autocast(config.precision, obs.device):
                excitation = self._act.excitation(obs)
            self._optimizer.zero_grad()
            imitation_loss(excitation, label, config.loss).backward()
            self._optimizer.step()
            squared.append((excitation.detach() - label).square().mean())
        self.error = float(torch.stack(squared).mean().sqrt())
        return True

    def _snapshot(self) -> dict[str, Any]:
        parts = (self._policy.state_dict(), self._optimizer.state_dict())
        policy, optimizer = copy.deepcopy(parts)
        return {
            "policy": policy, "optimizer": optimizer, "env": self._env.state_dict(),
            "generator": self._generator.get_state(), "asked": self._asked.count,
        }  # fmt: skip

    def _take_back(self, before: dict[str, Any]) -> None:
        self._policy.load_state_dict(before["policy"])
        self._optimizer.load_state_dict(before["optimizer"])
        self._env.load_state_dict(before["env"])
        self._generator.set_state(before["generator"])
        self._asked.count = before["asked"]
        self._obs = self._observe()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Torch works in one thread: others, waiting for more, would keep cores from the simulation."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
