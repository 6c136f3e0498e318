"""What moves the bodies of a command: a trained policy, or computed muscle control."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from omegaconf import DictConfig
from torch import Tensor

from cfg import UserError, load_config
from mm_torch.build import make_embodiment, make_task
from mm_torch.command_line import flag
from mm_torch.expert import Expert
from mm_torch.policy_loading import load_policy
from mm_torch.task import ImitationTask

#: A command's own arguments that say what moves the bodies, besides cfg=.
ARGUMENTS = ("checkpoint", "teacher")


@dataclass(frozen=True)
class Mover:
    """Bodies, and what moves them.

    Attributes:
        config: the complete configuration.
        task: the bodies on their way.
        act: observation (nworld, obs_dim) to raw action (nworld, nu).
    """

    config: DictConfig
    task: ImitationTask
    act: Callable[[Tensor], Tensor]

    def close(self) -> None:
        """End the processes of computed muscle control, if there are any."""
        if isinstance(self.act, Expert):
            self.act.close()


def make_mover(own: Mapping[str, str], settings: Sequence[str], nworld: int | None = 0) -> Mover:
    """Return the policy of checkpoint=, or with cfg= or teacher=true computed muscle control.

    Args:
        own: the command's own arguments.
        settings: ``key=value`` settings, cfg= among them where there is no checkpoint.
        nworld: worlds to simulate, as in `make_task`.

    Raises:
        UserError: both or none of checkpoint= and cfg=, or a task that muscle control cannot do.
    """
    configured = any(setting.startswith("cfg=") for setting in settings)
    if configured == ("checkpoint" in own):
        raise UserError("give checkpoint=FILE, or cfg=NAME for computed muscle control")
    teacher = flag(own.get("teacher", str(configured)), "teacher")
    if configured and not teacher:
        raise UserError("teacher=false: without checkpoint= there is no policy")
    if configured:
        config = load_config(settings)
        _check_task(config)
        task, policy = make_task(config, make_embodiment(config), nworld, evaluation=True), None
    else:
        loaded = load_policy(own["checkpoint"], settings, nworld)
        config, task, policy = loaded.config, loaded.task, loaded.act
    if teacher:
        _check_task(config)
        processes = 0 if task.simulator.nworld > 1 else 1
        policy = Expert.of(task, config.action.mapping, config.pretraining, processes)
    return Mover(config, task, policy)


def _check_task(config: DictConfig) -> None:
    if config.task.name != "imitation":
        raise UserError(
            f"task.name={config.task.name}: computed muscle control follows a motion: it needs "
            f"task.name=imitation"
        )
