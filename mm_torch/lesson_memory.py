"""What a policy was shown in its first lesson: observations, and what the teacher does there."""

from __future__ import annotations

import torch
from torch import Tensor

from cfg.schema import PretrainingConfig
from mm_torch.env import ImitationEnv


class LessonMemory:
    """Observations and the teacher's excitations, of the whole lesson in one place.

    Attributes:
        count: states so far.
    """

    def __init__(self, config: PretrainingConfig, env: ImitationEnv) -> None:
        """Take the memory that all rounds need; a CPU hands it out as it is written to."""
        led = min(config.led_rounds, config.rounds)
        own = (config.rounds - led) * -(-config.steps // config.every)
        most = (led * config.steps + own) * env.num_envs * (1 + config.mirror)
        self._obs = torch.empty(most, env.obs_dim, device=env.device)
        self._label = torch.empty(most, env.action_dim, device=env.device)
        self.count = 0

    def add(self, obs: Tensor, label: Tensor) -> None:
        """Keep (n, obs_dim) observations and (n, nu) excitations."""
        end = self.count + len(obs)
        self._obs[self.count : end], self._label[self.count : end] = obs, label
        self.count = end

    def sample(self, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw so many of the states, with replacement."""
        device = self._obs.device
        rows = torch.randint(self.count, (size,), generator=generator, device=device)
        return self._obs[rows], self._label[rows]

    def content(self) -> tuple[Tensor, Tensor]:
        """Return copies of all: of a part of a tensor, torch.save would write the whole."""
        return self._obs[: self.count].clone(), self._label[: self.count].clone()
