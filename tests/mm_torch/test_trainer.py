"""Training: exact resume, logs, checkpoints, interruption."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cfg import UserError, load_config
from mm_torch.action import MeanExcitation
from mm_torch.build import make_ppo_config
from mm_torch.checkpoint import load_checkpoint
from mm_torch.policy_loading import load_policy
from mm_torch.run_log import RunLog, duration, tag
from mm_torch.trainer import Trainer
from tests.mm_torch.helpers import small_config

STEPS = 4 * 8 * 4  # worlds x steps x iterations


def _same(a, b, where: str = "") -> None:
    """Assert that two nested states are equal bit for bit."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            _same(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), where
        for index, pair in enumerate(zip(a, b, strict=True)):
            _same(*pair, f"{where}[{index}]")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    else:
        assert a == b, where


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_two_and_two_iterations_equal_four(tmp_path: Path, optimizer: str) -> None:
    arguments = (
        f"total_steps={STEPS}", f"agent.optimizer={optimizer}", "agent.reward_scaling=true",
        "network.actor_hidden=[16,16]", "agent.lr_floor=0.1",
    )  # fmt: skip
    config = small_config("bimanual", *arguments)
    straight = Trainer(config, tmp_path / "straight")
    straight.train()
    rates = []
    for folder, content in (("half", None), ("half", "last")):
        path = tmp_path / folder
        checkpoint = load_checkpoint(path / "checkpoints" / "last.pt") if content else None
        trainer = Trainer(config, path, checkpoint)
        assert trainer.iteration == (2 if content else 0)
        trainer.train(iterations=2)
        trainer.close()
    first = load_checkpoint(tmp_path / "straight" / "checkpoints" / "last.pt")
    second = load_checkpoint(tmp_path / "half" / "checkpoints" / "last.pt")
    assert first["iteration"] == second["iteration"] == 4
    assert first["steps"] == second["steps"] == STEPS
    _same(first["agent"], second["agent"])
    _same(first["env"], second["env"])
    logs = []
    for folder in ("straight", "half"):
        lines = (tmp_path / folder / "metrics.jsonl").read_text().splitlines()
        logs.append([json.loads(line) for line in lines])
    for a, b in zip(*logs, strict=True):
        for key in a:
            if not key.startswith("Perf/"):
                assert a[key] == b[key], key
        if "Loss/learning_rate" in a:  # not in the closing evaluation's line
            rates.append(a["Loss/learning_rate"])
    # The schedule went on rather than starting again.
    assert len(set(rates)) == 4
    assert rates == sorted(rates, reverse=True)


def test_logs_and_checkpoints(tmp_path: Path) -> None:
    trainer = Trainer(small_config("bimanual", f"total_steps={STEPS}"), tmp_path)
    assert trainer.train() is False
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [record["iteration"] for record in records] == [1, 2, 3, 4, 4]
    assert records[0]["steps"] == 32
    for name in ("Train/mean_step_reward", "Loss/value_function", "Perf/total_fps",
                 "Policy/mean_std", "Tracking_Error/site", "Episode_Reward/site_pos"):  # fmt: skip
        assert name in records[0], name
    assert "Evaluation/return_per_step" in records[-1]
    events = EventAccumulator(str(tmp_path)).Reload()
    logged = events.Scalars("Train/mean_step_reward")
    assert [event.step for event in logged] == [32, 64, 96, 128]
    assert logged[0].value == pytest.approx(records[0]["Train/mean_step_reward"])
    # First-minibatch ratio of one: the normaliser does not move between acting and learning.
    assert all(record["Loss/first_ratio_error"] < 1e-5 for record in records[:4])
    for name in ("last", "best"):
        path = tmp_path / "checkpoints" / f"{name}.pt"
        content = torch.load(path, weights_only=True)
        assert content["embodiment"] == "bimanual"
        assert content["model"] == trainer.embodiment.fingerprint
    assert not list(tmp_path.rglob("*.tmp"))


def test_interrupt_saves_and_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(small_config("bimanual", f"total_steps={STEPS}"), tmp_path)
    iterate = trainer._iterate

    def interrupted() -> dict[str, float]:
        if trainer.iteration == 1:
            signal.raise_signal(signal.SIGINT)
        return iterate()

    monkeypatch.setattr(trainer, "_iterate", interrupted)
    before = signal.getsignal(signal.SIGINT)
    assert trainer.train() is True
    assert signal.getsignal(signal.SIGINT) is before
    content = load_checkpoint(tmp_path / "checkpoints" / "last.pt")
    assert content["iteration"] == 2
    resumed = Trainer(trainer.config, tmp_path, content)
    assert resumed.train() is False
    assert resumed.iteration == 4


def test_log_of_an_interrupted_run_is_cut_at_its_checkpoint(tmp_path: Path) -> None:
    log = RunLog(tmp_path, 0, 0, 1.0)
    for iteration in range(1, 6):
        log.write(iteration, iteration * 10, {"reward": 1.0})
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"iteration": 6, "ste')  # a line cut by a crash
    RunLog(tmp_path, 3, 30, 1.0).close()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["iteration"] for line in lines] == [1, 2, 3]


def test_tags_and_durations() -> None:
    assert tag("reward") == "Train/mean_step_reward"
    assert tag("info/reward_site_pos") == "Episode_Reward/site_pos"
    assert tag("info/error_site") == "Tracking_Error/site"
    assert tag("info/invalid_worlds") == "Metrics/invalid_worlds"
    assert duration(3725.4) == "1:02:05"


def test_policy_loads_for_downstream_control(tmp_path: Path) -> None:
    trainer = Trainer(small_config("bimanual", f"total_steps={STEPS}"), tmp_path)
    trainer.train()
    loaded = load_policy(tmp_path / "checkpoints" / "last.pt", ["sim.backend=mujoco"])
    assert loaded.task.simulator.nworld == min(len(loaded.task.library), 4)
    observation = loaded.task.observe()
    statistics = loaded.policy.normalizer.mean.clone()
    action = loaded.act(observation)
    assert action.shape == (loaded.task.simulator.nworld, 64)
    # Evaluation does not move the normaliser.
    assert torch.equal(loaded.policy.normalizer.mean, statistics)
    torch.testing.assert_close(action, MeanExcitation(trainer.agent.policy, "sigmoid")(observation))


def test_checkpoint_of_another_body_or_network(tmp_path: Path) -> None:
    trainer = Trainer(small_config("bimanual", f"total_steps={STEPS}"), tmp_path)
    trainer.train(iterations=1)
    path = tmp_path / "checkpoints" / "last.pt"
    content = load_checkpoint(path)
    with pytest.raises(UserError, match=r"\(fingers=false\), expected bimanual"):
        Trainer(small_config("bimanual", "fingers=true"), tmp_path, content)
    with pytest.raises(UserError, match="does not fit the configuration"):
        Trainer(small_config("bimanual", "network.actor_hidden=[8]"), tmp_path, content)
    with pytest.raises(UserError, match="trained on bimanual"):
        load_policy(path, ["fingers=true"])
    with pytest.raises(UserError, match="observations"):
        load_policy(path, ["observation.muscle_force=false"])
    content["model"] = "0" * 12
    with pytest.raises(UserError, match="trained on model 000000000000"):
        Trainer(trainer.config, tmp_path, content)


def test_unusable_checkpoints(tmp_path: Path) -> None:
    missing = tmp_path / "none.pt"
    with pytest.raises(UserError, match="does not exist"):
        load_checkpoint(missing)
    damaged = tmp_path / "damaged.pt"
    damaged.write_bytes(b"PK\x03\x04 not a checkpoint")
    with pytest.raises(UserError, match="cannot be read"):
        load_checkpoint(damaged)
    other = tmp_path / "other.pt"
    torch.save({"weights": torch.zeros(2)}, other)
    with pytest.raises(UserError, match="not a checkpoint of mm_torch"):
        load_checkpoint(other)


def test_any_number_of_worlds_is_split_into_equal_minibatches() -> None:
    config = load_config(["cfg=fullbody"])
    assert make_ppo_config(config, 8192).minibatches == 128
    assert make_ppo_config(config, 16).minibatches == 1
    for worlds in (3, 7, 96, 1000):
        samples = worlds * config.agent.num_steps
        count = make_ppo_config(config, worlds).minibatches
        assert samples % count == 0
        assert count == 1 or samples // count >= config.agent.minibatch_size


def test_agent_settings_are_checked(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="agent: gamma must be in"):
        Trainer(small_config("bimanual", "agent.gamma=2"), tmp_path)
    with pytest.raises(UserError, match="network: need 0 < min_std"):
        Trainer(small_config("bimanual", "network.init_std=9"), tmp_path)
    assert not list(tmp_path.iterdir())
