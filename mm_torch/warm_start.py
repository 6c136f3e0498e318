"""Start training from the policy of another run, whichever agent trained it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import nn

from agents import PPO
from agents.world_model import WorldModelAgent
from cfg import UserError
from mm_torch.checkpoint import load_checkpoint

# What the policy's inputs, outputs and shape depend on.
_SHAPE = ("embodiment", "fingers", "action.mapping", "observation", "network.actor_hidden",
          "network.critic_hidden", "network.residual", "network.direct",
          "network.obs_clip")  # fmt: skip

_MISSING = object()


def shape_settings(path: str | Path, given: Sequence[str]) -> list[str]:
    """Return the settings (``key=value``) that give a run the policy of a checkpoint.

    Args:
        path: the checkpoint.
        given: the user's own settings, whose keys are left to them.

    Raises:
        UserError: the file is no checkpoint.
    """
    saved = OmegaConf.create(load_checkpoint(path)["config"])
    mine = {setting.partition("=")[0] for setting in given}
    settings = []
    for key in _SHAPE:
        value = OmegaConf.select(saved, key, default=_MISSING)
        if value is _MISSING:  # a setting younger than the checkpoint
            continue
        leaves = value.items() if isinstance(value, DictConfig) else [(None, value)]
        for name, leaf in leaves:
            full = key if name is None else f"{key}.{name}"
            if full not in mine:
                leaf = OmegaConf.to_container(leaf) if OmegaConf.is_list(leaf) else leaf
                text = "null" if leaf is None else str(leaf)
                settings.append(f"{full}={text}")
    return settings


def warm_start(agent: PPO | WorldModelAgent, path: str | Path) -> None:
    """Give an untrained agent the policy of a checkpoint: its networks and normaliser.

    The standard deviation of the actions stays that of the configuration. A value function comes
    along only between agents of the same kind: theirs estimate different returns.

    Raises:
        UserError: the policy does not fit.
    """
    state = load_checkpoint(path)["agent"]
    same = ("learner" in state) == isinstance(agent, WorldModelAgent)
    for part in ("normalizer", "actor", *(("critic",) if same else ())):
        _load(getattr(agent.policy, part), state["policy"], part, path)
    agent.adopt(agent.policy)


def _load(module: nn.Module, state: dict[str, Any], part: str, path: str | Path) -> None:
    own = {k.removeprefix(f"{part}."): v for k, v in state.items() if k.startswith(f"{part}.")}
    try:
        module.load_state_dict(own)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"warm_start={path}: its {part} does not fit the settings ({reason}); leave "
            f"observation.* and network.* to the checkpoint"
        ) from error
