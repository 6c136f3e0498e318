"""The training loop: collect, update, log, evaluate, save; resume where it stopped."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from cfg import UserError
from mm_torch.action import MeanExcitation
from mm_torch.assessment import assess, in_a_line
from mm_torch.build import make_agent, make_embodiment, make_env, make_task
from mm_torch.checkpoint import check_embodiment, save_checkpoint
from mm_torch.goal_task import GoalTask
from mm_torch.pretraining import Lesson
from mm_torch.run_log import RunLog, duration
from mm_torch.warm_start import warm_start

_LESSON_INTERVAL = 60.0  # s between looks at a policy in its first lesson (checkpoints/lesson.pt)


class Trainer:
    """One run. Its state after any number of iterations is a function of the configuration.

    Attributes:
        iteration: iterations done.
        steps: control steps done, over all worlds.
        iterations: iterations in all.
    """

    def __init__(
        self, config: DictConfig, folder: Path, checkpoint: dict[str, Any] | None = None
    ) -> None:
        """Make everything that the run needs; nothing is written yet.

        Args:
            config: the complete configuration.
            folder: the run's folder.
            checkpoint: content of a checkpoint to resume from.

        Raises:
            UserError: the configuration cannot be built, or the checkpoint is of another body.
        """
        if config.torch_threads:
            torch.set_num_threads(config.torch_threads)
        torch.manual_seed(config.seed)
        self.config, self.folder = config, folder
        self.embodiment = make_embodiment(config)
        if checkpoint is not None:
            check_embodiment(folder, checkpoint, self.embodiment)
        self.task = make_task(config, self.embodiment)
        if config.pretraining.rounds and isinstance(self.task, GoalTask):
            raise UserError(
                f"pretraining.rounds={config.pretraining.rounds}: needs a reference to follow, "
                f"which task.name={config.task.name} does not have: set it to 0"
            )
        self.env = make_env(config, self.task)
        self.agent = make_agent(config, self.task)
        self._evaluation_task = None
        self._lesson_due = config.pretraining.rounds > 0
        self._lesson: dict[str, Any] | None = None  # an interrupted one's state
        self._pretraining_steps = 0
        self.iteration, self.elapsed, self.best = 0, 0.0, -math.inf
        self.evaluations: dict[str, dict[str, float]] = {}
        learner = config.world_model if config.agent.name == "world_model" else config.agent
        per_iteration = self.env.num_envs * learner.num_steps
        self.iterations = math.ceil(config.total_steps / per_iteration)
        if not (self.iterations or self._lesson_due):
            raise UserError(
                "total_steps=0: nothing to train: set it to the steps after a first lesson, or "
                "pretraining.rounds to those of a lesson"
            )
        self._per_iteration = per_iteration
        self._stop = False
        if checkpoint is not None:
            self._restore(checkpoint)
        else:
            self._obs = self.env.reset()
            self.agent.warm_start_normalizer(self._obs)

    def warm_start(self, path: str | Path) -> None:
        """Begin with the policy of a checkpoint in place of an untrained one.

        A lesson (`pretraining.rounds`) is given to it all the same: that teaches it other motions.

        Raises:
            UserError: it does not fit.
        """
        warm_start(self.agent, path)

    @property
    def steps(self) -> int:
        """Control steps done, over all worlds."""
        return self.iteration * self._per_iteration + self._pretraining_steps

    @property
    def progress(self) -> float:
        """How far training has come, 0 to 1, by steps or by minutes, whichever is further."""
        limit = self.config.run.minutes
        by_time = self.elapsed / (60.0 * limit) if limit else 0.0
        by_steps = self.iteration / self.iterations if self.iterations else 1.0
        return min(1.0, max(by_steps, by_time))

    @property
    def finished(self) -> bool:
        """Whether the steps or the minutes are used up."""
        return self.progress >= 1.0

    def train(self, iterations: int | None = None) -> bool:
        """Train to the end (or for `iterations` more); return whether it was interrupted.

        Ctrl-C and SIGTERM finish the iteration (in a first lesson they take the round back), save
        and return; a second Ctrl-C stops at once.
        """
        config = self.config.run
        log = RunLog(self.folder, self.iteration, self.steps, config.progress_interval)
        last = self.iterations
        if iterations is not None:
            last = min(last, self.iteration + iterations)
        handlers = {s: signal.signal(s, self._interrupt) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            if not self.evaluations:
                self._evaluate(log, "untrained")
            if self._lesson_due:
                self._pretrain(log)
            if self.iteration == 0 and not self._stop:
                self.save("last")  # from here on there is something to resume
            while self.iteration < last and not self.finished and not self._stop:
                values = self._iterate()
                for line in self.env.faults.dump(self.folder / "faults"):
                    log.message(line)
                due = config.evaluate_interval and self.iteration % config.evaluate_interval == 0
                if due and not self.finished:
                    values |= self._evaluate(log, "latest")
                log.write(self.iteration, self.steps, values)
                ends = self.finished or self.iteration == last or self._stop
                log.progress(self._progress_line(values), last=ends)
                if self.iteration % config.checkpoint_interval == 0:
                    self.save("last")
            if self.finished and not self._stop:
                values = {"elapsed": self.elapsed} | self._evaluate(log, "trained")
                log.write(self.iteration, self.steps, values)
            self.save("last")
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            log.close()
        if self._stop:
            print(f"interrupted: saved {self.folder}/checkpoints/last.pt; go on with "
                  f"resume={self.folder}")  # fmt: skip
        return self._stop

    def save(self, name: str) -> None:
        """Write checkpoints/NAME.pt; "last" can be resumed from, others are small."""
        state = {
            "agent": self.agent.state_dict(),
            "iteration": self.iteration,
            "steps": self.steps,
            "pretraining_steps": self._pretraining_steps,
            "elapsed": self.elapsed,
            "best": self.best,
            "evaluations": self.evaluations,
            "sizes": {"obs": self.env.obs_dim, "action": self.env.action_dim},
        }
        if name == "last":
            state["env"] = self.env.state_dict()
            state["lesson_due"] = self._lesson_due
            if self._lesson is not None:
                state["lesson"] = self._lesson
        else:
            # A policy to use needs no memory of millions of steps, nor optimisers.
            for part in ("replay", "updates"):
                state["agent"].pop(part, None)
        path = self.folder / "checkpoints" / f"{name}.pt"
        save_checkpoint(path, self.config, self.embodiment, state)

    def close(self) -> None:
        """Release the simulators."""
        self.task.simulator.close()
        if self._evaluation_task is not None:
            self._evaluation_task.simulator.close()

    def pretrain(self, report: Callable[[dict[str, float]], None] | None = None) -> float:
        """Give the policy its first lesson (`pretraining.*`), or the rest of an interrupted one.

        Args:
            report: given the statistics of every round.

        Returns:
            The root mean square error of its excitations in the last round.
        """
        config, start = self.config, time.perf_counter()
        saved = start

        def after_round(values: dict[str, float]) -> None:
            nonlocal saved
            self._pretraining_steps = lesson.steps
            if report is not None:
                elapsed = self.elapsed + time.perf_counter() - start
                report(values | {"elapsed": elapsed})
            if time.perf_counter() - saved > _LESSON_INTERVAL:
                self.agent.adopt(self.agent.learner)
                self.save("lesson")
                saved = time.perf_counter()

        state, self._lesson = self._lesson, None
        lesson = Lesson(
            self.agent.learner, self.env, config.pretraining, config.action.mapping, config.seed,
            state,
        )  # fmt: skip
        del state
        try:
            self._lesson_due = not lesson.give(after_round, lambda: self._stop)
        finally:
            lesson.close()
        if self._lesson_due:
            self._lesson = lesson.state_dict()
        self._pretraining_steps = lesson.steps
        self.agent.adopt(self.agent.learner)
        if not self._lesson_due:
            self._obs = self.env.reset()
        self.elapsed += time.perf_counter() - start
        return lesson.error

    def _pretrain(self, log: RunLog) -> None:
        config, faults = self.config.pretraining, self.env.faults

        def report(values: dict[str, float]) -> None:
            for line in faults.dump(self.folder / "faults"):
                log.message(line)
            values |= faults.counts(values, config.steps * self.env.num_envs)
            log.write(self.iteration, self.steps, values)
            log.message(
                f"pretraining: round {values['lesson/round']} of {config.rounds}, "
                f"{values['lesson/states']:,} states, excitations off by "
                f"{values['lesson/error']:.3f}"
            )

        error = self.pretrain(report)
        log.message(
            f"pretraining: {self._pretraining_steps:,} steps, excitations off by {error:.3f}"
        )
        if not self._stop and not self.finished:  # then it is evaluated as what was trained
            self._evaluate(log, "pretrained")

    def _iterate(self) -> dict[str, float]:
        start, progress = time.perf_counter(), self.progress
        rollout, self._obs, collected = self.agent.collect(self.env, self._obs)
        middle = time.perf_counter()
        collected |= self.env.faults.counts(collected, self._per_iteration)
        learned = self.agent.update(rollout, progress)
        end = time.perf_counter()
        self.iteration += 1
        self.elapsed += end - start
        return {
            **collected,
            **learned,
            "elapsed": self.elapsed,
            "collection_time": middle - start,
            "learning_time": end - middle,
            "steps_per_second": self._per_iteration / (end - start),
        }

    def _evaluate(self, log: RunLog, which: str) -> dict[str, float]:
        """Evaluate the current policy on the training clips; keep the best checkpoint."""
        if self._evaluation_task is None:
            worlds = self.config.run.evaluate_worlds
            if not worlds and self.config.task.name != "imitation":
                worlds = self.env.num_envs
            self._evaluation_task = make_task(self.config, self.embodiment, worlds, evaluation=True)
        policy = MeanExcitation(self.agent.policy, self.config.action.mapping)
        to_end = self.config.run.evaluate_to_end
        summary, _ = assess(self._evaluation_task, policy, self.config, to_end)
        self.evaluations[which] = summary
        log.message(f"evaluation ({which}): {in_a_line(summary)}")
        if summary["return_per_step"] > self.best:
            self.best = summary["return_per_step"]
            self.save("best")
        return {f"evaluation/{name}": value for name, value in summary.items()}

    def _progress_line(self, values: dict[str, float]) -> str:
        left = self.elapsed * (1.0 - self.progress) / max(self.progress, 1e-9)
        maximum = self.task.maximum
        length = values.get("episode_length")
        return (
            f"{self.steps:,}/{self.iterations * self._per_iteration:,} steps  "
            f"{values['steps_per_second']:,.0f} steps/s  "
            f"reward {values['reward'] / maximum:.3f} of 1  "
            f"return {values.get('episode_return', math.nan):.1f}  "
            f"length {length if length is not None else math.nan:.0f}  "
            f"{self._quality(values)}  left {duration(left)}"
        )

    @staticmethod
    def _quality(values: dict[str, float]) -> str:
        if "mean_std" in values:
            return f"std {values['mean_std']:.2f}"
        return f"model R2 {values.get('model_r2', math.nan):.2f}"

    def _restore(self, checkpoint: dict[str, Any]) -> None:
        if "env" not in checkpoint:
            raise UserError("this checkpoint has no environment state: resume from last.pt")
        try:
            self.agent.load_state_dict(checkpoint["agent"])
            self.env.load_state_dict(checkpoint["env"])
        except (ValueError, RuntimeError) as error:
            raise UserError(
                f"checkpoint does not fit the configuration: {str(error).splitlines()[0]}"
            ) from error
        self.iteration = checkpoint["iteration"]
        self._pretraining_steps = checkpoint.get("pretraining_steps", 0)
        self._lesson_due = checkpoint.get("lesson_due", False)
        self._lesson = checkpoint.pop("lesson", None)  # gigabytes: let go of by whoever read them
        self.elapsed = checkpoint["elapsed"]
        self.best = checkpoint["best"]
        self.evaluations = dict(checkpoint["evaluations"])
        self._obs = self.task.observe()

    def _interrupt(self, number: int, frame: object) -> None:
        if self._stop:
            raise KeyboardInterrupt
        self._stop = True
