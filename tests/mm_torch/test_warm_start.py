"""A run that begins with another run's policy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from cfg import UserError, load_config
from mm_torch import train
from mm_torch.checkpoint import load_checkpoint
from mm_torch.trainer import Trainer
from mm_torch.warm_start import shape_settings, warm_start
from tests.mm_torch.helpers import small_config
from tests.mm_torch.test_imagined_task import SMALL


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a world-model run of two iterations."""
    folder = tmp_path_factory.mktemp("run")
    config = small_config(
        "bimanual", *SMALL, "total_steps=64", "evaluation.max_steps=5", "observation.phase=true",
        "network.direct=true",
    )  # fmt: skip
    trainer = Trainer(config, folder)
    trainer.train()
    trainer.close()
    return folder / "checkpoints" / "last.pt"


def test_ppo_goes_on_from_a_world_model_and_back(finished: Path, tmp_path: Path) -> None:
    given = [
        "cfg=demo", "sim.backend=mujoco", "sim.nworld=4", "agent.num_steps=8", "device=cpu",
        "agent.minibatch_size=16", "total_steps=64", "evaluation.max_steps=5",
        "agent.critic_warmup=1",
    ]  # fmt: skip
    config = load_config([*given, *shape_settings(finished, given)])
    assert config.agent.name == "ppo" and config.observation.phase  # the checkpoint's
    assert not config.observation.muscle_force and list(config.network.actor_hidden) == [16]
    assert config.network.direct
    trainer = Trainer(config, tmp_path)
    warm_start(trainer.agent, finished)
    saved = load_checkpoint(finished)["agent"]["policy"]
    own = trainer.agent.policy.state_dict()
    for name, value in saved.items():
        if name.startswith(("actor.", "normalizer.")):
            assert torch.equal(own[name], value), name
    assert not torch.equal(own["gaussian.raw"], saved["gaussian.raw"])  # the configuration's
    actor = {k: v.clone() for k, v in trainer.agent.policy.actor.state_dict().items()}
    trainer.train(iterations=1)  # trains the critic alone
    for name, value in trainer.agent.policy.actor.state_dict().items():
        assert torch.equal(value, actor[name]), name
    trainer.train(iterations=1)
    assert not torch.equal(trainer.agent.policy.actor.head.weight, actor["head.weight"])
    trainer.close()
    back = [*given, "agent=world_model", *SMALL[1:]]
    config = load_config([*back, *shape_settings(tmp_path / "checkpoints" / "last.pt", back)])
    other = Trainer(config, tmp_path / "back")
    warm_start(other.agent, tmp_path / "checkpoints" / "last.pt")
    for policy in (other.agent.policy, other.agent.learner):
        assert torch.equal(policy.actor.head.weight, trainer.agent.policy.actor.head.weight)
    other.train(iterations=1)
    other.close()


def test_what_does_not_fit_is_one_line(finished: Path, tmp_path: Path) -> None:
    given = ["cfg=demo", "sim.nworld=4", "device=cpu", "network.actor_hidden=[8]"]
    config = load_config([*given, *shape_settings(finished, given)])
    trainer = Trainer(config, tmp_path)
    with pytest.raises(UserError, match=r"warm_start=.*last\.pt: its actor does not fit"):
        warm_start(trainer.agent, finished)
    trainer.close()
    with pytest.raises(UserError, match="warm_start= cannot be combined with resume="):
        train.main([f"resume={tmp_path}", f"warm_start={finished}"])


def test_a_taught_policy_is_taught_more(tmp_path: Path) -> None:
    """The lesson begins where the first one ended, and may be left out."""
    settings = ["cfg=demo", "sim.backend=mujoco", "sim.nworld=4", "device=cpu", "torch_threads=1",
                "network.actor_hidden=[64]", "network.critic_hidden=[16]", "agent.num_steps=8",
                "agent.minibatch_size=16", "total_steps=32", "evaluation.max_steps=5",
                "pretraining.steps=10", "pretraining.updates=60", "pretraining.batch=32",
                "pretraining.lr=0.005"]  # fmt: skip

    def errors(name: str, rounds: int, *start: str) -> list[float]:
        folder = tmp_path / name
        own = [f"run.dir={folder}", f"pretraining.rounds={rounds}"]
        assert train.main([*settings, *own, *start]) == 0
        lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
        return [line["Lesson/error"] for line in lines if "Lesson/error" in line]

    (first,) = errors("first", 1)
    start = f"warm_start={tmp_path}/first/checkpoints/last.pt"
    (second,) = errors("second", 1, start)
    assert second < 0.6 * first, (first, second)
    assert errors("left_out", 0, start) == []
