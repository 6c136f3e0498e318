"""The imitation task on the demo motions: maxima on the reference, invariances, resets."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from cfg import UserError
from cfg.schema import ObservationConfig, RewardConfig
from mm_torch import observation
from mm_torch.build import demo_folder
from mm_torch.env import ImitationEnv
from mm_torch.reward import DISTANCES
from mm_torch.task import ImitationTask
from mm_torch.task_state import Kinematics, TaskState
from retarget.motion_set import load_motion_set
from sim.rotations import quat_multiply, rotate, yaw_matrix
from tests.conftest import body
from tests.mm_torch.helpers import small_config, small_task

BACKENDS = ["mujoco", "warp"]


def _everywhere(task: ImitationTask) -> torch.Tensor:
    return torch.ones(task.simulator.nworld, dtype=torch.bool)


@pytest.mark.parametrize("mdp", ["default", "musclemimic"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("embodiment", ["bimanual", "fullbody"])
def test_reward_is_maximal_on_the_reference(embodiment: str, backend: str, mdp: str) -> None:
    if backend == "warp":
        pytest.importorskip("mujoco_warp")
    task = small_task(embodiment, f"sim.backend={backend}", f"mdp={mdp}", "sim.nworld=16")
    worlds = task.simulator.nworld
    # The whole walk, frame by frame; elsewhere every fifth frame.
    stride = 1 if (embodiment, mdp) == ("fullbody", "default") else 5
    for clip in range(len(task.library)):
        last = int(task.library.lengths[clip]) - 1
        for frames in torch.arange(0, last + 1, stride).split(worlds):
            filled = torch.cat((frames, frames.new_full((worlds - len(frames),), last)))
            task.place(_everywhere(task), torch.full((worlds,), clip), filled)
            body, reference = task.body, task.reference()
            terms = task.reward.terms(body, reference)
            assert set(terms) == set(task.reward.kernels)
            for name, value in terms.items():
                assert float(value.min()) > 1 - 1e-3, (name, frames, value)
            assert not task.termination(body, reference).any()
            assert max(float(e.max()) for e in task.errors().values()) < 1e-2


def test_every_switch_has_a_term() -> None:
    muscles = set(observation._MUSCLE_FIELDS)
    for item in fields(ObservationConfig):
        if item.name.startswith("lookahead_"):
            continue
        assert item.name in muscles or callable(getattr(observation, item.name)), item.name
    kernels = {
        f.name for f in fields(RewardConfig) if hasattr(getattr(RewardConfig(), f.name), "weight")
    }
    assert kernels == set(DISTANCES)


def test_every_term_is_finite_and_two_dimensional() -> None:
    for name in ("bimanual", "fullbody"):
        task = small_task(name, "observation.ahead_activation=true")
        task.step(torch.zeros(4, task.action_dim))
        state = task.state()
        skipped = observation._ROOT_TERMS if name == "bimanual" else set()
        for item in fields(ObservationConfig):
            if item.name.startswith("lookahead_") or item.name in skipped:
                continue
            if item.name not in observation._MUSCLE_FIELDS:
                value = getattr(observation, item.name)(state)
                assert value.ndim == 2 and value.isfinite().all(), item.name
        for name_, distance in DISTANCES.items():
            if name == "fullbody" or name_ not in (
                "root_pos",
                "root_rot",
                "root_vel",
                "mm_root_vel",
            ):
                assert distance(state.body, state.reference).shape == (4,), name_


def test_shows_the_activations_of_the_frame_that_the_step_leads_to() -> None:
    task = small_task("bimanual", "observation.ahead_activation=true")
    last = int(task.library.lengths[0]) - 1
    frames = torch.tensor([0, 7, last - 1, last])
    task.place(_everywhere(task), torch.zeros(4, dtype=torch.long), frames)
    start = sum(dict(list(task.observation.sizes(task.state()).items())[:-1]).values())
    assert task.observation.terms[-1][0] == "ahead_activation"
    motion = load_motion_set(demo_folder("bimanual"), body("bimanual"))[0]
    expected = torch.from_numpy(motion.act[[1, 8, last, last]]).float()
    assert torch.equal(task.observe()[:, start:], expected)
    assert expected.std() > 0.01
    task.library._act = None
    with pytest.raises(UserError, match=r"observation\.ahead_activation=true: needs motions with"):
        ImitationTask(
            small_config("bimanual", "observation.ahead_activation=true"), task.simulator,
            task.library,
        )  # fmt: skip


def _turned(state: Kinematics, yaw: float) -> Kinematics:
    """The same motion seen after walking around the body by `yaw`."""
    turn = yaw_matrix(torch.tensor(yaw))
    quat = torch.tensor([np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]).float()
    qpos, qvel = state.qpos.clone(), state.qvel.clone()
    qpos[..., :3] = rotate(turn, qpos[..., :3])
    qpos[..., 3:7] = quat_multiply(quat.expand_as(qpos[..., 3:7]), qpos[..., 3:7])
    qvel[..., :3] = rotate(turn, qvel[..., :3])
    site_vel = torch.cat(
        (rotate(turn, state.site_vel[..., :3]), rotate(turn, state.site_vel[..., 3:])), -1
    )
    return replace(
        state, qpos=qpos, qvel=qvel, site_pos=rotate(turn, state.site_pos),
        site_rot=turn @ state.site_rot, site_vel=site_vel,
    )  # fmt: skip


def test_acceleration_is_the_change_of_velocity_in_a_step() -> None:
    task = small_task(
        "fullbody", "observation.root_acceleration=true", "observation.joint_acceleration=true"
    )
    sizes = list(task.observation.sizes(task.state()).items())
    places = np.cumsum([0] + [size for _, size in sizes])

    def accelerations() -> torch.Tensor:
        obs = task.observe()
        return torch.cat([obs[:, places[i] : places[i + 1]] for i, (name, _) in enumerate(sizes)
                          if name.endswith("acceleration")], -1)  # fmt: skip

    task.place(_everywhere(task), torch.zeros(4, dtype=torch.long), torch.tensor([0, 20, 50, 90]))
    assert torch.equal(accelerations(), torch.zeros(4, 6 + len(task.layout.joint_dofs)))
    before = task.body
    old_joints, old_root = before.joint_vel.clone(), before.root_velocity_world.clone()
    task.step(torch.zeros(4, task.action_dim))
    now = task.body
    linear = rotate(now.to_heading, now.root_velocity_world[:, :3] - old_root[:, :3])
    shown = accelerations()
    torch.testing.assert_close(shown[:, :3], 100 * linear, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(shown[:, 6:], 100 * (now.joint_vel - old_joints))
    # The change of a vector in a frame that turns with the body, turned back, is that in the world
    # but for how far the frame turns within the step.
    angular = rotate(now.to_heading, now.root_velocity_world[:, 3:] - old_root[:, 3:])
    assert (shown[:, 3:6] - 100 * angular).abs().max() < 0.1 * (100 * angular).abs().max()
    # A reset starts anew, in the worlds concerned.
    mask = torch.tensor([True, False, False, True])
    task.place(mask, torch.zeros(4, dtype=torch.long), torch.full((4,), 30))
    again = accelerations()
    assert not again[mask].any() and torch.equal(again[~mask], shown[~mask])
    task.simulator.close()


def test_default_observation_does_not_depend_on_heading() -> None:
    task = small_task("fullbody")
    task.place(_everywhere(task), torch.zeros(4, dtype=torch.long), torch.tensor([0, 20, 50, 90]))
    for _ in range(3):
        task.step(torch.zeros(4, task.action_dim))
    state = task.state()
    turned = TaskState(*(_turned(part, 1.1) for part in (state.body, state.reference, state.ahead)),
                       state.phase)  # fmt: skip
    torch.testing.assert_close(
        task.observation(turned), task.observation(state), atol=2e-3, rtol=1e-3
    )
    for name, value in task.reward.terms(state.body, state.reference).items():
        again = task.reward.terms(turned.body, turned.reference)[name]
        torch.testing.assert_close(again, value, atol=1e-4, rtol=1e-4, msg=name)
    # MuscleMimic's own observation does depend on it.
    quirky = small_task("fullbody", "mdp=musclemimic")
    assert not torch.allclose(quirky.observation(turned), quirky.observation(state), atol=0.1)


def test_same_numbers_on_both_simulators() -> None:
    pytest.importorskip("mujoco_warp")
    for name in ("bimanual", "fullbody"):
        tasks = [small_task(name, f"sim.backend={backend}") for backend in BACKENDS]
        observations, rewards = [], []
        generator = torch.Generator().manual_seed(0)
        action = torch.randn(4, tasks[0].action_dim, generator=generator) - 2
        for task in tasks:
            task.place(_everywhere(task), torch.zeros(4, dtype=torch.long), torch.arange(4) * 30)
            outcome = task.step(action)
            observations.append(task.observe())
            rewards.append(outcome.reward)
        scale = observations[0].abs().clamp_min(1.0)
        difference = (observations[0] - observations[1]).abs() / scale
        # Contact forces (touch) and wrapped tendons carry single-precision noise.
        assert float(difference.median()) < 1e-5
        assert float(difference.quantile(0.99)) < 1e-2
        torch.testing.assert_close(rewards[0], rewards[1], atol=2e-3, rtol=1e-3)


def test_terms_that_need_a_root_are_refused_without_one() -> None:
    with pytest.raises(UserError, match=r"observation.root_height=true needs a body"):
        small_task("bimanual", "observation.root_height=true")
    with pytest.raises(UserError, match=r"reward.root_pos.weight needs a body"):
        small_task("bimanual", "reward.root_pos.weight=1")
    with pytest.raises(UserError, match=r"termination.root_rotation needs a body"):
        small_task("bimanual", "termination.root_rotation=1")


def test_action_mappings() -> None:
    from mm_torch.action import MAPPINGS

    raw = torch.tensor([-5.0, -1.0, -0.5, 0.0, 0.5, 1.0, 5.0])
    for name in ("sigmoid", "linear"):
        mapped = MAPPINGS[name](raw)
        assert float(mapped.min()) >= 0 and float(mapped.max()) <= 1
        assert float(MAPPINGS[name](torch.zeros(1))) == 0.5
        assert (mapped.diff() >= 0).all()
    # Only MuscleMimic's mapping has a dead half: the muscle takes negative excitations for none.
    assert MAPPINGS["musclemimic"](raw).tolist() == [-1, -1, -0.5, 0, 0.5, 1, 1]


def test_mean_excitation_is_the_mean_over_the_policys_noise() -> None:
    from agents import ActorCritic
    from mm_torch.action import MAPPINGS, MeanExcitation

    generator = torch.Generator().manual_seed(0)
    policy = ActorCritic(5, 3, init_mean=-2.5, init_std=0.9, generator=generator)
    obs = torch.randn(4, 5, generator=generator)
    mean = policy.mean_action(obs).detach()
    draws = mean + 0.9 * torch.randn(100_000, 4, 3, generator=generator)
    for mapping in ("sigmoid", "linear"):
        expected = MAPPINGS[mapping](draws).mean(0)
        found = MAPPINGS[mapping](MeanExcitation(policy, mapping)(obs)).detach()
        torch.testing.assert_close(found, expected, atol=4e-3, rtol=0)
        # It is not the excitation of the mean action.
        assert float((MAPPINGS[mapping](mean) - expected).abs().min()) > 0.005
    assert torch.equal(MeanExcitation(policy, "musclemimic")(obs), mean)


def test_truncation_and_termination() -> None:
    task = small_task("bimanual", "termination.site_deviation_world=null")
    last = int(task.library.lengths[0]) - 1
    start = torch.tensor([last - 2, 0, 0, 0])
    task.place(_everywhere(task), torch.zeros(4, dtype=torch.long), start)
    quiet = torch.full((4, task.action_dim), -10.0)
    assert not task.step(quiet).truncated.any()
    outcome = task.step(quiet)
    assert outcome.truncated.tolist() == [True, False, False, False]
    assert not outcome.terminated.any()
    strict = small_task("bimanual", "termination.site_deviation_world=1e-6")
    outcome = strict.step(quiet)
    assert outcome.terminated.all()
    assert not outcome.truncated.any()


def test_time_limit() -> None:
    task = small_task("bimanual", "termination.max_steps=3", "termination.site_deviation_world=9")
    quiet = torch.full((4, task.action_dim), -10.0)
    assert [bool(task.step(quiet).truncated.all()) for _ in range(3)] == [False, False, True]


def test_env_resets_only_what_ended_and_keeps_the_last_observation() -> None:
    task = small_task("bimanual", "termination.site_deviation_world=9")
    env = ImitationEnv(task, seed=3)
    env.reset()
    lengths = task.library.lengths
    clip = torch.zeros(4, dtype=torch.long)
    task.place(_everywhere(task), clip, torch.tensor([int(lengths[0]) - 2, 5, 6, 7]))
    result = env.step(torch.zeros(4, task.action_dim))
    assert result.truncated.tolist() == [True, False, False, False]
    assert torch.equal(result.obs[1:], result.final_obs[1:])
    assert not torch.equal(result.obs[0], result.final_obs[0])
    assert task.steps.tolist() == [0, 1, 1, 1]
    # The world that was reset is on its reference again, with the activations that explain it.
    assert float(task.errors()["joint_pos"][0]) < 1e-6
    expected = task.library.activations(task.clip, task.frame)
    assert torch.allclose(task.simulator.act[0], expected[0])


def test_activation_at_a_reset() -> None:
    for choice, level in (("zero", 0.0), ("constant", 0.07)):
        task = small_task("bimanual", f"reset.activation={choice}", "reset.activation_level=0.07")
        assert torch.allclose(task.simulator.act, torch.tensor(level))


def test_static_optimisation_starts_hold_the_reference() -> None:
    """Open loop for 0.1 s from reference states: the explained start drifts least."""
    drift = {}
    for choice in ("zero", "constant", "statics"):
        task = small_task("bimanual", f"reset.activation={choice}", "action.mapping=linear")
        task.place(_everywhere(task), torch.zeros(4, dtype=torch.long), torch.arange(4) * 60)
        held = task.simulator.act * 2 - 1  # the raw action whose excitation is the activation
        for _ in range(10):
            task.step(held)
        drift[choice] = float(task.errors()["joint_pos"].mean())
    assert drift["statics"] < 0.5 * drift["constant"]
    assert drift["statics"] < 0.5 * drift["zero"]


def test_invalid_world_terminates_with_zero_reward_and_is_reset() -> None:
    task = small_task("bimanual")
    env = ImitationEnv(task, seed=3)
    env.reset()
    sim = task.simulator
    qvel = sim.qvel.clone()
    qvel[2] = float("nan")
    sim.reset(torch.tensor([False, False, True, False]), sim.qpos.clone(), qvel)
    result = env.step(torch.zeros(4, task.action_dim))
    assert result.terminated.tolist() == [False, False, True, False]
    assert float(result.reward[2]) == 0
    assert result.info["invalid_worlds"].tolist() == [False, False, True, False]
    assert result.obs.isfinite().all()


def test_env_state_dict_continues_exactly() -> None:
    first = ImitationEnv(small_task("bimanual"), seed=3)
    first.reset()
    generator = torch.Generator().manual_seed(0)
    actions = torch.randn(12, 4, first.action_dim, generator=generator)
    for action in actions[:6]:
        first.step(action)
    saved = first.state_dict()
    second = ImitationEnv(small_task("bimanual"), seed=99)
    second.load_state_dict(saved)
    for action in actions[6:]:
        a, b = first.step(action), second.step(action)
        assert torch.equal(a.obs, b.obs)
        assert torch.equal(a.reward, b.reward)
