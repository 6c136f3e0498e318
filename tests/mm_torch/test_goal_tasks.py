"""Tasks with a goal: commands, rewards, success, and the agents on them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from cfg import UserError, load_config
from mm_torch import evaluate as evaluate_command
from mm_torch.build import make_agent, make_env, make_task
from mm_torch.checkpoint import load_checkpoint
from mm_torch.goal_evaluation import evaluate_goal, summarize_goal
from mm_torch.goal_task import GoalTask
from mm_torch.play import states
from mm_torch.policy_loading import load_policy
from mm_torch.trainer import Trainer
from tests.conftest import body

TINY = (
    "sim.backend=mujoco", "sim.nworld=4", "network.actor_hidden=[16]", "device=cpu",
    "network.critic_hidden=[16]", "agent.num_steps=8", "agent.minibatch_size=16",
    "agent.epochs=2", "torch_threads=1", "amp.hidden=[16]", "amp.updates=2", "amp.batch_size=16",
    "amp.replay=256", "evaluation.max_steps=12", "task.episodes=4", "total_steps=128",
)  # fmt: skip


def _config(name: str, *arguments: str):
    given = {argument.split("=")[0] for argument in arguments}
    kept = [setting for setting in TINY if setting.split("=")[0] not in given]
    return load_config([f"cfg={name}", *kept, *arguments])


def _task(name: str, *arguments: str, evaluation: bool = False) -> GoalTask:
    config = _config(name, *arguments)
    return make_task(config, body(config.embodiment, config.fingers), 4, evaluation)


def _rest(task: GoalTask) -> torch.Tensor:
    return torch.full((4, task.action_dim), -8.0)


def test_reach_by_hand() -> None:
    task = _task("bimanual_amp")
    hands = task.body.site_pos[:, [task.goal.site[s] for s in task.goal.sites]].clone()
    ahead = torch.tensor([[[0.0, 0.0, 0.0], [0.03, 0.04, 0.0]]]).expand(4, -1, -1)
    point = torch.tensor([[[0.0, 0.0, 0.0], [0.0, 0.0, 0.02]]]).expand(4, -1, -1)
    task.goal.command = torch.stack((hands + ahead, hands + point), dim=1)
    square = 0.02**2
    expected = 0.5 * (1 + 0.5 * math.exp(-50 * square) + 0.5 * math.exp(-400 * square))
    assert task.goal.reward(task.body).tolist() == pytest.approx([expected] * 4, rel=1e-4)
    assert task.goal.distance(task.body).tolist() == pytest.approx([0.05] * 4, rel=1e-4)
    seen = torch.cat((ahead[0].flatten(), point[0].flatten())).tolist()
    assert task.observe()[0, -12:].tolist() == pytest.approx(seen, abs=1e-6)
    (left, right) = task.goal.markers(task.body, 2)
    assert left.position == pytest.approx(hands[2, 0].tolist())
    assert right.radius == task.goal.tolerance
    task.simulator.close()


def test_a_point_leads_each_hand_to_its_target() -> None:
    """It starts at the hand, moves straight at its pace, stops there; a hand may lose it."""
    task = _task("bimanual_amp", "task.pace=0.5", "task.leash=0.15")
    body = task.body
    hands = body.site_pos[:, [task.goal.site[s] for s in task.goal.sites]].clone()
    task.goal.command = task.goal.draw(body, task._generator)
    assert torch.equal(task.goal.command[:, 1], hands)
    target = hands + torch.tensor([[[0.3, 0.0, 0.4], [0.0, 0.006, 0.0]]])
    task.goal.command = torch.stack((target, hands), dim=1)
    task.goal.advance(0.01)
    moved = task.goal.command[:, 1] - hands
    assert moved[0, 0].tolist() == pytest.approx([0.003, 0.0, 0.004], abs=1e-6)
    task.goal.advance(0.01)
    assert torch.allclose(task.goal.command[:, 1, 1], target[:, 1], atol=1e-6)
    assert not task.goal.lost(body).any()
    for _ in range(32):
        task.goal.advance(0.01)  # 17 cm on the way by now
    assert task.goal.lost(body).all()
    task.simulator.close()


def test_training_gives_up_on_a_lost_hand_and_evaluation_does_not() -> None:
    for evaluation in (False, True):
        task = _task("bimanual_amp", "task.resample=[9,9]", evaluation=evaluation)
        task.renew = True  # as playback does: commands change, and nobody gives up
        hands = task.body.site_pos[:, [task.goal.site[s] for s in task.goal.sites]].clone()
        far = hands.clone()
        far[1] += 0.3
        task.goal.command = torch.stack((far, far), dim=1)
        assert task.step(_rest(task)).terminated.tolist() == [False, not evaluation, False, False]
        task.simulator.close()


def test_reach_targets_are_where_hands_of_the_clips_are() -> None:
    task = _task("bimanual_amp")
    clips = torch.arange(len(task.library)).unsqueeze(1)
    places = task.library.frames(clips, torch.arange(2000).unsqueeze(0)).site_pos
    drawn = torch.cat([task.goal.draw(task.body, task._generator) for _ in range(30)])
    for side, name in enumerate(task.goal.sites):
        hand = places[:, :, task.goal.site[name]].reshape(-1, 3)
        nearest = torch.cdist(drawn[:, 0, side], hand).amin(1)
        assert nearest.max() <= 0.05 * 3**0.5 + 1e-6
        assert drawn[:, 0, side].std(0).min() > 0.02
    task.simulator.close()


def test_success_is_to_stay_there() -> None:
    task = _task("bimanual_amp", "task.hold=0.03", "task.resample=[9,9]")
    for step in range(4):
        # The targets follow the hands, but for the second world, which loses them once.
        task.step(_rest(task))
        hands = task.body.site_pos[:, [task.goal.site[s] for s in task.goal.sites]].clone()
        task.goal.command = torch.stack((hands, hands), dim=1)
        if step == 1:
            task.goal.command[1] += 0.5
    # What is judged is where the body came to under the command before: nearly the same place.
    assert task.held.tolist()[0] >= 3 and task.held.tolist()[1] < 3
    assert task.succeeded.tolist() == [True, False, True, True]
    task.simulator.close()


def test_steer_and_location_by_hand() -> None:
    task = _task("fullbody_amp")
    state = task.body
    state.qvel[:, 0], state.qvel[:, 1] = 0.0, -1.2
    task.goal.command = torch.tensor([[0.0, -1.0, 1.2]] * 2 + [[1.0, 0.0, 1.0]] * 2)
    assert task.goal.reward(state)[:2].tolist() == pytest.approx([1.0, 1.0])
    assert task.goal.reward(state)[2].item() == pytest.approx(math.exp(-4.0))
    assert task.goal.distance(state)[2].item() == pytest.approx(math.hypot(1.0, 1.2))
    # A direction is seen from the body: turned with it, the command looks the same.
    seen = task.goal.observe(state)
    heading = state.to_heading[2]
    wanted = heading @ torch.tensor([1.0, 0.0, 0.0])
    assert seen[2].tolist() == pytest.approx([*wanted[:2].tolist(), 1.0], abs=1e-5)
    assert len(task.goal.markers(state, 0)) == 5
    for _ in range(20):
        drawn = task.goal.draw(state, task._generator)
        assert drawn[:, :2].norm(dim=-1).tolist() == pytest.approx([1.0] * 4, rel=1e-5)
        assert (drawn[:, 2] >= 0.8).all() and (drawn[:, 2] <= 1.5).all()
        assert (drawn[:, 1] <= 1e-5).all()  # within 90 degrees of the way it moves, -y
    task.simulator.close()
    task = _task("fullbody_amp", "task.name=location")
    state = task.body
    state.qvel[:, 0], state.qvel[:, 1] = 0.6, 0.0
    place = state.root_pos[:, :2]
    task.goal.command = place + torch.tensor([2.0, 0.0])
    expected = 0.7 * math.exp(-2.0) + 0.3 * math.exp(-(0.4**2))
    assert task.goal.reward(state)[0].item() == pytest.approx(expected, rel=1e-4)
    task.goal.command = place + torch.tensor([0.1, 0.0])
    assert task.goal.reward(state)[0].item() == pytest.approx(0.7 * math.exp(-0.005) + 0.3)
    state.qpos[1, 2] = 0.5
    assert task.goal.fallen(state).tolist() == [False, True, False, False]
    task.simulator.close()


def test_commands_change_and_continue_exactly() -> None:
    arguments = ("task.resample=[0.02,0.05]",)
    config = _config("bimanual_amp", *arguments)
    task = _task("bimanual_amp", *arguments)
    env = make_env(config, task)
    env.reset()
    commands = []
    for _ in range(6):
        result = env.step(_rest(task))
        commands.append(task.goal.command.clone())
        assert result.judged.shape == (4, env._judge.dim)
    assert len({tuple(c.flatten().tolist()) for c in commands}) > 2
    saved = env.state_dict()
    ahead = [env.step(_rest(task)).obs.clone() for _ in range(6)]
    other_task = _task("bimanual_amp", *arguments, "seed=5")
    other = make_env(config, other_task)
    other.load_state_dict(saved)
    for expected in ahead:
        assert torch.equal(other.step(_rest(task)).obs, expected)
    steer = _task("fullbody_amp")
    with pytest.raises(ValueError, match=r"other commands: they are of another task\.name"):
        steer.load_state_dict(saved)
    for each in (task, other_task, steer):
        each.simulator.close()


def test_evaluation_is_always_of_the_same_episodes() -> None:
    task = _task("bimanual_amp", evaluation=True)
    policy = lambda obs: torch.full((4, task.action_dim), -8.0)  # noqa: E731
    first, second = (evaluate_goal(task, policy, 6) for _ in range(2))
    assert first == second and len(first) == 6
    assert len({result.distance for result in first}) == 6
    summary = summarize_goal(first)
    assert summary["episodes"] == 6 and summary["fall_rate"] == 0
    assert 0 < summary["return_per_step"] < 1
    task.simulator.close()


@pytest.mark.parametrize("name", ["bimanual_amp", "bimanual_add", "fullbody_amp"])
def test_trains_and_resumes_exactly(name: str, tmp_path: Path) -> None:
    config = _config(name)
    straight = Trainer(config, tmp_path / "straight")
    straight.train()
    half = None
    for _ in range(2):
        trainer = Trainer(config, tmp_path / "half", half)
        trainer.train(iterations=2)
        trainer.close()
        half = load_checkpoint(tmp_path / "half" / "checkpoints" / "last.pt")
    straight.close()
    whole = load_checkpoint(tmp_path / "straight" / "checkpoints" / "last.pt")
    for part in ("policy",):
        for key, value in whole["agent"][part].items():
            assert torch.equal(value, half["agent"][part][key]), key
    for key, value in whole["agent"]["style"]["discriminator"].items():
        assert torch.equal(value, half["agent"]["style"]["discriminator"][key]), key
    for key, value in whole["env"].items():
        assert torch.equal(value, half["env"][key]), key
    records = (tmp_path / "straight" / "metrics.jsonl").read_text().splitlines()
    record = json.loads(records[1])
    for figure in ("accuracy_real", "accuracy_policy", "reward_mean", "grad_norm"):
        assert math.isfinite(record[f"style/{figure}"])
    assert math.isfinite(record["Train/mean_task_reward"])
    out = tmp_path / "table.json"
    checkpoint = tmp_path / "straight" / "checkpoints" / "last.pt"
    assert evaluate_command.main([f"checkpoint={checkpoint}", f"out={out}"]) == 0
    overall = json.loads(out.read_text())["overall"]
    assert ("success_rate" in overall) == (name != "bimanual_add")
    loaded = load_policy(checkpoint, nworld=1)
    played = list(states(loaded, 0, 0.05))
    assert len(played) == 5
    shown = {"bimanual_amp": 2, "bimanual_add": 0, "fullbody_amp": 5}[name]
    assert [len(markers) for *_, markers in played] == [shown] * 5
    loaded.task.simulator.close()


@pytest.mark.parametrize("name", ["fullbody_amp", "bimanual_amp"])
@pytest.mark.parametrize("backend", ["mujoco", "warp"])
def test_short_training_on_both_simulators(name: str, backend: str, tmp_path: Path) -> None:
    if backend == "warp":
        pytest.importorskip("mujoco_warp")
    config = _config(name, f"sim.backend={backend}", "sim.nworld=2", "agent.num_steps=4",
                     "agent.minibatch_size=4", "total_steps=8", "evaluation.max_steps=2",
                     "task.episodes=2")  # fmt: skip
    trainer = Trainer(config, tmp_path)
    trainer.train()
    assert set(trainer.evaluations) == {"untrained", "trained"}
    trainer.close()


def test_what_cannot_be_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"task\.name=steer: needs embodiment=fullbody, got bim"):
        _task("bimanual_amp", "task.name=steer")
    with pytest.raises(UserError, match=r"task\.name=reach: needs embodiment=bimanual, got full"):
        _task("fullbody_amp", "task.name=reach")
    task = _task("bimanual_amp")
    with pytest.raises(UserError, match=r"amp\.kind=add: judges tracking errors"):
        make_agent(_config("bimanual_amp", "amp.kind=add"), task)
    with pytest.raises(UserError, match="agent=world_model: imagines the imitation task only"):
        make_agent(_config("bimanual_amp", "agent.name=world_model"), task)
    task.simulator.close()
    with pytest.raises(UserError, match=r"pretraining\.rounds=1: needs a reference"):
        Trainer(_config("bimanual_amp", "pretraining.rounds=1"), tmp_path)
    trainer = Trainer(_config("bimanual_amp"), tmp_path / "run")
    trainer.train(iterations=1)
    trainer.close()
    content = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")
    content["agent"]["style"]["judged_name"] = "style 0, bimanual, 60 entries, pairs"
    with pytest.raises(UserError, match=r"discriminator has judged_name 'style 0, bimanual"):
        Trainer(_config("bimanual_amp"), tmp_path / "run", content)


def test_a_goal_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_goals.py").write_text(
        "from mm_torch.goals import Reach\nclass Near(Reach):\n    tolerance = 9.0\nother = 3\n"
    )
    (tmp_path / "own_broken.py").write_text("import absent_module\n")
    monkeypatch.syspath_prepend(tmp_path)
    task = _task("bimanual_amp", "task.name=own_goals:Near")
    task.step(_rest(task))
    assert task.goal.tolerance == 9.0 and (task.held == 1).all()
    for name, message in (
        ("run", "expected one of imitation, reach, steer, location, or MODULE:CLASS"),
        (".own:Near", "expected one of imitation, reach, steer, location, or MODULE:CLASS"),
        (
            "own_goal:Near",
            "Python finds no module own_goal: start in the folder that has own_goal.py",
        ),
        ("own_goals.more:Near", "Python finds no module own_goals.more"),
        ("own_goals:Far", "expected a class Far of own_goals that extends mm_torch.goals.Goal"),
        ("own_goals:other", "expected a class other of own_goals that extends"),
    ):
        with pytest.raises(UserError) as caught:
            _task("bimanual_amp", f"task.name={name}")
        assert f"task.name={name}: " in str(caught.value) and message in str(caught.value)
    with pytest.raises(ModuleNotFoundError, match="absent_module"):  # theirs: with its traceback
        _task("bimanual_amp", "task.name=own_broken:Near")
