"""The world-model agent: learn how the body moves, then to move by differentiating through that.

SuperTrack (Fussell, Bergamin & Holden 2021) on muscles: real steps fit a model of the dynamics, and
the policy follows the gradient of the task's own reward through short rollouts imagined in it.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn

from agents.episodes import EpisodeTracker
from agents.exploration import CorrelatedNoise
from agents.metrics import Metrics
from agents.policy import ActorCritic
from agents.schedule import linear_schedule
from agents.vec_env import VecEnv
from agents.world_model.config import WorldModelConfig
from agents.world_model.dynamics import DynamicsModel
from agents.world_model.health import examine, last_starts, study_fresh_steps
from agents.world_model.interface import ImaginedTask, Physics
from agents.world_model.probe import Probe, climb, report
from agents.world_model.replay import Replay
from agents.world_model.updates import Updates


class WorldModelAgent:
    """Alternates ``collect`` and ``update``, as PPO does, on the device the policy lives on.

    With ``overlap``, on a CPU, ``collect`` learns from the steps that are already there in a second
    thread while the simulation makes new ones: the learning of an iteration then knows the steps of
    the iterations before it, and results do not depend on which thread is faster.

    Attributes:
        policy: the weight average of the policy, which acts and is evaluated.
        learner: the policy that is trained.
        model: the dynamics.
    """

    def __init__(
        self,
        learner: ActorCritic,
        average: ActorCritic,
        physics: Physics,
        task: ImaginedTask,
        config: WorldModelConfig,
        num_envs: int,
        *,
        excite: Callable[[Tensor], Tensor],
        unexcite: Callable[[Tensor], Tensor],
        seed: int = 0,
    ) -> None:
        """Make the agent.

        Args:
            learner, average: two policies of the same shape; the second takes the first's weights.
            physics: the known part of the dynamics.
            task: the task for imagined states.
            config: hyperparameters.
            num_envs: worlds N.
            excite: raw action to excitation, and ``unexcite`` back.
            seed: of noise, model weights and batches.
        """
        self.config, self.num_envs = config, num_envs
        self.learner, self.policy, self.task = learner, average, task
        self.device = next(learner.parameters()).device
        self.model = DynamicsModel(
            physics, config.model_hidden, config.model_rank, torch.Generator().manual_seed(seed),
            config.members,
        ).to(self.device)  # fmt: skip
        average.requires_grad_(False)
        self.replay = Replay(config.replay, num_envs)
        self.episodes = EpisodeTracker(num_envs).to(self.device)
        self.noise = CorrelatedNoise(num_envs, physics.control_dim, config.noise_correlation)
        self.noise.to(self.device)
        self.generator = torch.Generator(self.device).manual_seed(seed)  # of collection
        self.updates = Updates(
            self.model, learner, average, task, self.replay, config, excite, seed + 1
        )
        self._overlap = config.overlap and self.device.type == "cpu"
        # While learning moves the average, a copy of it acts.
        self._acting = copy.deepcopy(average) if self._overlap else average
        self._progress, self._fresh_r2 = 0.0, -1.0
        self._learned: dict[str, float] = {}
        self._excite, self._unexcite = excite, unexcite
        self.iteration = 0

    def warm_start_normalizer(self, obs: Tensor) -> None:
        """Give the observation statistics a first (..., obs_dim) sample."""
        self.learner.normalizer.update(obs)
        self.policy.normalizer.load_state_dict(self.learner.normalizer.state_dict())

    def adopt(self, policy: ActorCritic) -> None:
        """Train on from the networks and statistics of ``policy``, which may be our own."""
        state = {name: value.clone() for name, value in policy.state_dict().items()}
        self.learner.load_state_dict(state)
        self.policy.load_state_dict(state)
        self.updates.average.settle()

    def collect(self, env: VecEnv, obs: Tensor) -> tuple[Tensor, Tensor, dict[str, float]]:
        """Act for ``num_steps`` from the (N, obs_dim) observation ``obs``.

        Returns the observations seen (T, N, obs_dim), the next one and statistics (those of PPO).
        """
        probe = self._probe()
        if not self._overlap:
            return self._act(env, obs, probe)
        self._acting.load_state_dict(self.policy.state_dict())
        if not self.replay.filled:
            return self._act(env, obs, probe)
        with ThreadPoolExecutor(1) as second:
            learning = second.submit(self._learn)
            collected = self._act(env, obs, probe, keep=(rows := []))
            self._learned = learning.result()
        for row in rows:
            self.replay.add(*row)
        return collected

    def update(self, seen: Tensor, progress: float = 0.0) -> dict[str, float]:
        """Fit the model and improve the policy, ``progress`` in [0, 1] through training.

        Returns the model's R2 on the fresh steps before it learns from them, losses, gradient
        norms, and now and then its errors over many steps (see docs/world_model.md).
        """
        metrics = Metrics(self.device)
        study_fresh_steps(self.model, self.replay, len(seen), metrics)
        self.learner.normalizer.update(seen)
        self._progress = progress
        self._fresh_r2 = metrics.to_floats().get("model_r2", -1.0) if self.config.gate else -1.0
        if self.iteration % self.config.health_interval == 0:
            self._examine(metrics)
        if not self._overlap:
            self._learned = self._learn()
        self.iteration += 1
        return metrics.to_floats() | self._learned

    @torch.no_grad()
    def _act(
        self,
        env: VecEnv,
        obs: Tensor,
        probe: Probe | None,
        keep: list[tuple[Any, ...]] | None = None,
    ) -> tuple[Tensor, Tensor, dict[str, float]]:
        """Take ``num_steps`` steps; rows go to ``keep`` if given, else to the replay."""
        metrics, seen = Metrics(self.device), []
        rewards: list[Tensor] = []
        going_on = [torch.ones(self.num_envs, device=self.device)]
        for step in range(self.config.num_steps):
            state, goal, last = self.task.snapshot()
            mean = self._excite(self._acting.mean_action(obs))
            if probe is not None and step < len(probe.excitation):
                # Worlds whose episode has ended since follow the policy again.
                worlds = probe.excitation.shape[1]
                still = going_on[-1][:worlds].unsqueeze(1) > 0
                mean[:worlds] = torch.where(still, probe.excitation[step], mean[:worlds])
            noise = self.config.noise * self.noise.sample(self.generator)
            excitation = (mean + noise).clamp(0.0, 1.0)
            result = env.step(self._unexcite(excitation))
            done = result.terminated | result.truncated
            row = (state, goal, excitation, last, result.reward, result.terminated, done)
            if keep is None:
                self.replay.add(*row)
            else:
                keep.append((*row[:4], result.reward.clone(), result.terminated.clone(), done))
            seen.append(obs)
            metrics.add("reward", result.reward)
            metrics.add("terminated", result.terminated)
            metrics.add("truncated", result.truncated)
            metrics.add("excitation", excitation)
            self.episodes.update(result.reward, done, metrics)
            self.noise.restart(done)
            if probe is not None:
                rewards.append(result.reward / self.task.maximum)
                going_on.append(going_on[-1] * ~done)
            for name, diagnostic in result.info.items():
                metrics.add(f"info/{name}", diagnostic)
            obs = self._acting.normalizer.fill_nonfinite(result.obs)
        if probe is not None:
            steps = len(probe.excitation)
            real = torch.stack(rewards[:steps]), torch.stack(going_on[:steps])
            report(probe, *real, metrics)
        return torch.stack(seen), obs, metrics.to_floats()

    def _learn(self) -> dict[str, float]:
        """One iteration's updates of the model and of the policy, on what the replay holds."""
        config, metrics = self.config, Metrics(self.device)
        scale = linear_schedule(self._progress, config.lr_floor)
        self.updates.set_lr_scale(scale)
        self.updates.fit_model(metrics)
        trusted = not config.gate or self._fresh_r2 >= config.gate
        for _ in range(config.policy_updates):
            if trusted:
                self.updates.improve_policy(metrics)
            self.updates.fit_critic(metrics)
        metrics.add("learning_rate", scale * config.policy_lr)
        metrics.add("policy_trusted_model", float(trusted))
        return metrics.to_floats()

    def state_dict(self) -> dict[str, Any]:
        """A snapshot of everything that training depends on, except the environment."""
        parts = {name: _copies(getattr(self, name)) for name in self._MODULES}
        return parts | {
            "updates": self.updates.state_dict(),
            "replay": self.replay.state_dict(),
            "generator": {"device": self.device.type, "state": self.generator.get_state()},
            "progress": self._progress,
            "fresh_r2": self._fresh_r2,
            "iteration": self.iteration,
        }

    _MODULES = ("policy", "learner", "model", "episodes", "noise")

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a snapshot of the same networks, settings and number of worlds.

        Raises:
            ValueError: the number of worlds, the memory's size or an optimiser differs.
            RuntimeError: the networks differ.
        """
        if "learner" not in state:
            raise ValueError("the snapshot is not of a world-model agent")
        self.replay.load_state_dict(state["replay"])
        for name in self._MODULES:
            getattr(self, name).load_state_dict(state[name])
        same_device = state["generator"]["device"] == self.device.type
        self.updates.load_state_dict(state["updates"], same_device)
        self._progress, self._fresh_r2 = state["progress"], state["fresh_r2"]
        self.iteration = state["iteration"]
        if same_device:
            self.generator.set_state(state["generator"]["state"].cpu())
        else:
            warnings.warn("the random state of another device type is not restored", stacklevel=2)

    def _probe(self) -> Probe | None:
        """What the model likes best from the worlds as they are, where a probe is due."""
        config = self.config
        due = config.probe_interval and self.iteration % config.probe_interval == 0
        worlds = min(config.probe_worlds, self.num_envs - 1)  # one at least follows the policy
        if not (due and self.iteration and worlds):
            return None
        state, goal, last = self.task.snapshot()
        return climb(
            self.model.step, self.task, lambda obs: self._excite(self.policy.mean_action(obs)),
            state.map(lambda part: part[:worlds]), goal.map(lambda part: part[:worlds]),
            last[:worlds], min(config.horizon, config.num_steps), config.probe_updates,
        )  # fmt: skip

    @torch.no_grad()
    def _examine(self, metrics: Metrics) -> None:
        """Compare what the model imagines with what happened, from the same fresh starts."""
        rows, worlds, steps = last_starts(self.replay, self.device)
        length = min(self.config.horizon, steps)
        noise = self.updates.noise(length, self.num_envs)
        path = self.updates.imagine(rows, worlds, noise, self.policy, self.model.step)
        examine(self.model, self.replay, path, self.task.maximum, metrics)


def _copies(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
