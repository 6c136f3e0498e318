"""The training environment: the imitation task with random starts and masked resets."""

from __future__ import annotations

import torch
from torch import Tensor

from agents.vec_env import StepResult
from mm_torch.faults import FaultRecorder
from mm_torch.randomization import draw
from mm_torch.start_frames import make_starts
from mm_torch.style import Judge
from mm_torch.task import ImitationTask


class ImitationEnv:
    """A vector environment for any learner (see :class:`agents.vec_env.VecEnv`).

    Episodes start on a random frame of a random clip (reference-state initialisation, Peng et al.
    2018), or more often where episodes fail (:mod:`mm_torch.start_frames`). They end on
    termination, at the clip's end or at the time limit; only the worlds that ended are reset.
    Physical parameters that the simulator lets differ between worlds are drawn at every start
    (:mod:`mm_torch.randomization`); they are part of the simulator's state.
    """

    def __init__(
        self, task: ImitationTask, seed: int, start: str = "random", judge: Judge | None = None
    ) -> None:
        """Wrap a task.

        Args:
            task: the imitation task.
            seed: of the clips, start frames and physical parameters.
            start: "random" frame of a clip, "first", or "failures": more often where they fail.
            judge: gives the samples of an adversarial agent.
        """
        self.task = task
        self.faults = FaultRecorder(task)
        self._judge = judge
        self.num_envs = task.simulator.nworld
        self.obs_dim = task.obs_dim
        self.action_dim = task.action_dim
        self.device = task.simulator.device
        self.starts = make_starts(start, task.library)
        self._generator = torch.Generator(self.device).manual_seed(seed)

    def reset(self) -> Tensor:
        """Start an episode in every world; return the observations (nworld, obs_dim)."""
        self._start(torch.ones(self.num_envs, dtype=torch.bool, device=self.device))
        return self.task.observe()

    def step(self, action: Tensor) -> StepResult:
        """Advance one control step; worlds that ended are started anew."""
        task = self.task
        self.faults.remember()
        if self._judge is not None:
            self._judge.before()
        outcome = task.step(action)
        judged = None if self._judge is None else self._judge.after()
        done = outcome.terminated | outcome.truncated
        self.starts.observe(task.clip, task.frame, outcome.terminated)
        final_obs = task.observe()
        info = {f"reward_{name}": value for name, value in outcome.terms.items()}
        info |= {f"error_{name}": value for name, value in task.errors().items()}
        info |= {
            "penalty": outcome.penalty,
            "activation": task.simulator.act.mean(-1),
            "invalid_worlds": outcome.invalid,
        }
        # What a faulty world shows may be NaN, and would make every average NaN.
        info = {name: value.masked_fill(outcome.invalid, 0) for name, value in info.items()}
        info["invalid_worlds"] = outcome.invalid
        info |= self.faults.notice()
        obs = final_obs
        # On CUDA the mask is not looked at: that would wait for the device.
        if self.device.type == "cuda" or bool(done.any()):
            self._start(done)
            obs = torch.where(done.unsqueeze(1), task.observe(), final_obs)
        return StepResult(
            obs, outcome.reward, outcome.terminated, outcome.truncated, final_obs, info, judged
        )

    def restart(self, mask: Tensor) -> None:
        """Start new episodes in the worlds (nworld,) bool of `mask`."""
        self._start(mask)

    def state_dict(self) -> dict[str, Tensor]:
        """Return everything that continues the environment exactly, random state included."""
        own = {"generator": self._generator.get_state()}
        own |= {f"starts.{name}": value for name, value in self.starts.state_dict().items()}
        return self.task.state_dict() | own

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from what `state_dict` returned."""
        self.task.load_state_dict(state)
        prefix = "starts."
        self.starts.load_state_dict(
            {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        )
        self._generator.set_state(state["generator"].cpu())

    def _start(self, mask: Tensor) -> None:
        clip, frame = self.starts.sample(self.num_envs, self._generator)
        simulator = self.task.simulator
        ranges = simulator.options.parameter_ranges
        if ranges:
            multipliers = draw(ranges, self.num_envs, self._generator)
            simulator.set_parameters(mask, multipliers, check=False)
        self.task.place(mask, clip, frame)
