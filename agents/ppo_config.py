"""The hyperparameters of PPO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from agents.optimizers import OptimizerKind
from agents.schedule import SCHEDULES, ScheduleName


@dataclass(frozen=True)
class PPOConfig:
    """Hyperparameters of :class:`agents.ppo.PPO`; a value out of range raises a ValueError."""

    # Steps collected from every world per iteration (T).
    num_steps: int = 20
    # Passes over the collected data per iteration.
    epochs: int = 1
    # Gradient steps per pass; must divide num_steps * num_envs.
    minibatches: int = 128
    # Discount per step.
    gamma: float = 0.99
    # Weight of longer returns in the advantage: 0 is TD(0), 1 Monte Carlo.
    lam: float = 0.95
    # Probability ratios gain nothing beyond 1 +- clip.
    clip: float = 0.2
    # Values gain nothing by moving further than this in one iteration; None: no limit.
    value_clip: float | None = 0.2
    # Weight of the value loss.
    value_coef: float = 0.5
    # First iterations that train the critic alone: a policy from elsewhere has none that knows it.
    critic_warmup: int = 0
    # Weight of the entropy bonus.
    entropy_coef: float = 0.0
    # Bound of the global gradient norm.
    max_grad_norm: float = 1.0
    # "muon" trains hidden matrices by Muon and the rest by Adam, "adam" everything by Adam.
    optimizer: OptimizerKind = "muon"
    # Base learning rate of Adam.
    lr: float = 4e-4
    # Learning rate of the critic (Adam), not touched by an adaptive schedule; None: as the rest.
    critic_lr: float | None = None
    # Base learning rate of Muon: the spectral norm of one step in a square matrix.
    muon_lr: float = 4e-4
    # Momentum of Muon.
    muon_momentum: float = 0.95
    # Correlation of the action noise from one step to the next; 0 is white noise.
    noise_correlation: float = 0.0
    # Course of both learning rates over training; "adaptive" follows the KL divergence, to keep it
    # near desired_kl.
    schedule: ScheduleName = "linear"
    # Fraction of the base learning rates left at the end of a linear schedule; the least that an
    # adaptive one comes down to.
    lr_floor: float = 0.0
    # Standardise advantages within each minibatch.
    normalize_advantage: bool = True
    # Skip the remaining epochs once the mean KL of one exceeds this, in nats; None: never.
    desired_kl: float | None = None
    # Divide rewards by the running standard deviation of the discounted return.
    reward_scaling: bool = False
    # Run the networks in bfloat16; parameters, densities and losses stay float32 or better.
    mixed_precision: bool = False

    def __post_init__(self) -> None:
        def require(ok: bool, name: str, rule: str) -> None:
            if not ok:
                raise ValueError(f"{name} must be {rule}, got {getattr(self, name)!r}")

        for name in ("num_steps", "epochs", "minibatches"):
            require(getattr(self, name) >= 1, name, "at least 1")
        for name in ("gamma", "lam", "lr_floor"):
            require(0.0 <= getattr(self, name) <= 1.0, name, "in [0, 1]")
        for name in ("clip", "max_grad_norm", "lr", "muon_lr"):
            require(getattr(self, name) > 0.0, name, "positive")
        for name in ("value_clip", "desired_kl", "critic_lr"):
            value = getattr(self, name)
            require(value is None or value > 0.0, name, "positive or None")
        for name in ("value_coef", "entropy_coef", "critic_warmup"):
            require(getattr(self, name) >= 0.0, name, "at least 0")
        for name in ("muon_momentum", "noise_correlation"):
            require(0.0 <= getattr(self, name) < 1.0, name, "in [0, 1)")
        kinds, schedules = get_args(OptimizerKind), tuple(SCHEDULES)
        require(self.optimizer in kinds, "optimizer", f"one of {kinds}")
        require(self.schedule in schedules, "schedule", f"one of {schedules}")
        known = self.schedule != "adaptive" or self.desired_kl is not None
        require(known, "desired_kl", "given for schedule='adaptive'")
