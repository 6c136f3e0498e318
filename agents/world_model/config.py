"""The hyperparameters of the world-model agent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from agents.optimizers import OptimizerKind


@dataclass(frozen=True)
class WorldModelConfig:
    """Hyperparameters of :class:`agents.world_model.agent.WorldModelAgent`.

    A value out of range raises a ValueError.
    """

    # Real control steps of every world per iteration.
    num_steps: int = 32
    # Real steps kept, over all worlds.
    replay: int = 100_000
    # Standard deviation of the excitation noise, in collection and in imagination.
    noise: float = 0.08
    # Correlation of the collection noise from one step to the next.
    noise_correlation: float = 0.0
    # Hidden widths of the dynamics model.
    model_hidden: tuple[int, ...] = (384, 384, 384)
    # Rows of its term that is affine in the activations; 0 leaves the term out.
    model_rank: int = 128
    # Networks of the model, which share every batch.
    members: int = 1
    # One-step updates of the model per iteration, and transitions in each.
    model_updates: int = 100
    model_batch: int = 512
    # Free-running window updates of the model per iteration, windows in each, and their length.
    window_updates: int = 4
    window_batch: int = 128
    window: int = 8
    # Learning rate of the model, at first and (times lr_floor) at the end.
    model_lr: float = 1e-3
    # Imagined steps of a policy update, and starts in each.
    horizon: int = 16
    policy_updates: int = 12
    policy_batch: int = 128
    # Only states of the last so many steps a world are starts; None: all that are kept.
    recent: int | None = None
    # Learning rate of the policy.
    policy_lr: float = 1e-3
    # What the imagined steps are to increase; its meaning is the task's.
    objective: str = "reward"
    # Discount of imagined rewards.
    gamma: float = 0.99
    # Decay of the weight average of the policy, which acts and is evaluated; 0: no average.
    average: float = 0.99
    # Bound of the gradient that reaches a state from its future, per world; None: no bound.
    state_grad_clip: float | None = None
    # Weight of the value at the horizon; 0: no critic.
    critic_weight: float = 0.0
    critic_lr: float = 1e-3
    # Real steps of the windows that the critic is fitted to besides imagined ones; 0: none.
    critic_window: int = 16
    # No policy update while the model explains less of fresh changes of velocity (R2).
    gate: float = 0.0
    # "muon" trains hidden matrices by Muon, "adam" everything by Adam.
    optimizer: OptimizerKind = "adam"
    # Fraction of the learning rates left at the end of training.
    lr_floor: float = 0.1
    # On a CPU, learn in a second thread while the simulation runs.
    overlap: bool = True
    # Compile the model's step (torch.compile): minutes to begin with, and then faster.
    compile: bool = False
    # Iterations between measurements of the model's error over many steps.
    health_interval: int = 5
    # Iterations between probes of whether the model can be exploited (0: none), worlds of a probe
    # and updates of their excitations.
    probe_interval: int = 0
    probe_worlds: int = 8
    probe_updates: int = 20

    def __post_init__(self) -> None:
        def require(ok: bool, name: str, rule: str) -> None:
            if not ok:
                raise ValueError(f"{name} must be {rule}, got {getattr(self, name)!r}")

        positive = ("num_steps", "replay", "model_batch", "window_batch", "window", "horizon",
                    "policy_batch", "members", "health_interval", "probe_worlds",
                    "probe_updates")  # fmt: skip
        for name in positive:
            require(getattr(self, name) >= 1, name, "at least 1")
        for name in ("model_updates", "window_updates", "policy_updates", "model_rank", "noise",
                     "critic_weight", "critic_window", "probe_interval"):  # fmt: skip
            require(getattr(self, name) >= 0, name, "at least 0")
        for name in ("model_lr", "policy_lr", "critic_lr"):
            require(getattr(self, name) > 0, name, "positive")
        for name in ("gamma", "lr_floor"):
            require(0.0 <= getattr(self, name) <= 1.0, name, "in [0, 1]")
        for name in ("average", "noise_correlation"):
            require(0.0 <= getattr(self, name) < 1.0, name, "in [0, 1)")
        for name in ("state_grad_clip", "recent"):
            value = getattr(self, name)
            require(value is None or value > 0, name, "positive or None")
        kinds = get_args(OptimizerKind)
        require(self.optimizer in kinds, "optimizer", f"one of {kinds}")
