"""The imitation task over a simulator: place worlds on a reference, step, observe, judge.

Nothing is random here and no world resets itself: that is :mod:`mm_torch.env`; evaluation and
playback use the task directly.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from cfg.errors import UserError
from cfg.schema import ObservationConfig
from mm_torch.action import MAPPINGS
from mm_torch.motion_library import MotionLibrary
from mm_torch.observation import Observation
from mm_torch.reward import Reward
from mm_torch.task_state import Body, Kinematics, Layout, TaskState
from mm_torch.termination import Termination
from mm_torch.tracking_error import tracking_errors
from sim.simulator import Simulator


@dataclass(frozen=True)
class Outcome:
    """What a step led to, (nworld,) each.

    Attributes:
        reward: the weighted reward.
        terms: value of each reward kernel, 0 to 1.
        penalty: sum of penalties, at most 0.
        terminated: the body left its reference or its simulation became invalid.
        truncated: the clip or the time limit ended, and the episode did not terminate.
        invalid: the simulation became invalid.
    """

    reward: Tensor
    terms: dict[str, Tensor]
    penalty: Tensor
    terminated: Tensor
    truncated: Tensor
    invalid: Tensor


class ImitationTask:
    """Every world follows a clip of a motion library, from a frame that it was placed on."""

    def __init__(
        self,
        config: DictConfig,
        simulator: Simulator,
        library: MotionLibrary,
        evaluation: bool = False,
    ) -> None:
        """Make the task.

        Args:
            config: a complete configuration.
            simulator: the worlds.
            library: the clips.
            evaluation: whether the termination rules are those of evaluation.

        Raises:
            UserError: terms that the embodiment does not have.
        """
        self.simulator = simulator
        self.library = library
        embodiment, device = simulator.embodiment, simulator.device
        # Plain dataclasses: OmegaConf's checked attribute access is slow inside a step.
        settings = OmegaConf.to_object(config)
        rules = settings.evaluation if evaluation else settings.termination
        self._max_steps = self.max_steps = rules.max_steps
        self._activation = settings.reset.activation
        self._level = settings.reset.activation_level
        self._to_excitation = MAPPINGS[settings.action.mapping]
        try:
            terms = self._observed(settings.observation)
            self.observation = Observation(terms, embodiment.has_root)
            self.reward = Reward(settings.reward, embodiment.has_root, simulator.control_dt)
            self.termination = Termination(rules, embodiment.has_root)
        except ValueError as error:
            raise UserError(str(error)) from error
        self.shows_activation = "ahead_activation" in dict(self.observation.terms)
        if self.shows_activation and not library.has_activations:
            raise UserError(
                "observation.ahead_activation=true: needs motions with activations: set "
                "reset.activation=statics, which computes them"
            )
        self.layout = Layout.of(embodiment, device)
        ahead = settings.observation
        self._offsets = torch.arange(ahead.lookahead_steps, device=device) * ahead.lookahead_stride
        n = simulator.nworld
        self.clip = torch.zeros(n, dtype=torch.long, device=device)
        self.frame = torch.zeros(n, dtype=torch.long, device=device)
        self.steps = torch.zeros(n, dtype=torch.long, device=device)
        self.origin = simulator.qpos.new_zeros(n, 2)
        everywhere = torch.ones(n, dtype=torch.bool, device=device)
        self.place(everywhere, self.clip, self.frame)
        self.obs_dim = self.observe().shape[-1]
        self.action_dim = embodiment.model.nu

    def _observed(self, terms: ObservationConfig) -> ObservationConfig:
        """The observation terms that are on, of those that the configuration asks for."""
        return terms

    @property
    def maximum(self) -> float:
        """Reward of a perfect step."""
        return self.reward.maximum

    @property
    def body(self) -> Body:
        """The bodies as they are now."""
        return Body.of(self.simulator, self.layout)

    def reference(self) -> Kinematics:
        """Where the bodies should be now."""
        return self.library.frames(self.clip, self.frame, self.origin)

    @property
    def next_frame(self) -> Tensor:
        """(nworld,) frames of the clips that the next step leads to."""
        return torch.minimum(self.frame + 1, self.library.lengths[self.clip] - 1)

    def place(self, mask: Tensor, clip: Tensor, frame: Tensor) -> None:
        """Put worlds exactly on frames of clips, the root above xy = (0, 0).

        Args:
            mask: (nworld,) bool, the worlds to place; the other entries of the rest are ignored.
            clip: (nworld,) clip indices.
            frame: (nworld,) frame indices.
        """
        self.clip = torch.where(mask, clip, self.clip)
        self.frame = torch.where(mask, frame, self.frame)
        self.steps = torch.where(mask, 0, self.steps)
        origin = self.library.root_xy(self.clip, self.frame)
        self.origin = torch.where(mask.unsqueeze(1), origin, self.origin)
        start = self.reference()
        if self._activation == "statics":
            act = self.library.activations(self.clip, self.frame)
        else:
            level = self._level if self._activation == "constant" else 0.0
            act = torch.full_like(self.simulator.act, level)
        self.simulator.reset(mask, start.qpos, start.qvel, act)

    def state(self) -> TaskState:
        """The moment that observation terms are functions of."""
        lengths = self.library.lengths[self.clip]
        ahead = self.library.frames(
            self.clip.unsqueeze(1),
            self.frame.unsqueeze(1) + self._offsets,
            self.origin.unsqueeze(1),
        )
        phase = self.frame / lengths
        activation = None
        if self.shows_activation:
            activation = self.library.activations(self.clip, self.next_frame)
        return TaskState(
            self.body, self.reference(), ahead, phase.to(self.origin.dtype), activation
        )

    def observe(self) -> Tensor:
        """Return the observation (nworld, obs_dim)."""
        return self.observation(self.state())

    def step(self, action: Tensor) -> Outcome:
        """Advance every world by one control step under raw actions (nworld, nu)."""
        sim = self.simulator
        last_ctrl = sim.ctrl.clone()
        sim.step(self._to_excitation(action))
        last_frame = self.library.lengths[self.clip] - 1
        self.frame = torch.minimum(self.frame + 1, last_frame)
        self.steps = self.steps + 1
        body, reference = self.body, self.reference()
        terms = self.reward.terms(body, reference)
        penalty = self.reward.penalty(action, body, last_ctrl, sim.last_qvel)
        invalid = sim.invalid.clone()
        terminated = self.termination(body, reference) | invalid
        truncated = (self.frame >= last_frame) | (self.steps >= self._max_steps)
        return Outcome(
            reward=self.reward.total(terms, penalty).masked_fill(invalid, 0.0),
            terms=terms,
            penalty=penalty,
            terminated=terminated,
            truncated=truncated & ~terminated,
            invalid=invalid,
        )

    def errors(self) -> dict[str, Tensor]:
        """Return the tracking errors (nworld,) of the bodies as they are now."""
        return tracking_errors(self.body, self.reference())

    def state_dict(self) -> dict[str, Tensor]:
        """Return everything that continues the task exactly."""
        own = {name: getattr(self, name).clone() for name in ("clip", "frame", "steps", "origin")}
        return own | {f"sim.{k}": v for k, v in self.simulator.state_dict().items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from what `state_dict` returned."""
        for name in ("clip", "frame", "steps", "origin"):
            setattr(self, name, state[name].to(self.simulator.device))
        prefix = "sim."
        self.simulator.load_state_dict(
            {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        )
