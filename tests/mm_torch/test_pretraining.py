"""A policy's first lesson."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch

from agents.metrics import Metrics
from cfg import UserError
from mm_torch.action import MeanExcitation
from mm_torch.build import make_agent, make_env
from mm_torch.checkpoint import load_checkpoint
from mm_torch.evaluation import evaluate, summarize
from mm_torch.mirrored_task import MirroredTask
from mm_torch.policy_loading import load_policy
from mm_torch.pretraining import Lesson
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
        agent, rounds = make_agent(config, task), []
        env = make_env(config, task)
        lesson = Lesson(agent.policy, env, config.pretraining, "sigmoid", 0)
        assert lesson.give(rounds.append)
        assert lesson.steps == 80 and lesson.error < 0.2
        assert rounds[-1]["lesson/states"] == (160 if mirror else 80)
        policy, seen = MeanExcitation(agent.policy, "sigmoid"), MirroredTask(task)
        with torch.no_grad():
            told = seen.muscles(policy.excitation(task.observe()))
            asked[mirror] = float((policy.excitation(seen.observe()) - told).square().mean().sqrt())
        task.simulator.close()
    assert asked[True] < 0.5 * asked[False], asked


def test_bodies_act_with_and_without_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy is played without noise: some of the bodies that it learns from are, too."""
    settings = ("pretraining.rounds=1", "pretraining.steps=40")
    config, task = small_config("bimanual", *settings), small_task("bimanual", *settings)
    agent, env, differences = make_agent(config, task), make_env(config, task), []
    lesson = Lesson(agent.policy, env, config.pretraining, "sigmoid", 0)
    policy, step = MeanExcitation(agent.policy, "sigmoid", 5), env.step

    def watched(action: torch.Tensor) -> object:
        with torch.no_grad():
            differences.append(action.sigmoid() - policy.excitation(task.observe()))
        return step(action)

    monkeypatch.setattr(env, "step", watched)
    lesson._visit(lambda: False, Metrics("cpu"))
    deviation = torch.stack(differences).std((0, 2))  # 40 steps of 64 muscles of each world
    expected = torch.tensor([0.0, 1.0, 2.0, 3.0]) / 3 * 0.05
    torch.testing.assert_close(deviation, expected, atol=1e-3, rtol=0.05)
    task.simulator.close()


@pytest.mark.parametrize(("calls", "agent"), [(14, ()), (35, SMALL), (55, ())])
def test_a_lesson_goes_on_where_it_was_interrupted(
    calls: int, agent: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of it, resumed, and the training after it end as if nothing had happened.

    The signal comes in the first round's updates or the second's steps or updates, of ten and
    twenty each; the lesson ends there.
    """
    settings = [item.replace("updates=60", "updates=20") for item in (*LESSON, *agent)]
    whole = Trainer(small_config("bimanual", *settings), tmp_path / "whole")
    assert whole.train() is False
    asked = []
    give = Lesson.give

    def interrupted(lesson: Lesson, report: object, stop: object) -> bool:
        def look() -> bool:
            asked.append(1)
            if len(asked) == calls:
                signal.raise_signal(signal.SIGTERM)
            return stop()

        return give(lesson, report, look)

    monkeypatch.setattr(Lesson, "give", interrupted)
    folder = tmp_path / "run"
    trainer, save, saved = Trainer(whole.config, folder), Trainer.save, []
    monkeypatch.setattr(Trainer, "save", lambda self, name: (saved.append(name), save(self, name)))
    assert trainer.train() is True
    assert saved == ["best", "last"]  # once: it may be gigabytes
    assert len(asked) == calls and trainer.steps == calls // 30 * 40
    trainer.close()
    content = load_checkpoint(folder / "checkpoints" / "last.pt")
    assert len(content["lesson"]["obs"]) == calls // 30 * 40
    resumed = Trainer(trainer.config, folder, content)
    assert resumed.train() is False
    assert resumed.steps == whole.steps > 2 * 40
    expected = whole.agent.policy.state_dict()
    for name, value in resumed.agent.policy.state_dict().items():
        assert torch.equal(value, expected[name]), name
    assert resumed.evaluations.keys() == {"untrained", "pretrained", "trained"}
    assert "lesson" not in load_checkpoint(folder / "checkpoints" / "last.pt")
    resumed.close()
    whole.close()


@pytest.mark.parametrize("ending", [True, False])
def test_a_teacher_that_dies_of_the_same_signal_is_no_error(
    ending: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, task = small_config("bimanual", *LESSON), small_task("bimanual", *LESSON)
    lesson = Lesson(
        make_agent(config, task).policy, make_env(config, task), config.pretraining, "sigmoid", 0
    )
    dead = []

    def die(lesson: Lesson) -> None:
        dead.append(1)
        raise UserError("a process died")

    monkeypatch.setattr(Lesson, "_teach", die)
    if ending:
        assert lesson.give(stop=lambda: bool(dead)) is False
        assert len(dead) == 1 and lesson.steps == 0
    else:
        with pytest.raises(UserError, match="a process died"):
            lesson.give()
    task.simulator.close()


def test_a_lesson_that_was_another_is_said_in_a_line(tmp_path: Path) -> None:
    trainer = Trainer(small_config("bimanual", *LESSON), tmp_path)
    lesson = Lesson(trainer.agent.policy, trainer.env, trainer.config.pretraining, "sigmoid", 0)
    lesson.give()
    trainer.config.pretraining.rounds = 1
    with pytest.raises(UserError, match=r"the checkpoint's lesson is another one than pretrain"):
        Lesson(
            trainer.agent.policy, trainer.env, trainer.config.pretraining, "sigmoid", 0,
            lesson.state_dict(),
        )  # fmt: skip
    trainer.close()


def test_walks_go_on_from_round_to_round() -> None:
    """States late in a motion are asked about as well, although a round is short."""
    settings = (*LESSON, "reset.start=first", "termination.site_deviation=10")
    config, task = small_config("bimanual", *settings), small_task("bimanual", *settings)
    agent, env = make_agent(config, task), make_env(config, task)
    Lesson(agent.policy, env, config.pretraining, "sigmoid", 0).give()
    assert (task.next_frame == 2 * 10 + 1).all()
    task.simulator.close()


def test_a_policy_can_be_looked_at_during_its_lesson(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The policy after each round is saved, with what it was taught up to there and no more."""
    monkeypatch.setattr("mm_torch.trainer._LESSON_INTERVAL", 0.0)
    trainer = Trainer(small_config("bimanual", *LESSON), tmp_path)
    path, policies = tmp_path / "checkpoints" / "lesson.pt", []

    def look(values: dict[str, float]) -> None:
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


def test_every_round_is_on_the_dashboard(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    trainer = Trainer(small_config("bimanual", *LESSON), tmp_path)
    trainer.train()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    first, second, iteration = lines[:3]
    assert [line["steps"] for line in (first, second, iteration)] == [40, 80, 80 + 32]
    assert first["iteration"] == second["iteration"] == 0 and "Lesson/round" not in iteration
    assert (first["Lesson/states"], second["Lesson/states"]) == (40, 80)
    assert second["Lesson/error"] < first["Lesson/error"] < 0.5
    assert first["Train/mean_step_reward"] > 0 and second["Train/mean_step_reward"] > 0
    assert first["Perf/teacher_time"] == 0.0 < first["Perf/collection_time"]
    took = sum(line["Perf/collection_time"] + line["Perf/learning_time"] for line in lines[:2])
    assert first["Perf/elapsed"] < took < second["Perf/elapsed"] < iteration["Perf/elapsed"]
    assert first["Perf/total_fps"] == pytest.approx(40 / first["Perf/elapsed"], rel=0.5)
    assert {"Tracking_Error/site", "Train/termination_rate", "faults/nonfinite"} <= first.keys()
    assert f"round 2 of 2, 80 states, excitations off by {second['Lesson/error']:.3f}" in (
        capsys.readouterr().out
    )
    trainer.close()


def test_a_lesson_ends_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the round in which its minutes are used up, at a rate that falls by them."""
    settings = ("pretraining.rounds=100", "pretraining.minutes=1", "pretraining.lr_floor=0.1",
                *LESSON[1:])  # fmt: skip
    config, task = small_config("bimanual", *settings), small_task("bimanual", *settings)
    lesson = Lesson(
        make_agent(config, task).policy, make_env(config, task), config.pretraining, "sigmoid", 0
    )
    seconds, rounds = iter(range(0, 1000, 7)), []
    monkeypatch.setattr("mm_torch.pretraining.time.perf_counter", lambda: float(next(seconds)))
    assert lesson.give(rounds.append)
    took = rounds[0]["collection_time"] + rounds[0]["learning_time"]
    assert took == 14.0 and lesson.seconds == 14.0 * 5 and len(rounds) == 5
    rates = [values["learning_rate"] for values in rounds]
    assert rates == pytest.approx([0.02 * (1 - 0.9 * 14 * n / 60) for n in range(5)])
    task.simulator.close()


def test_updates_in_bfloat16_teach_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is rounded is the way to an update; the policy itself stays float32, and acts in it."""
    errors, learnt = {}, {}
    for precision in ("float32", "bfloat16"):
        settings = (*LESSON, f"pretraining.precision={precision}")
        config, task = small_config("bimanual", *settings), small_task("bimanual", *settings)
        agent, env = make_agent(config, task), make_env(config, task)
        lesson = Lesson(agent.policy, env, config.pretraining, "sigmoid", 0)
        acted, excitation = set(), lesson._act.excitation

        def watched(obs: torch.Tensor, told: set = acted, act: object = excitation) -> torch.Tensor:
            if not torch.is_grad_enabled():
                told.add(torch.is_autocast_enabled("cpu"))
            return act(obs)

        monkeypatch.setattr(lesson._act, "excitation", watched)
        assert lesson.give()
        assert acted == {False}
        errors[precision] = lesson.error
        learnt[precision] = torch.cat(
            [p.detach().flatten() for p in agent.policy.actor.parameters()]
        )
        task.simulator.close()
    full, half = learnt.values()
    assert full.dtype == half.dtype == torch.float32
    assert 1e-4 < float((half - full).norm() / full.norm()) < 0.1
    assert errors["bfloat16"] == pytest.approx(errors["float32"], rel=0.05)


def test_a_lesson_may_count_states_by_their_roots() -> None:
    """Another way to the same excitations."""
    heads = []
    for loss in ("squared", "root"):
        settings = (*LESSON, f"pretraining.loss={loss}")
        config, task = small_config("bimanual", *settings), small_task("bimanual", *settings)
        agent = make_agent(config, task)
        lesson = Lesson(agent.policy, make_env(config, task), config.pretraining, "sigmoid", 0)
        assert lesson.give()
        assert lesson.error < 0.2
        heads.append(agent.policy.actor.head.weight.detach())
        task.simulator.close()
    assert float((heads[1] - heads[0]).norm() / heads[0].norm()) > 1e-3


def test_torch_has_one_thread_while_bodies_are_simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    """And its own number of them for the updates, also after an error on the way."""
    config, task = small_config("bimanual", *LESSON), small_task("bimanual", *LESSON)
    agent, env = make_agent(config, task), make_env(config, task)
    lesson = Lesson(agent.policy, env, config.pretraining, "sigmoid", 0)
    acting, learning, step, learn = [], [], env.step, lesson._learn

    def watched_step(action: torch.Tensor) -> object:
        acting.append(torch.get_num_threads())
        return step(action)

    def watched_learn(stop: object) -> bool:
        learning.append(torch.get_num_threads())
        return learn(stop)

    def broken(action: torch.Tensor) -> None:
        raise UserError("no simulation")

    monkeypatch.setattr(env, "step", watched_step)
    monkeypatch.setattr(lesson, "_learn", watched_learn)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert lesson.give()
        assert acting == [1] * 20 and learning == [3] * 2
        monkeypatch.setattr(env, "step", broken)
        with pytest.raises(UserError, match="no simulation"):
            Lesson(agent.policy, env, config.pretraining, "sigmoid", 0).give()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
        task.simulator.close()


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


def test_a_lesson_can_be_all_of_a_run(tmp_path: Path) -> None:
    settings = [s.replace("total_steps=64", "total_steps=0") for s in LESSON]
    trainer = Trainer(small_config("bimanual", *settings), tmp_path / "whole")
    assert trainer.train() is False
    assert (trainer.iteration, trainer.steps) == (0, 2 * 10 * 4)
    # What the lesson taught is what was trained; it is not measured twice.
    assert trainer.evaluations.keys() == {"untrained", "trained"}
    trainer.close()
    written = load_checkpoint(tmp_path / "whole" / "checkpoints" / "last.pt")
    loaded = load_policy(tmp_path / "whole" / "checkpoints" / "best.pt")
    for name, value in loaded.policy.actor.state_dict().items():
        assert torch.equal(value, written["agent"]["policy"]["actor." + name]), name
    loaded.task.simulator.close()
    # Interrupted, it goes on with the lesson.
    half = Trainer(small_config("bimanual", *settings), tmp_path / "half")
    round_given = half.pretrain.__func__

    def interrupted(self: Trainer, report: object) -> float:
        def stop_after_one(values: dict[str, float]) -> None:
            report(values)
            self._stop = True

        return round_given(self, stop_after_one)

    half.pretrain = interrupted.__get__(half)
    assert half.train() is True and half.steps == 10 * 4
    assert half.evaluations.keys() == {"untrained"}
    half.close()
    content = load_checkpoint(tmp_path / "half" / "checkpoints" / "last.pt")
    rest = Trainer(small_config("bimanual", *settings), tmp_path / "half", content)
    assert rest.train() is False and rest.steps == trainer.steps
    ended = load_checkpoint(tmp_path / "half" / "checkpoints" / "last.pt")
    for name, value in written["agent"]["policy"].items():
        assert torch.equal(value, ended["agent"]["policy"][name]), name
    rest.close()


def test_what_it_needs_is_said_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="total_steps=0: nothing to train: set it to the steps"):
        Trainer(small_config("bimanual", "total_steps=0"), tmp_path)
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
