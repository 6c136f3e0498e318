"""A policy's first lesson."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch

from cfg import UserError
from mm_torch.action import MeanExcitation
from mm_torch.build import make_agent, make_env
from mm_torch.checkpoint import load_checkpoint
from mm_torch.evaluation import evaluate, summarize
from mm_torch.mirrored_task import MirroredTask
from mm_torch.policy_loading import load_policy
from mm_torch.pretraining import pretrain
from mm_torch.trainer import Trainer
from tests.mm_torch.helpers import small_config, small_task
from tests.mm_torch.test_imagined_task import SMALL

LESSON = ("pretraining.rounds=2", "pretraining.steps=10", "pretraining.updates=60",
          "pretraining.batch=32", "evaluation.max_steps=40", "total_steps=64",
          "network.actor_hidden=[64]", "pretraining.lr=0.02")  # fmt: skip


@pytest.mark.parametrize("agent", [(), SMALL])
def test_policy_learns_the_reference_activations(agent: tuple[str, ...], tmp_path: Path) -> None:
    trainer = Trainer(small_config("bimanual", *agent, *LESSON, "network.init_mean=0"), tmp_path)
    task = trainer.task
    everywhere = torch.ones(4, dtype=torch.bool)
    policy = MeanExcitation(trainer.agent.policy, "sigmoid")

    @torch.no_grad()
    def error() -> float:
        task.place(everywhere, torch.arange(4), torch.full((4,), 30))
        shown = task.library.activations(task.clip, task.next_frame)
        return float((policy.excitation(task.observe()) - shown).square().mean().sqrt())

    before = error()
    untrained = summarize(evaluate(task, policy))["return_per_step"]
    reported = trainer.pretrain()
    assert before > 0.4  # excitations of one half
    assert error() < 0.3 * before and reported < 0.3 * before
    assert summarize(evaluate(task, policy))["return_per_step"] > untrained
    assert trainer.steps == 2 * 10 * 4
    trainer.close()


def test_mirror_images_are_learnt_from_as_well() -> None:
    """Twice the states from the same steps, and what is learnt of one arm serves the other."""
    asked = {}
    for mirror in (False, True):
        settings = (*LESSON, f"pretraining.mirror={mirror}")
        config, task = small_config("bimanual", *settings), small_task("bimanual", *settings)
        agent, lines = make_agent(config, task), []
        steps, error = pretrain(
            agent.policy, make_env(config, task), config.pretraining, "sigmoid", 0, lines.append
        )
        assert steps == 80 and error < 0.2
        assert f"{160 if mirror else 80} states" in lines[-1]
        policy, seen = MeanExcitation(agent.policy, "sigmoid"), MirroredTask(task)
        with torch.no_grad():
            told = seen.muscles(policy.excitation(task.observe()))
            asked[mirror] = float((policy.excitation(seen.observe()) - told).square().mean().sqrt())
        task.simulator.close()
    assert asked[True] < 0.5 * asked[False], asked


def test_a_lesson_can_be_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends at the step that the signal came at; what it taught is saved and can be resumed."""
    trainer = Trainer(small_config("bimanual", *LESSON), tmp_path)
    step, done = trainer.env.step, []

    def interrupted(action: torch.Tensor) -> object:
        done.append(1)
        if len(done) == 14:  # in the second of two rounds of ten
            signal.raise_signal(signal.SIGTERM)
        return step(action)

    monkeypatch.setattr(trainer.env, "step", interrupted)
    assert trainer.train() is True
    assert len(done) == 14 and trainer.steps == 14 * 4
    trainer.close()
    content = load_checkpoint(tmp_path / "checkpoints" / "last.pt")
    resumed = Trainer(trainer.config, tmp_path, content)
    assert resumed.train() is False
    assert resumed.steps == 14 * 4 + 64
    resumed.close()


def test_a_lesson_ends_among_its_updates_too() -> None:
    config, task = small_config("bimanual", *LESSON), small_task("bimanual", *LESSON)
    agent, calls, lines = make_agent(config, task), [], []

    def stop() -> bool:
        calls.append(1)
        return len(calls) > 10 + 5  # ten steps and five of sixty updates

    env = make_env(config, task)
    steps, error = pretrain(agent.policy, env, config.pretraining, "sigmoid", 0, lines.append, stop)
    assert steps == 10 * 4 and len(calls) == 10 + 5 + 2 and len(lines) == 1
    assert 0.0 < error < 0.5
    task.simulator.close()


def test_walks_go_on_from_round_to_round() -> None:
    """States late in a motion are asked about as well, although a round is short."""
    settings = (*LESSON, "reset.start=first", "termination.site_deviation=10")
    config, task = small_config("bimanual", *settings), small_task("bimanual", *settings)
    agent, env = make_agent(config, task), make_env(config, task)
    pretrain(agent.policy, env, config.pretraining, "sigmoid", 0)
    assert (task.next_frame == 2 * 10 + 1).all()
    task.simulator.close()


def test_a_policy_can_be_looked_at_during_its_lesson(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The policy after each round is saved, with what it was taught up to there and no more."""
    monkeypatch.setattr("mm_torch.trainer._LESSON_INTERVAL", 0.0)
    trainer = Trainer(small_config("bimanual", *LESSON), tmp_path)
    path, policies = tmp_path / "checkpoints" / "lesson.pt", []

    def look(line: str) -> None:
        if path.exists():
            loaded = load_policy(path)
            with torch.no_grad():
                policies.append(loaded.act.excitation(torch.zeros(1, trainer.env.obs_dim)))
            loaded.task.simulator.close()

    trainer.pretrain(look)
    taught = MeanExcitation(trainer.agent.policy, "sigmoid")
    with torch.no_grad():
        last = taught.excitation(torch.zeros(1, trainer.env.obs_dim))
        saved = load_policy(path)
        assert torch.equal(saved.act.excitation(torch.zeros(1, trainer.env.obs_dim)), last)
    assert len(policies) == 1 and (policies[0] - last).abs().max() > 1e-3
    saved.task.simulator.close()
    trainer.close()


def test_a_run_with_a_lesson_resumes_exactly(tmp_path: Path) -> None:
    config = small_config("bimanual", *SMALL, *LESSON)
    straight = Trainer(config, tmp_path / "straight")
    straight.train()
    assert "pretrained" in straight.evaluations
    straight.close()
    first = Trainer(config, tmp_path / "half")
    first.train(iterations=1)
    first.close()
    content = load_checkpoint(tmp_path / "half" / "checkpoints" / "last.pt")
    second = Trainer(config, tmp_path / "half", content)
    second.train()
    assert second.steps == straight.steps == 64 + 80
    for name, value in straight.agent.learner.state_dict().items():
        assert torch.equal(value, second.agent.learner.state_dict()[name]), name
    second.close()


def test_what_it_needs_is_said_in_a_line(tmp_path: Path) -> None:
    for setting, message in (
        ("reset.activation=zero", "pretraining needs motions with activations"),
        ("action.mapping=musclemimic", "action.mapping=musclemimic: pretraining needs one of"),
    ):
        trainer = Trainer(small_config("bimanual", *LESSON, setting), tmp_path)
        if "activation" in setting:
            trainer.task.library._act = None
        with pytest.raises(UserError, match=message):
            trainer.pretrain()
        trainer.close()
