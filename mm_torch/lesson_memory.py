"""What a policy was shown in its first lesson: observations, and what the teacher does there."""

from __future__ import annotations

import torch
from torch import Tensor

from cfg.errors import UserError
from cfg.schema import PretrainingConfig
from mm_torch.env import ImitationEnv

_ROUNDS = 40  # that there is room for at first; a lesson by the clock may be allowed thousands


class LessonMemory:
    """Observations and the teacher's excitations, of the whole lesson in one place.

    Attributes:
        count: states so far.
    """

    def __init__(self, config: PretrainingConfig, env: ImitationEnv) -> None:
        """Take the memory of the first rounds; a CPU hands it out as it is written to."""

        def states(rounds: int) -> int:
            led = min(config.led_rounds, rounds)
            own = (rounds - led) * -(-config.steps // config.every)
            return (led * config.steps + own) * env.num_envs * (1 + config.mirror)

        self._most = states(config.rounds)
        room = states(min(config.rounds, _ROUNDS))
        self._obs = torch.empty(room, env.obs_dim, device=env.device)
        self._label = torch.empty(room, env.action_dim, device=env.device)
        self.count = 0

    def add(self, obs: Tensor, label: Tensor) -> None:
        """Keep (n, obs_dim) observations and (n, nu) excitations.

        Raises:
            ValueError: more than a lesson of so many rounds has.
            UserError: there is no memory for more.
        """
        end = self.count + len(obs)
        if end > self._most:
            raise ValueError(f"{end:,} states, expected {self._most:,} at most")
        if end > len(self._obs):
            room = min(self._most, max(end, len(self._obs) * 3 // 2))
            self._obs, self._label = self._grown(self._obs, room), self._grown(self._label, room)
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

    def _grown(self, values: Tensor, room: int) -> Tensor:
        try:
            grown = values.new_empty(room, values.shape[1])
        except RuntimeError as error:
            raise UserError(
                f"pretraining: no memory for more than {self.count:,} states: give a shorter "
                f"lesson (pretraining.minutes or rounds) or a larger pretraining.every; the policy "
                f"so far is in checkpoints/lesson.pt"
            ) from error
        grown[: self.count] = values[: self.count]
        return grown
