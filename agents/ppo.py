"""Proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347)."""

from __future__ import annotations

import math
import warnings
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from agents.episodes import EpisodeTracker
from agents.exploration import CorrelatedNoise
from agents.gae import generalized_advantage
from agents.losses import (
    approximate_kl,
    explained_variance,
    policy_loss,
    standardize,
    value_loss,
)
from agents.metrics import Metrics
from agents.normalizer import ReturnScaler
from agents.optimizers import PolicyOptimizer
from agents.policy import ActorCritic
from agents.ppo_config import PPOConfig
from agents.precision import autocast
from agents.rollout import Batch, Rollout, iterate_minibatches
from agents.schedule import SCHEDULES, adapted
from agents.vec_env import StepResult, VecEnv


class PPO:
    """Alternate ``collect`` and ``update`` to train a policy on the device it lives on.

    Observation statistics change only at the very end of ``update``. The policy that collects is
    therefore exactly the one that the update starts from, and the probability ratio of its first
    minibatch is 1 up to rounding (reported as ``first_ratio_error``).

    Non-finite observations and rewards are replaced, by the running mean and by zero, and counted.
    """

    def __init__(
        self, policy: ActorCritic, config: PPOConfig, num_envs: int, *, seed: int = 0
    ) -> None:
        """Args: ``num_envs`` worlds N; ``seed`` of action noise and minibatch order.

        Raises:
            ValueError: if the minibatches do not divide ``num_steps * num_envs``.
        """
        samples = config.num_steps * num_envs
        if num_envs < 1 or samples % config.minibatches:
            raise ValueError(
                f"{config.minibatches} minibatches must divide num_steps * num_envs = "
                f"{config.num_steps} * {num_envs} = {samples}"
            )
        self.policy = policy
        self.config = config
        self.num_envs = num_envs
        self.device = next(policy.parameters()).device
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.optimizer = PolicyOptimizer(
            policy.parameters(),
            policy.hidden_matrices(),
            kind=config.optimizer,
            lr=config.lr,
            muon_lr=config.muon_lr,
            muon_momentum=config.muon_momentum,
            max_grad_norm=config.max_grad_norm,
            apart=policy.critic.parameters(),
            apart_lr=config.critic_lr,
        )
        self.return_scaler = ReturnScaler(num_envs, config.gamma).to(self.device)
        self.episodes = EpisodeTracker(num_envs).to(self.device)
        actions = len(policy.gaussian.raw)
        self.noise = CorrelatedNoise(num_envs, actions, config.noise_correlation).to(self.device)
        self.iteration = 0  # updates finished
        self._adapted = 1.0  # multiplier of an adaptive schedule
        self._rollout: Rollout | None = None

    def warm_start_normalizer(self, obs: Tensor) -> None:
        """Give the observation statistics a first (..., obs_dim) sample, before any rollout.

        Without it the first iteration sees unscaled observations. A sample in which a feature
        never varies (velocities right after a reset) makes that feature saturate for a while.
        """
        self.policy.normalizer.update(obs)

    @property
    def learner(self) -> ActorCritic:
        """The policy that is trained, which is also the one that acts."""
        return self.policy

    def adopt(self, policy: ActorCritic) -> None:
        """Train on from the networks and statistics of ``policy``, which may be our own."""
        if policy is not self.policy:
            self.policy.load_state_dict(policy.state_dict())

    @torch.no_grad()
    def collect(self, env: VecEnv, obs: Tensor) -> tuple[Rollout, Tensor, dict[str, float]]:
        """Act for ``num_steps`` from the (N, obs_dim) observation ``obs``.

        Returns the rollout (reused, so valid until the next call), the next observation and
        statistics: ``reward`` per step, ``terminated`` and ``truncated`` per world and step,
        ``nonfinite_rewards`` and ``nonfinite_obs`` (worlds with such an entry) likewise,
        ``episode_return`` and ``episode_length`` of episodes that ended, and ``info/...``.
        """
        rollout = self._empty_rollout(env)
        metrics = Metrics(self.device)
        obs = self.policy.normalizer.fill_nonfinite(obs)
        for _ in range(self.config.num_steps):
            with self._autocast():
                noise = self.noise.sample(self.generator)
                action, log_prob, value = self.policy.act(obs, noise=noise)
            result = env.step(action)
            final_obs = self.policy.normalizer.fill_nonfinite(result.final_obs)
            with self._autocast():
                next_value = self.policy.value(final_obs)
            reward = self._reward(result, metrics)
            finite = reward.isfinite()
            reward = reward.masked_fill(~finite, 0.0)
            done = result.terminated | result.truncated
            rollout.add(
                obs=obs,
                actions=action,
                log_probs=log_prob,
                values=value,
                next_values=next_value,
                rewards=reward,
                terminated=result.terminated,
                done=done,
            )
            metrics.add("reward", reward)
            metrics.add("terminated", result.terminated)
            metrics.add("truncated", result.truncated)
            metrics.add("nonfinite_rewards", ~finite)
            seen_finite = (result.obs.isfinite() & result.final_obs.isfinite()).all(-1)
            metrics.add("nonfinite_obs", ~seen_finite)
            self.episodes.update(reward, done, metrics)
            self.noise.restart(done)
            for name, diagnostic in result.info.items():
                metrics.add(f"info/{name}", diagnostic)
            obs = self.policy.normalizer.fill_nonfinite(result.obs)
        self._finish_collect(metrics)
        return rollout, obs, metrics.to_floats()

    def update(self, rollout: Rollout, progress: float = 0.0) -> dict[str, float]:
        """Improve the policy by one rollout, ``progress`` in [0, 1] through training.

        Returns means over gradient steps (without skipped ones) of ``policy_loss``,
        ``value_loss``, ``kl``, ``clip_fraction`` and ``grad_norm`` (before clipping);
        ``explained_variance`` before the update; ``entropy`` and ``mean_std`` after it;
        ``learning_rate`` (of Adam); the number of ``skipped_updates`` among the gradient steps;
        and ``first_ratio_error``, the largest distance from 1 of the probability ratio in the
        first minibatch.
        """
        config = self.config
        course = SCHEDULES[config.schedule](progress, config.lr_floor)
        lr_scale = course * self._adapted
        self.optimizer.set_lr_scale(lr_scale, apart=course)
        batch = self._advantage_batch(rollout)
        metrics = Metrics(self.device)
        metrics.add("explained_variance", explained_variance(batch.values, batch.returns))
        skipped_before = self.optimizer.skipped.clone()
        for epoch in range(config.epochs):
            kls = []
            for minibatch in iterate_minibatches(batch, config.minibatches, self.generator):
                log_ratio = self._gradient_step(minibatch, metrics)
                if epoch == 0 and not kls:
                    metrics.add("first_ratio_error", log_ratio.expm1().abs().max())
                kls.append(approximate_kl(log_ratio))
            # The one place where an update waits for the device, and only if asked to.
            if config.desired_kl is not None and torch.stack(kls).mean() > config.desired_kl:
                break
        self.policy.normalizer.update(rollout.obs)
        self.iteration += 1
        metrics.add("entropy", self.policy.gaussian.entropy())
        metrics.add("mean_std", self.policy.gaussian.std)
        metrics.add("learning_rate", lr_scale * config.lr)
        metrics.add("skipped_updates", self.optimizer.skipped - skipped_before)
        self._finish_update(metrics)
        values = metrics.to_floats()
        if config.schedule == "adaptive" and self.iteration > config.critic_warmup:
            kl = values.get("kl", math.inf)
            self._adapted = adapted(self._adapted, kl, config.desired_kl, config.lr_floor)
        return values

    def state_dict(self) -> dict[str, Any]:
        """A snapshot (copies) of everything that training depends on, except the environment.

        It holds tensors, numbers, strings and dicts only, so that
        ``torch.load(weights_only=True)`` reads it back.
        """
        return {
            "policy": copies(self.policy),
            "optimizer": self.optimizer.state_dict(),
            "return_scaler": copies(self.return_scaler),
            "episodes": copies(self.episodes),
            "noise": copies(self.noise),
            "generator": {"device": self.device.type, "state": self.generator.get_state()},
            "iteration": self.iteration,
            "adapted": self._adapted,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a snapshot taken with the same networks, optimiser kind and number of worlds.

        Raises:
            ValueError: if the number of worlds or the optimiser kind differs.
            RuntimeError: if the networks differ.
        """
        num_envs = len(state["return_scaler"]["returns"])
        if num_envs != self.num_envs:
            raise ValueError(f"the snapshot is of {num_envs} worlds, not {self.num_envs}")
        self.optimizer.load_state_dict(state["optimizer"])
        self.policy.load_state_dict(state["policy"])
        self.return_scaler.load_state_dict(state["return_scaler"])
        self.episodes.load_state_dict(state["episodes"])
        self.noise.load_state_dict(state["noise"])
        self.iteration = state["iteration"]
        self._adapted = state.get("adapted", 1.0)
        if state["generator"]["device"] == self.device.type:
            self.generator.set_state(state["generator"]["state"].cpu())
        else:
            warnings.warn("the random state of another device type is not restored", stacklevel=2)

    # What an agent built on PPO overrides: the reward, and what follows each phase.
    def _reward(self, result: StepResult, metrics: Metrics) -> Tensor:
        """The (N,) reward to learn from of one step."""
        return result.reward

    def _finish_collect(self, metrics: Metrics) -> None:
        """Called once, after the last step of ``collect``."""

    def _finish_update(self, metrics: Metrics) -> None:
        """Called once, after the policy and its normaliser have changed."""

    def _gradient_step(self, batch: Batch, metrics: Metrics) -> Tensor:
        """Take one step on a minibatch; its (B,) log ratios before the step."""
        config = self.config
        with self._autocast():
            log_probs, entropy, values = self.policy.evaluate(batch.obs, batch.actions)
        log_ratio = log_probs - batch.log_probs
        ratio = log_ratio.exp().float()
        advantages = batch.advantages
        if config.normalize_advantage:
            advantages = standardize(advantages)
        surrogate = policy_loss(ratio, advantages, config.clip)
        regression = value_loss(values, batch.values, batch.returns, config.value_clip)
        loss = config.value_coef * regression
        if self.iteration >= config.critic_warmup:
            loss = surrogate + loss - config.entropy_coef * entropy
        self.optimizer.zero_grad()
        loss.backward()
        grad_norm = self.optimizer.step()

        log_ratio = log_ratio.detach()
        applied = grad_norm.isfinite()
        metrics.add("policy_loss", surrogate, weight=applied)
        metrics.add("value_loss", regression, weight=applied)
        metrics.add("kl", approximate_kl(log_ratio), weight=applied)
        metrics.add("clip_fraction", (ratio - 1.0).abs() > config.clip, weight=applied)
        metrics.add("grad_norm", grad_norm, weight=applied)
        return log_ratio

    def _advantage_batch(self, rollout: Rollout) -> Batch:
        """All samples of a rollout with their advantages, in scaled rewards if configured."""
        rewards = rollout.rewards
        if self.config.reward_scaling:
            self.return_scaler.update(rewards, rollout.done)
            rewards = self.return_scaler(rewards)
        advantages = generalized_advantage(
            rewards,
            rollout.values,
            rollout.next_values,
            rollout.terminated,
            rollout.done,
            self.config.gamma,
            self.config.lam,
        )
        return rollout.flatten(advantages)

    def _empty_rollout(self, env: VecEnv) -> Rollout:
        if env.num_envs != self.num_envs:
            raise ValueError(f"the environment has {env.num_envs} worlds, not {self.num_envs}")
        if self._rollout is None:
            sizes = (self.config.num_steps, self.num_envs, env.obs_dim, env.action_dim)
            self._rollout = Rollout(*sizes, device=self.device)
        self._rollout.clear()
        return self._rollout

    def _autocast(self) -> AbstractContextManager:
        return autocast("bfloat16" if self.config.mixed_precision else "float32", self.device)


def copies(module: nn.Module) -> dict[str, Tensor]:
    """A module's state dict, in tensors of its own."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
