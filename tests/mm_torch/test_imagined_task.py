"""The task for imagined states against the real one, and training with the world-model agent."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from agents.world_model import ModelState
from agents.world_model.imagine import imagine
from cfg import UserError, load_config
from mm_torch.build import make_agent
from mm_torch.checkpoint import load_checkpoint
from mm_torch.imagined_task import ImaginedImitation
from mm_torch.policy_loading import load_policy
from mm_torch.trainer import Trainer
from tests.mm_torch.helpers import small_config, small_task
from tests.mm_torch.test_trainer import _same

SMALL = (
    "agent=world_model", "world_model.num_steps=8", "world_model.model_hidden=[16]",
    "world_model.model_rank=4", "world_model.model_updates=4", "world_model.window_updates=1",
    "world_model.window=3", "world_model.window_batch=8", "world_model.model_batch=16",
    "world_model.horizon=4", "world_model.policy_updates=2", "world_model.policy_batch=8",
    "world_model.replay=64", "world_model.health_interval=1",
)  # fmt: skip


def _pair(embodiment: str, *arguments: str):
    config = small_config(embodiment, *SMALL, *arguments)
    task = small_task(embodiment, *SMALL, *arguments)
    return task, ImaginedImitation(task, OmegaConf.to_object(config.observation), "log")


@pytest.mark.parametrize("embodiment", ["bimanual", "fullbody"])
def test_observation_and_judgement_are_the_real_ones(embodiment: str) -> None:
    sites = ("observation.site_pos=true", "observation.site_rot=true", "observation.site_vel=true",
             "observation.ahead_activation=true", "reward.action_rate=0.1",
             "reward.activation_energy=0.1")  # fmt: skip
    task, imagined = _pair(embodiment, *sites)
    everywhere = torch.ones(4, dtype=torch.bool)
    clips = torch.arange(4) % len(task.library)
    # The last world is about to reach the end of its clip.
    frames = torch.tensor([5, 40, 80, int(task.library.lengths[clips[3]]) - 2])
    task.place(everywhere, clips, frames)
    start, goal, last = imagined.snapshot()
    plan = imagined.plan(goal, 2)
    seen = imagined.observe(plan, 0, start, last)
    torch.testing.assert_close(seen, task.observe(), atol=3e-3, rtol=1e-3)
    action = torch.full((4, task.action_dim), -2.0)
    states, excitations, outcomes = [start], [last], []
    for _ in range(2):
        outcomes.append(task.step(action))
        states.append(imagined.snapshot()[0])
        excitations.append(task.simulator.ctrl.clone())
    path = ModelState(*(torch.stack(parts) for parts in zip(*states, strict=True)))
    gain, reward, terminated, inside = imagined.judge(plan, path, torch.stack(excitations))
    assert (gain <= reward + 1e-6).all() and (gain < reward - 1e-5).any()  # the "log" objective
    for step, outcome in enumerate(outcomes):
        real = outcome.reward / task.reward.maximum
        # The simulator's couplings give a little under load, the imagined ones do not.
        torch.testing.assert_close(reward[step, :3], real[:3], atol=5e-3, rtol=0)
        assert terminated[step].tolist() == outcome.terminated.tolist()
    assert inside.all(1).tolist() == [True, False] and inside[:, :3].all()
    seen = imagined.observe(plan, 2, states[-1], excitations[-1])[:3]
    gap = (seen - task.observe()[:3]).abs()
    assert gap.median() < 1e-4 and gap.max() < 0.2


@pytest.mark.parametrize("embodiment", ["bimanual", "fullbody"])
@pytest.mark.parametrize("objective", ["log", "reward"])
def test_gradient_through_the_body_equals_finite_differences(
    embodiment: str, objective: str
) -> None:
    config = small_config(embodiment, *SMALL, f"world_model.objective={objective}")
    task = small_task(embodiment, *SMALL)
    agent = make_agent(config, task)
    generator = torch.Generator().manual_seed(0)
    task.place(torch.ones(4, dtype=torch.bool), torch.zeros(4, dtype=torch.long),
               torch.tensor([3, 20, 40, 60]))  # fmt: skip
    start, goal, last = agent.task.snapshot()
    change = 0.3 * torch.randn(start.velocity.shape, generator=generator)
    agent.model.fit_statistics(start, last, start._replace(velocity=start.velocity + change))
    noise = 0.02 * torch.randn(4, 4, task.action_dim, generator=generator)
    bias = agent.learner.actor.head.bias

    def gain() -> torch.Tensor:
        act = lambda obs: agent.learner.mean_action(obs).sigmoid()  # noqa: E731
        path = imagine(agent.model.step, agent.task, act, start, goal, last, noise)
        return path.gain.double().sum()

    gain().backward()
    direction = bias.grad / bias.grad.norm()
    assert bias.grad.isfinite().all() and bias.grad.norm() > 0
    step, original = 0.05, bias.detach().clone()
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            bias.copy_(original + sign * step * direction)
            values.append(gain().item())
    slope = (values[0] - values[1]) / (2 * step)
    assert slope == pytest.approx(bias.grad.norm().item(), rel=0.03)


@pytest.mark.parametrize("embodiment", ["bimanual", "fullbody"])
def test_training_resumes_exactly_and_its_policy_loads(tmp_path: Path, embodiment: str) -> None:
    steps = 4 * 8 * (4 if embodiment == "bimanual" else 2)
    config = small_config(embodiment, *SMALL, f"total_steps={steps}", "evaluation.max_steps=20",
                          "world_model.critic_weight=0.5")  # fmt: skip
    straight = Trainer(config, tmp_path / "straight")
    straight.train()
    straight.close()
    half = steps // 64
    content = None
    for _ in range(2):
        trainer = Trainer(config, tmp_path / "half", content)
        trainer.train(iterations=half)
        trainer.close()
        content = load_checkpoint(tmp_path / "half" / "checkpoints" / "last.pt")
    first = load_checkpoint(tmp_path / "straight" / "checkpoints" / "last.pt")
    _same(first["agent"], content["agent"])
    _same(first["env"], content["env"])
    lines = (tmp_path / "straight" / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    for record in records:
        assert all(math.isfinite(value) for value in record.values()), record
    for name in ("model_r2", "model_error_1", "imagined_reward", "real_reward"):
        assert f"Model/{name}" in records[1], name
    loaded = load_policy(tmp_path / "straight" / "checkpoints" / "last.pt")
    obs = loaded.task.observe()
    mean = straight.agent.policy.mean_action(obs).sigmoid()
    torch.testing.assert_close(loaded.act(obs).sigmoid(), mean, atol=1e-4, rtol=1e-3)
    loaded.task.simulator.close()


def test_unknown_quantities_are_refused_in_a_line() -> None:
    with pytest.raises(UserError, match=r"observation\.muscle_force=true: agent=world_model"):
        _pair("bimanual", "observation.muscle_force=true")
    with pytest.raises(UserError, match=r"observation\.joint_acceleration=true: agent=world_model"):
        _pair("bimanual", "observation.joint_acceleration=true")
    config = small_config("bimanual", *SMALL, "action.mapping=musclemimic")
    with pytest.raises(UserError, match=r"action\.mapping=musclemimic: agent=world_model needs"):
        make_agent(config, small_task("bimanual", *SMALL))
    with pytest.raises(UserError, match="agent=dreamer: no such configuration"):
        load_config(["cfg=demo", "agent=dreamer"])
    assert load_config(["cfg=demo", "agent=ppo"]).agent.name == "ppo"
    config = load_config(["cfg=fullbody", "agent=world_model", "world_model.horizon=8"])
    assert (config.agent.name, config.world_model.horizon) == ("world_model", 8)
    assert config.world_model.model_rank == 192  # what the preset says of the body
