"""PPO whose reward is, in part, how well a motion passes for a real one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from agents.amp.config import AMPConfig
from agents.amp.discriminator import Discriminator, DiscriminatorTrainer
from agents.amp.losses import style_reward
from agents.amp.replay import SampleRing, fill_unusable, usable
from agents.metrics import Metrics
from agents.policy import ActorCritic
from agents.ppo import PPO, copies
from agents.ppo_config import PPOConfig
from agents.rollout import Rollout
from agents.vec_env import StepResult, VecEnv

# An iteration leaves at most one part in so many of the memory, which so spans as many iterations.
_SPAN = 64
# Samples of either kind by which an iteration moves the normaliser.
_STATISTICS = 4096


class AMP(PPO):
    """Adversarial motion priors (arXiv:2104.02180) and their variant ADD (arXiv:2505.04961).

    A discriminator learns to tell what the policy does from what is real; the policy is rewarded
    for ``task_weight * task + style_weight * style``, where style is ``style_scale`` times the
    reward of the discriminator's logit. "What" is ``StepResult.judged``.

    The discriminator and its normaliser change only at the very end of ``update``, after the
    policy has: first the statistics, from as many real as policy samples, then the weights. All
    steps of a rollout are therefore judged by one function, the one that its last update left.

    Steps that are not finite have no style, do not enter the samples, and are counted.
    """

    def __init__(
        self,
        policy: ActorCritic,
        config: PPOConfig,
        amp: AMPConfig,
        num_envs: int,
        *,
        judged_dim: int,
        expert: Callable[[int, torch.Generator], Tensor],
        judged_name: str = "",
        seed: int = 0,
    ) -> None:
        """Make the agent.

        Args:
            policy: see PPO, as ``config`` and ``num_envs``.
            amp: hyperparameters of the discriminator and weights of the rewards.
            judged_dim: size of a judged sample.
            expert: (count, judged_dim) real samples, drawn by a generator on the policy's device:
                pairs of style observations of consecutive frames, or zeros for ADD.
            judged_name: says what is judged; a snapshot of another name is refused.
            seed: of everything random.

        Raises:
            ValueError: as PPO, or if ``expert`` returns another size.
        """
        super().__init__(policy, config, num_envs, seed=seed)
        self.amp, self.judged_dim, self.judged_name = amp, judged_dim, judged_name
        weights = torch.Generator().manual_seed(seed)
        self.discriminator = Discriminator(judged_dim, amp, weights).to(self.device)
        self.trainer = DiscriminatorTrainer(self.discriminator, amp)
        self.replay = SampleRing(amp.replay, judged_dim, self.device)
        # Of its own, so that the policy's noise does not depend on the discriminator's settings.
        self.style_generator = torch.Generator(self.device).manual_seed(seed + 1)
        self._fresh = SampleRing(config.num_steps * num_envs, judged_dim, self.device)
        self._styles: list[Tensor] = []
        self._expert = expert
        shape = tuple(expert(2, torch.Generator(self.device).manual_seed(seed)).shape)
        if shape != (2, judged_dim):
            raise ValueError(
                f"expert(2, generator) returned {shape}, expected {(2, judged_dim)}: real samples "
                "must be what the environment judges"
            )

    def collect(self, env: VecEnv, obs: Tensor) -> tuple[Rollout, Tensor, dict[str, float]]:
        """Act for ``num_steps`` as PPO does; ``reward`` is the weighted sum of task and style.

        Adds ``task_reward``; of the style reward (with ``style_scale``, without ``style_weight``)
        ``style/reward_mean``, ``_std``, ``_low`` and ``_high`` (10th and 90th percentile); and
        ``style/nonfinite``, the share of steps that could not be judged.

        Raises:
            ValueError: if the environment has other worlds or judges nothing of this size.
        """
        self._fresh.clear()
        self._styles.clear()
        return super().collect(env, obs)

    def state_dict(self) -> dict[str, Any]:
        """PPO's snapshot, and under "style" the discriminator with all that its training needs."""
        style = {
            "judged_name": self.judged_name,
            "kind": self.amp.kind,
            "discriminator": copies(self.discriminator),
            "optimizer": self.trainer.optimizer.state_dict(),
            "replay": self.replay.state_dict(),
            "generator": self.style_generator.get_state(),
        }
        return super().state_dict() | {"style": style}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a snapshot.

        Raises:
            ValueError: it has no discriminator, or one of another kind, of other judged samples or
                with another memory; or as PPO.
            RuntimeError: the networks differ.
        """
        if "style" not in state:
            raise ValueError("the snapshot has no discriminator: it was made by another agent")
        style = state["style"]
        for name, own in (("kind", self.amp.kind), ("judged_name", self.judged_name)):
            if style[name] != own:
                raise ValueError(
                    f"the snapshot's discriminator has {name} {style[name]!r}, not {own!r}: "
                    "resume with the settings that it was trained with"
                )
        self.replay.load_state_dict(style["replay"])
        super().load_state_dict(state)
        self.discriminator.load_state_dict(style["discriminator"])
        self.trainer.optimizer.load_state_dict(style["optimizer"])
        # PPO warns where the device type differs, of which the state cannot be restored.
        if state["generator"]["device"] == self.device.type:
            self.style_generator.set_state(style["generator"].cpu())

    @torch.no_grad()
    def _reward(self, result: StepResult, metrics: Metrics) -> Tensor:
        judged = result.judged
        if judged is None or judged.shape != (self.num_envs, self.judged_dim):
            found = "None" if judged is None else f"of shape {tuple(judged.shape)}"
            raise ValueError(
                f"StepResult.judged is {found}, expected {(self.num_envs, self.judged_dim)}: the "
                "environment must say what the discriminator judges"
            )
        self._fresh.add(judged)
        logits = self.discriminator(judged)
        style = self.amp.style_scale * style_reward(logits, self.amp.loss, self.amp.style_clip)
        good = usable(judged)
        self._styles.append(style.masked_fill(~good, torch.nan))
        metrics.add("style/nonfinite", ~good)
        task = result.reward
        finite = task.isfinite()
        weight = finite.double().mean()
        metrics.add("task_reward", task.masked_fill(~finite, 0.0).sum() / finite.sum(), weight)
        # A reward of the task that is not finite stays so: PPO replaces and counts it.
        return self.amp.task_weight * task + self.amp.style_weight * style.masked_fill(~good, 0.0)

    def _finish_collect(self, metrics: Metrics) -> None:
        styles = torch.stack(self._styles).flatten()
        judged = styles.isfinite()
        mean = styles.nanmean()
        std = (styles - mean).square().nanmean().sqrt()
        low, high = styles.nanquantile(0.1), styles.nanquantile(0.9)
        for name, value in (("mean", mean), ("std", std), ("low", low), ("high", high)):
            metrics.add(f"style/reward_{name}", value, weight=judged.any())

    def _finish_update(self, metrics: Metrics) -> None:
        amp, generator, fresh = self.amp, self.style_generator, self._fresh
        count = min(fresh.capacity, _STATISTICS)
        statistics = self.discriminator.normalizer
        statistics.update(fresh.draw(count, generator))
        if amp.kind == "amp":  # ADD's zeros have no scale
            statistics.update(self._expert(count, generator))
        self.replay.add(fresh.draw(min(fresh.capacity, -(-amp.replay // _SPAN)), generator))
        for _ in range(amp.updates or self.config.epochs * self.config.minibatches):
            real = self._expert(amp.batch_size, generator)
            metrics.add("style/nonfinite_real", ~usable(real))
            policy = [ring.draw(amp.batch_size, generator) for ring in (fresh, self.replay)]
            self.trainer.step(fill_unusable(real), torch.cat(policy), metrics)
