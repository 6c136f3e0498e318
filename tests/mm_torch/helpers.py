"""Small tasks for the tests of the environment."""

from __future__ import annotations

from omegaconf import DictConfig

from cfg import load_config
from mm_torch.build import make_task
from mm_torch.task import ImitationTask
from tests.conftest import body


def small_config(embodiment: str = "bimanual", *arguments: str) -> DictConfig:
    """The demo configuration with few worlds and a small network."""
    settings = [
        "cfg=demo", f"embodiment={embodiment}", "sim.backend=mujoco", "sim.nworld=4",
        "network.actor_hidden=[16]", "network.critic_hidden=[16]", "agent.num_steps=8",
        "agent.minibatch_size=16", "agent.epochs=2", "device=cpu", "torch_threads=1",
    ]  # fmt: skip
    given = {argument.split("=")[0] for argument in arguments}
    kept = [setting for setting in settings if setting.split("=")[0] not in given]
    return load_config([*kept, *arguments])


def small_task(embodiment: str = "bimanual", *arguments: str) -> ImitationTask:
    """The imitation task of `small_config` on the demo motions."""
    config = small_config(embodiment, *arguments)
    return make_task(config, body(embodiment, config.fingers, config.phantom_inertia))
