"""A task with a goal: bodies start as in the motions and then do what they are told.

It is the imitation task (the same simulator, starts, observation terms and environment) with
another reward, other ends of an episode, and commands in place of a reference that moves.
"""

from __future__ import annotations

from dataclasses import fields

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from cfg.errors import UserError
from cfg.schema import ObservationConfig
from mm_torch.goals import goal_class
from mm_torch.goals.goal import uniform
from mm_torch.motion_library import MotionLibrary
from mm_torch.task import ImitationTask, Outcome
from mm_torch.task_state import TaskState
from sim.simulator import Simulator


def needs_reference(term: str) -> bool:
    """Whether an observation term says something of a reference that moves."""
    return term.startswith("ahead_") or term.endswith("_error") or term == "phase"


class GoalTask(ImitationTask):
    """Every world has a command, which changes now and then, or once an episode in evaluation.

    Attributes:
        goal: what is asked for.
        left: (nworld,) control steps until the command changes.
        held: (nworld,) control steps for which the goal has been reached without a break.
        succeeded: (nworld,) bool, whether it was held for `task.hold` since the command was given.
        renew: whether commands change within an episode.
        gives_up: whether a body that has lost its goal ends its episode, as in training.
    """

    def __init__(
        self,
        config: DictConfig,
        simulator: Simulator,
        library: MotionLibrary,
        evaluation: bool = False,
    ) -> None:
        """Make the task; see :class:`mm_torch.task.ImitationTask`.

        Raises:
            UserError: a goal that the body cannot do, or terms that it does not have.
        """
        settings, body = OmegaConf.to_object(config).task, simulator.embodiment
        kind = goal_class(settings.name)
        if body.name not in kind.embodiments:
            raise UserError(
                f"task.name={settings.name}: needs embodiment={' or '.join(kind.embodiments)}, "
                f"got {body.name}"
            )
        missing = [site for site in kind.sites if site not in body.mimic_sites]
        if missing:
            raise UserError(
                f"task.name={settings.name}: needs the mimic site {missing[0]}, which the motions "
                f"of {body.name} do not have"
            )
        worlds, device = simulator.nworld, simulator.device
        self.goal = kind(settings, body, library, worlds)
        self._generator = torch.Generator(device).manual_seed(config.seed + 17)
        self._hold = round(settings.hold / simulator.control_dt)
        self._interval = tuple(seconds / simulator.control_dt for seconds in settings.resample)
        self.renew = self.gives_up = not evaluation
        self.left = torch.zeros(worlds, dtype=torch.long, device=device)
        self.held = torch.zeros_like(self.left)
        self.succeeded = torch.zeros(worlds, dtype=torch.bool, device=device)
        super().__init__(config, simulator, library, evaluation)

    @property
    def maximum(self) -> float:
        """Reward of a perfect step."""
        return 1.0

    def seed(self, seed: int) -> None:
        """Make the commands to come a function of a seed."""
        self._generator.manual_seed(seed)

    def place(self, mask: Tensor, clip: Tensor, frame: Tensor) -> None:
        """Put worlds (nworld,) bool on frames of clips, with new commands."""
        super().place(mask, clip, frame)
        self._command(mask)

    def observe(self) -> Tensor:
        """Return the observation (nworld, obs_dim): the terms of the body, then the command."""
        body = self.body
        here = self.reference()
        state = TaskState(body, here, here, torch.zeros_like(self.origin[:, 0]))
        return torch.cat((self.observation(state), self.goal.observe(body)), dim=-1)

    def step(self, action: Tensor) -> Outcome:
        """Advance every world by one control step under raw actions (nworld, nu)."""
        sim = self.simulator
        last_ctrl = sim.ctrl.clone()
        sim.step(self._to_excitation(action))
        self.steps = self.steps + 1
        self.goal.advance(sim.control_dt)
        body, invalid = self.body, sim.invalid.clone()
        reward = self.goal.reward(body)
        penalty = self.reward.penalty(action, body, last_ctrl, sim.last_qvel)
        reached = (self.goal.distance(body) < self.goal.tolerance) & ~invalid
        self.held = torch.where(reached, self.held + 1, 0)
        self.succeeded = self.succeeded | (self.held >= self._hold)
        terminated = self.goal.fallen(body) | invalid
        if self.gives_up:
            terminated = terminated | self.goal.lost(body)
        truncated = (self.steps >= self._max_steps) & ~terminated
        outcome = Outcome(
            reward=(reward + penalty).clamp_min(0.0).nan_to_num(0.0).masked_fill(invalid, 0.0),
            terms={"goal": reward},
            penalty=penalty,
            terminated=terminated,
            truncated=truncated,
            invalid=invalid,
        )
        if self.renew:
            self.left = self.left - 1
            self._command(self.left <= 0)
        return outcome

    def errors(self) -> dict[str, Tensor]:
        """Return the distance from the goal and whether it was held, (nworld,) each."""
        distance = self.goal.distance(self.body)
        return {"goal": distance, "goal_held": (self.held >= self._hold).to(distance.dtype)}

    def state_dict(self) -> dict[str, Tensor]:
        """Return everything that continues the task exactly."""
        own = {name: getattr(self, name).clone() for name in ("left", "held", "succeeded")}
        own |= {"command": self.goal.command.clone(), "commands": self._generator.get_state()}
        return super().state_dict() | {f"goal.{name}": value for name, value in own.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from what `state_dict` returned.

        Raises:
            ValueError: it is of another task.
        """
        if "goal.command" not in state or state["goal.command"].shape != self.goal.command.shape:
            raise ValueError("the saved worlds have other commands: they are of another task.name")
        super().load_state_dict(state)
        device = self.simulator.device
        for name in ("left", "held", "succeeded"):
            setattr(self, name, state[f"goal.{name}"].to(device))
        self.goal.command = state["goal.command"].to(device)
        self._generator.set_state(state["goal.commands"].cpu())

    def _command(self, mask: Tensor) -> None:
        fresh = self.goal.draw(self.body, self._generator)
        wide = mask.view(-1, *(1,) * (fresh.dim() - 1))
        self.goal.command = torch.where(wide, fresh, self.goal.command)
        interval = uniform(*self._interval, tuple(mask.shape), self._generator).long()
        self.left = torch.where(mask, interval, self.left)
        self.held = torch.where(mask, 0, self.held)
        self.succeeded = self.succeeded & ~mask

    def _observed(self, terms: ObservationConfig) -> ObservationConfig:
        """The terms that are on, those of a moving reference left out."""
        for item in fields(ObservationConfig):
            if needs_reference(item.name) and not item.name.startswith("lookahead"):
                setattr(terms, item.name, False)
        return terms
