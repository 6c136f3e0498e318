"""Loads a trained policy for evaluation, playback or downstream control."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from agents import ActorCritic
from cfg import UserError, config_from_dict, load_config
from mm_torch.action import MeanExcitation
from mm_torch.build import make_embodiment, make_policy, make_task
from mm_torch.checkpoint import check_embodiment, load_checkpoint
from mm_torch.task import ImitationTask


@dataclass(frozen=True)
class LoadedPolicy:
    """A policy with the task it was trained on.

    `act(task.observe())` is the noise-free action to pass to `task.step`. The observation
    normaliser is inside the policy and frozen.
    """

    config: DictConfig
    task: ImitationTask
    policy: ActorCritic
    act: MeanExcitation


def load_policy(
    checkpoint: str | Path, settings: Sequence[str] = (), nworld: int | None = 0
) -> LoadedPolicy:
    """Load a checkpoint and build its task.

    Args:
        checkpoint: a file written by training.
        settings: ``key=value`` overrides, such as ``motions=DIR`` or ``sim.backend=mujoco``.
        nworld: worlds to simulate; 0 = one a clip (a task with a goal: sim.nworld), at most
            sim.nworld; None = sim.nworld.

    Raises:
        UserError: unusable checkpoint, setting or motion set.
    """
    content = load_checkpoint(checkpoint)
    config = load_config(settings, base=config_from_dict(content["config"]))
    embodiment = make_embodiment(config)
    check_embodiment(checkpoint, content, embodiment)
    if nworld == 0 and config.task.name != "imitation":
        nworld = None
    task = make_task(config, embodiment, nworld, evaluation=True)
    sizes = content["sizes"]
    if (sizes["obs"], sizes["action"]) != (task.obs_dim, task.action_dim):
        raise UserError(
            f"checkpoint {checkpoint}: trained with {sizes['obs']} observations and "
            f"{sizes['action']} actions, the settings give {task.obs_dim} and {task.action_dim}"
        )
    policy = make_policy(config, task)
    try:
        policy.load_state_dict(content["agent"]["policy"])
    except RuntimeError as error:
        raise UserError(
            f"checkpoint {checkpoint}: its networks do not fit the settings "
            f"({str(error).splitlines()[0]})"
        ) from error
    act = MeanExcitation(policy, config.action.mapping)
    return LoadedPolicy(config, task, policy.eval(), act)


def untrained(loaded: LoadedPolicy) -> MeanExcitation:
    """Return what `act` was before training: the first weights, with the trained normaliser."""
    fresh = make_policy(loaded.config, loaded.task)
    fresh.normalizer.load_state_dict(loaded.policy.normalizer.state_dict())
    return MeanExcitation(fresh.eval(), loaded.config.action.mapping)
