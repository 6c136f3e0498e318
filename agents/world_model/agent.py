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

from agents.cuda_graph import Graphed
from agents.episodes import EpisodeTracker
from agents.exploration import CorrelatedNoise
from agents.metrics import Metrics
from agents.optimizers import PolicyOptimizer
from agents.policy import ActorCritic
from agents.schedule import linear_schedule
from agents.vec_env import VecEnv
from agents.world_model.config import WorldModelConfig
from agents.world_model.critic import critic_loss, real_critic_loss
from agents.world_model.dynamics import DynamicsModel
from agents.world_model.fitting import WeightAverage, one_step_loss, window_loss
from agents.world_model.health import examine, last_starts, study_fresh_steps
from agents.world_model.imagine import Imagined, Step, imagine
from agents.world_model.interface import ImaginedTask, ModelState, Physics
from agents.world_model.replay import Replay

# The figures of each kind of update, in the order in which it returns them.
_FIT = ("model_loss", "model_grad_norm")
_WINDOW = ("window_loss", "window_grad_norm")
_CLIMB = ("imagined_gain", "policy_grad_norm", "state_grad_first", "state_grad_last",
          "state_grad_clipped")  # fmt: skip
_CRITIC = ("value_loss", "critic_grad_norm")
_REAL = ("real_value_loss", "real_value_grad_norm")


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
        self._step = torch.compile(self.model.step) if config.compile else self.model.step
        self._average = WeightAverage(learner, average, config.average)
        average.requires_grad_(False)
        self.replay = Replay(config.replay, num_envs)
        self.episodes = EpisodeTracker(num_envs).to(self.device)
        self.noise = CorrelatedNoise(num_envs, physics.control_dim, config.noise_correlation)
        self.noise.to(self.device)
        self.generator = torch.Generator(self.device).manual_seed(seed)  # of collection
        self.draws = torch.Generator(self.device).manual_seed(seed + 1)  # of learning
        self._overlap = config.overlap and self.device.type == "cpu"
        # While learning moves the average, a copy of it acts.
        self._acting = copy.deepcopy(average) if self._overlap else average
        self._progress, self._fresh_r2 = 0.0, -1.0
        self._learned: dict[str, float] = {}
        self._excite, self._unexcite = excite, unexcite
        kind = config.optimizer
        self._optimizers = {
            "model": PolicyOptimizer(
                self.model.parameters(), self.model.hidden_matrices(), kind=kind,
                lr=config.model_lr, muon_lr=config.model_lr, capturable=True,
            ),
            "policy": PolicyOptimizer(
                learner.actor.parameters(), learner.actor.hidden_matrices(), kind=kind,
                lr=config.policy_lr, muon_lr=config.policy_lr, capturable=True,
            ),
            "critic": PolicyOptimizer(
                learner.critic.parameters(), lr=config.critic_lr, capturable=True
            ),
        }  # fmt: skip
        functions = {"fit": self._fit_step, "window": self._fit_window, "policy": self._climb,
                     "critic": self._fit_critic}  # fmt: skip
        self._graphs = {name: Graphed(f, self.device) for name, f in functions.items()}
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
        self._average.settle()

    def collect(self, env: VecEnv, obs: Tensor) -> tuple[Tensor, Tensor, dict[str, float]]:
        """Act for ``num_steps`` from the (N, obs_dim) observation ``obs``.

        Returns the observations seen (T, N, obs_dim), the next one and statistics (those of PPO).
        """
        if not self._overlap:
            return self._act(env, obs)
        self._acting.load_state_dict(self.policy.state_dict())
        if not self.replay.filled:
            return self._act(env, obs)
        with ThreadPoolExecutor(1) as second:
            learning = second.submit(self._learn)
            collected = self._act(env, obs, keep=(rows := []))
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
        self, env: VecEnv, obs: Tensor, keep: list[tuple[Any, ...]] | None = None
    ) -> tuple[Tensor, Tensor, dict[str, float]]:
        """Take ``num_steps`` steps; rows go to ``keep`` if given, else to the replay."""
        metrics, seen = Metrics(self.device), []
        for _ in range(self.config.num_steps):
            state, goal, last = self.task.snapshot()
            mean = self._excite(self._acting.mean_action(obs))
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
            for name, diagnostic in result.info.items():
                metrics.add(f"info/{name}", diagnostic)
            obs = self._acting.normalizer.fill_nonfinite(result.obs)
        return torch.stack(seen), obs, metrics.to_floats()

    def _learn(self) -> dict[str, float]:
        """One iteration's updates of the model and of the policy, on what the replay holds."""
        config, metrics = self.config, Metrics(self.device)
        scale = linear_schedule(self._progress, config.lr_floor)
        for optimizer in self._optimizers.values():
            optimizer.set_lr_scale(scale)
        self.model.requires_grad_(True)
        self._fit_model(metrics)
        self.model.requires_grad_(False)
        trusted = not config.gate or self._fresh_r2 >= config.gate
        for _ in range(config.policy_updates):
            if trusted:
                self._improve_policy(metrics)
                self._average.update()
            if config.critic_weight and self.replay.filled > config.critic_window > 0:
                starts = self.replay.draw(config.policy_batch, config.critic_window, self.draws)
                metrics.add_row(_REAL, self._graphs["critic"](*starts))
        metrics.add("learning_rate", scale * config.policy_lr)
        metrics.add("policy_trusted_model", float(trusted))
        return metrics.to_floats()

    def state_dict(self) -> dict[str, Any]:
        """A snapshot of everything that training depends on, except the environment."""
        parts = {name: _copies(getattr(self, name)) for name in self._MODULES}
        return parts | {
            "optimizers": {k: v.state_dict() for k, v in self._optimizers.items()},
            "replay": self.replay.state_dict(),
            "generator": {
                "device": self.device.type,
                "state": self.generator.get_state(),
                "draws": self.draws.get_state(),
            },
            "progress": self._progress,
            "fresh_r2": self._fresh_r2,
            "averaged": self._average.updates,
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
        for graph in self._graphs.values():
            graph.forget()
        for name in self._MODULES:
            getattr(self, name).load_state_dict(state[name])
        for name, optimizer in self._optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self._average.updates, self.iteration = state["averaged"], state["iteration"]
        self._progress, self._fresh_r2 = state["progress"], state["fresh_r2"]
        if state["generator"]["device"] == self.device.type:
            self.generator.set_state(state["generator"]["state"].cpu())
            self.draws.set_state(state["generator"]["draws"].cpu())
        else:
            warnings.warn("the random state of another device type is not restored", stacklevel=2)

    def _fit_model(self, metrics: Metrics) -> None:
        config, replay = self.config, self.replay
        every = max(1, config.model_updates // max(1, config.window_updates))
        for update in range(config.model_updates):
            starts = replay.draw(config.model_batch, 1, self.draws)
            metrics.add_row(_FIT, self._graphs["fit"](*starts))
            if config.window_updates and update % every == every - 1:
                if replay.filled <= config.window + 1:
                    continue
                starts = replay.draw(config.window_batch, config.window, self.draws)
                metrics.add_row(_WINDOW, self._graphs["window"](*starts))

    def _fit_step(self, rows: Tensor, worlds: Tensor) -> Tensor:
        """Fit the model to one step each; (2,) loss and gradient norm."""
        states, excitation, weight = self.replay.window(rows, worlds, 1)
        state, after = (states.map(lambda part, i=i: part[i]) for i in (0, 1))
        loss = one_step_loss(self.model, state, excitation[0], after, weight[0])
        return torch.stack((loss.detach(), self._descend("model", loss)))

    def _fit_window(self, rows: Tensor, worlds: Tensor) -> Tensor:
        """Fit the model to windows that it runs through by itself; likewise."""
        loss = window_loss(self.model, *self.replay.window(rows, worlds, self.config.window))
        return torch.stack((loss.detach(), self._descend("model", loss)))

    def _improve_policy(self, metrics: Metrics) -> None:
        config = self.config
        starts = self.replay.draw(config.policy_batch, 1, self.draws, config.recent)
        noise = self._noise(config.horizon, config.policy_batch)
        metrics.add_row(self._policy_figures, self._graphs["policy"](*starts, noise))

    def _climb(self, rows: Tensor, worlds: Tensor, noise: Tensor) -> Tensor:
        """Follow the gradient of the reward through the model; the figures of `_CLIMB`."""
        config = self.config
        path = self._imagine(rows, worlds, noise, self.learner, self._step)
        discount = config.gamma ** torch.arange(config.horizon, device=self.device)
        gain = (path.gain * path.inside * discount.unsqueeze(1)).sum(0)
        most = discount.sum()
        if config.critic_weight:
            end = config.gamma**config.horizon / (1.0 - config.gamma) * config.critic_weight
            value = self.learner.value(path.observations[-1])
            gain = gain + end * value * path.alive[-1] * path.inside[-1]
            most = most + end
        loss = -(gain / most).mean()
        norm = self._descend("policy", loss)
        grads = path.state_grad_norm
        figures = [-loss.detach(), norm, grads[0], grads[-1], path.clipped]
        if config.critic_weight:
            loss = critic_loss(self.learner, self.policy, path, config.gamma)
            figures += [loss.detach(), self._descend("critic", loss)]
        return torch.stack(figures)

    def _fit_critic(self, rows: Tensor, worlds: Tensor) -> Tensor:
        """Fit the critic to what real steps led to; (2,) loss and gradient norm."""
        window = self.config.critic_window
        loss = real_critic_loss(
            self.learner, self.policy, self.task, self.replay, rows, worlds, window,
            self.config.gamma,
        )  # fmt: skip
        return torch.stack((loss.detach(), self._descend("critic", loss)))

    @property
    def _policy_figures(self) -> tuple[str, ...]:
        return _CLIMB + (_CRITIC if self.config.critic_weight else ())

    @torch.no_grad()
    def _examine(self, metrics: Metrics) -> None:
        """Compare what the model imagines with what happened, from the same fresh starts."""
        rows, worlds, steps = last_starts(self.replay, self.device)
        length = min(self.config.horizon, steps)
        noise = self._noise(length, self.num_envs)
        path = self._imagine(rows, worlds, noise, self.policy, self.model.step)
        examine(self.model, self.replay, path, self.task.maximum, metrics)

    def _noise(self, steps: int, worlds: int) -> Tensor:
        shape = (steps, worlds, self.model.physics.control_dim)
        noise = torch.randn(shape, generator=self.draws, device=self.device)
        return self.config.noise * noise

    def _imagine(
        self, rows: Tensor, worlds: Tensor, noise: Tensor, policy: ActorCritic, step: Step
    ) -> Imagined:
        start: ModelState = self.replay.states(rows, worlds)
        return imagine(
            step, self.task, lambda obs: self._excite(policy.mean_action(obs)), start,
            self.replay.goals(rows, worlds), self.replay.take("last", rows, worlds), noise,
            self.config.state_grad_clip,
        )  # fmt: skip

    def _descend(self, name: str, loss: Tensor) -> Tensor:
        """Take a step of an optimiser; the () norm of the gradient."""
        optimizer = self._optimizers[name]
        optimizer.zero_grad()
        loss.backward()
        return optimizer.step()


def _copies(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
