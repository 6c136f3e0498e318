"""The learning steps of the world-model agent: of the model, the policy and the critic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from agents.cuda_graph import Graphed
from agents.metrics import Metrics
from agents.optimizers import PolicyOptimizer
from agents.policy import ActorCritic
from agents.world_model.config import WorldModelConfig
from agents.world_model.critic import critic_loss, real_critic_loss
from agents.world_model.dynamics import DynamicsModel
from agents.world_model.fitting import WeightAverage, one_step_loss, window_loss
from agents.world_model.imagine import Imagined, Step, imagine
from agents.world_model.interface import ImaginedTask
from agents.world_model.replay import Replay

# The figures of each kind of update, in the order in which it returns them.
_FIT = ("model_loss", "model_grad_norm")
_WINDOW = ("window_loss", "window_grad_norm")
_CLIMB = ("imagined_gain", "policy_grad_norm", "state_grad_first", "state_grad_last",
          "state_grad_clipped")  # fmt: skip
_CRITIC = ("value_loss", "critic_grad_norm")
_REAL = ("real_value_loss", "real_value_grad_norm")


class Updates:
    """Improves the networks on what a memory holds; on CUDA each kind of update is one graph.

    Attributes:
        optimizers: by network.
        average: moves the acting policy after the learner.
        draws: the generator of batches and imagined noise.
    """

    def __init__(
        self,
        model: DynamicsModel,
        learner: ActorCritic,
        policy: ActorCritic,
        task: ImaginedTask,
        replay: Replay,
        config: WorldModelConfig,
        excite: Callable[[Tensor], Tensor],
        seed: int,
    ) -> None:
        """Prepare.

        Args:
            model: the dynamics.
            learner: the policy that is trained.
            policy: its weight average.
            task: the task for imagined states.
            replay: the memory.
            config: hyperparameters.
            excite: raw action to excitation.
            seed: of the draws.
        """
        self.model, self.learner, self.policy = model, learner, policy
        self.task, self.replay, self.config = task, replay, config
        self.device = next(learner.parameters()).device
        self.draws = torch.Generator(self.device).manual_seed(seed)
        self.average = WeightAverage(learner, policy, config.average)
        self._excite = excite
        self._step = torch.compile(model.step) if config.compile else model.step
        kind = config.optimizer
        self.optimizers = {
            "model": PolicyOptimizer(
                model.parameters(), model.hidden_matrices(), kind=kind,
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
        self.graphs = {name: Graphed(f, self.device) for name, f in functions.items()}

    def set_lr_scale(self, scale: float) -> None:
        """Set all learning rates to ``scale`` times their base."""
        for optimizer in self.optimizers.values():
            optimizer.set_lr_scale(scale)

    def fit_model(self, metrics: Metrics) -> None:
        """Make an iteration's updates of the model."""
        config, replay = self.config, self.replay
        every = max(1, config.model_updates // max(1, config.window_updates))
        self.model.requires_grad_(True)
        for update in range(config.model_updates):
            starts = replay.draw(config.model_batch, 1, self.draws)
            metrics.add_row(_FIT, self.graphs["fit"](*starts))
            if config.window_updates and update % every == every - 1:
                if replay.filled <= config.window + 1:
                    continue
                starts = replay.draw(config.window_batch, config.window, self.draws)
                metrics.add_row(_WINDOW, self.graphs["window"](*starts))
        self.model.requires_grad_(False)

    def improve_policy(self, metrics: Metrics) -> None:
        """Make one update of the policy (and of the critic by what it imagined)."""
        config = self.config
        starts = self.replay.draw(config.policy_batch, 1, self.draws, config.recent)
        noise = self.noise(config.horizon, config.policy_batch)
        names = _CLIMB + (_CRITIC if config.critic_weight else ())
        metrics.add_row(names, self.graphs["policy"](*starts, noise))
        self.average.update()

    def fit_critic(self, metrics: Metrics) -> None:
        """Make one update of the critic by real steps, if there is one and the memory has them."""
        config = self.config
        if config.critic_weight and self.replay.filled > config.critic_window > 0:
            starts = self.replay.draw(config.policy_batch, config.critic_window, self.draws)
            metrics.add_row(_REAL, self.graphs["critic"](*starts))

    def noise(self, steps: int, worlds: int) -> Tensor:
        """Draw excitation noise (steps, worlds, nu)."""
        shape = (steps, worlds, self.model.physics.control_dim)
        return self.config.noise * torch.randn(shape, generator=self.draws, device=self.device)

    def imagine(
        self, rows: Tensor, worlds: Tensor, noise: Tensor, policy: ActorCritic, step: Step
    ) -> Imagined:
        """Let a policy act in the model from remembered states; see :func:`imagine`."""
        replay = self.replay
        return imagine(
            step, self.task, lambda obs: self._excite(policy.mean_action(obs)),
            replay.states(rows, worlds), replay.goals(rows, worlds),
            replay.take("last", rows, worlds), noise, self.config.state_grad_clip,
        )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """Optimisers, random state and the count of the average."""
        return {
            "optimizers": {k: v.state_dict() for k, v in self.optimizers.items()},
            "draws": self.draws.get_state(),
            "averaged": self.average.updates,
        }

    def load_state_dict(self, state: dict[str, Any], same_device: bool) -> None:
        """Restore a snapshot; the random state only where it is of this kind of device."""
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.average.updates = state["averaged"]
        if same_device:
            self.draws.set_state(state["draws"].cpu())
        for graph in self.graphs.values():
            graph.forget()

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

    def _climb(self, rows: Tensor, worlds: Tensor, noise: Tensor) -> Tensor:
        """Follow the gradient of the reward through the model; the figures of `_CLIMB`."""
        config = self.config
        path = self.imagine(rows, worlds, noise, self.learner, self._step)
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
        config = self.config
        loss = real_critic_loss(
            self.learner, self.policy, self.task, self.replay, rows, worlds, config.critic_window,
            config.gamma,
        )  # fmt: skip
        return torch.stack((loss.detach(), self._descend("critic", loss)))

    def _descend(self, name: str, loss: Tensor) -> Tensor:
        """Take a step of an optimiser; the () norm of the gradient."""
        optimizer = self.optimizers[name]
        optimizer.zero_grad()
        loss.backward()
        return optimizer.step()
