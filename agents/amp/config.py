"""The hyperparameters of the adversarial agents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

StyleKind = Literal["amp", "add"]
StyleLoss = Literal["least_squares", "logistic"]


@dataclass(frozen=True)
class AMPConfig:
    """Hyperparameters of :class:`agents.amp.agent.AMP`, beside those of PPO.

    A value out of range raises a ValueError.
    """

    # What is judged: "amp" pairs of consecutive style observations, "add" vectors of tracking
    # errors, of which zero is the only real one.
    kind: StyleKind = "amp"
    # "least_squares" (the AMP paper) or "logistic" (the ADD paper).
    loss: StyleLoss = "least_squares"
    # Hidden widths of the discriminator.
    hidden: tuple[int, ...] = (1024, 512)
    # Its learning rate (Adam).
    lr: float = 1e-4
    # Weight of the squared gradient of the logit by its normalised input.
    grad_penalty: float = 5.0
    # Weight of the squared weights of the last layer.
    logit_reg: float = 0.01
    # Weight of the squared weights of all layers.
    weight_decay: float = 1e-4
    # Past samples of the policy that are kept.
    replay: int = 200_000
    # Real, fresh and replayed samples in an update of the discriminator, each.
    batch_size: int = 512
    # Updates of the discriminator per iteration; 0: as many as the policy has.
    updates: int = 0
    # The reward is task_weight * task + style_weight * style.
    task_weight: float = 0.5
    style_weight: float = 0.5
    # Factor of the style reward.
    style_scale: float = 2.0
    # Bound of the style reward before that factor; least squares stay below 1 by themselves.
    style_clip: float = 9.2

    def __post_init__(self) -> None:
        def require(ok: bool, name: str, rule: str) -> None:
            if not ok:
                raise ValueError(f"{name} must be {rule}, got {getattr(self, name)!r}")

        object.__setattr__(self, "hidden", tuple(self.hidden))  # settings give lists
        require(bool(self.hidden) and min(self.hidden) >= 1, "hidden", "one or more widths >= 1")
        for name in ("replay", "batch_size"):
            require(getattr(self, name) >= 1, name, "at least 1")
        for name in ("lr", "style_scale", "style_clip"):
            require(getattr(self, name) > 0, name, "positive")
        for name in ("grad_penalty", "logit_reg", "weight_decay", "updates", "task_weight",
                     "style_weight"):  # fmt: skip
            require(getattr(self, name) >= 0, name, "at least 0")
        for name, options in (("kind", get_args(StyleKind)), ("loss", get_args(StyleLoss))):
            require(getattr(self, name) in options, name, f"one of {options}")
