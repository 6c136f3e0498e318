"""Computed muscle control at the place of a policy: the full body stays on its feet."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

from cfg import UserError
from cfg.schema import PretrainingConfig
from mm_torch.build import make_agent, make_env, make_task
from mm_torch.expert import Expert
from mm_torch.pretraining import Lesson
from retarget.activations import with_activations
from retarget.clearance import lowest_heights
from retarget.motion import Motion
from retarget.motion_set import write_motion_set
from retarget.reference import make_motion
from sim.computed_muscle_control import STANDING, WALKING
from sim.gait_targets import GaitTargets, Stepping
from sim.leg import Leg
from tests.mm_torch.helpers import body, small_config, small_task

STEPS = 80  # a body without excitation has left the walk after 57


@pytest.fixture(scope="module")
def task():
    task = small_task("fullbody", "sim.nworld=2")
    yield task
    task.simulator.close()


def _walk(task, act) -> torch.Tensor:
    """Largest distance (2,) of the root from the reference while walking, NaN counted as far."""
    everywhere = torch.ones(2, dtype=torch.bool)
    task.place(everywhere, torch.zeros(2, dtype=torch.long), torch.tensor([0, 60]))
    furthest = torch.zeros(2)
    for _ in range(STEPS):
        task.step(act())
        gap = (task.simulator.qpos[:, :3] - task.reference().qpos[:, :3]).norm(dim=-1)
        furthest = torch.maximum(furthest, gap.nan_to_num(9.0))
    return furthest


def test_walks_where_a_body_at_rest_falls(task) -> None:
    expert = Expert(task, "sigmoid")
    walked = _walk(task, lambda: expert(task.observe()))
    fallen = _walk(task, lambda: torch.full((2, task.action_dim), -20.0))
    assert (walked < 0.25).all(), walked
    assert (fallen > 0.5).all(), fallen


def test_a_lesson_says_how_the_teacher_holds_on(task) -> None:
    lesson = PretrainingConfig()
    # The lesson's defaults are the teacher's own.
    assert (lesson.travel, lesson.root_weight) == (WALKING.travel, WALKING.root_weight)
    assert (lesson.aside, lesson.sideways) == (Stepping().aside, Stepping().sideways)
    assert (lesson.damping, lesson.smoothing_hz) == (WALKING.damping, Stepping().smoothing_hz)
    assert lesson.yielding == Stepping().yielding == 0.0
    assert lesson.landing_hz is Stepping().landing_hz is None
    both = torch.ones(2, dtype=torch.bool)
    task.place(both, torch.zeros(2, dtype=torch.long), torch.tensor([10, 62]))
    task.simulator.qpos[:, 0] += 0.05  # beside the motion, and pushed further
    task.simulator.qvel[:, 0] += 0.3
    asked = Expert(task, "sigmoid").excitations()
    assert torch.equal(Expert.of(task, "sigmoid", lesson).excitations(), asked)
    for change in ({"travel": 4.0}, {"root_weight": 2.9}, {"aside": 0.3}, {"sideways": 0.0},
                   {"damping": 1.1}, {"smoothing_hz": 3.0}):  # fmt: skip
        other = Expert.of(task, "sigmoid", replace(lesson, **change)).excitations()
        assert (other - asked).abs().max() > 1e-3, change
    # Of a leg that swings, not of one that stands.
    yielding = Expert.of(task, "sigmoid", replace(lesson, yielding=1.0))
    assert torch.equal(yielding.excitations(), asked)
    task.place(both, torch.zeros(2, dtype=torch.long), torch.tensor([35, 87]))
    held = Expert.of(task, "sigmoid", lesson).excitations()
    assert ((yielding.excitations() - held).abs().max(-1).values > 1e-3).all()
    sharp = Expert.of(task, "sigmoid", replace(lesson, landing_hz=50.0))
    task.place(both, torch.zeros(2, dtype=torch.long), torch.tensor([44, 96]))  # about to land
    held = Expert.of(task, "sigmoid", lesson).excitations()
    assert ((sharp.excitations() - held).abs().max(-1).values > 1e-3).all()


def test_goes_on_walking() -> None:
    """Three strides on, from two phases, nobody has left the reference."""
    config = small_config("fullbody", "sim.nworld=2", "evaluation.max_steps=1000")
    task = make_task(config, body("fullbody", config.fingers), 2, evaluation=True)
    expert, both = Expert(task, "sigmoid"), torch.ones(2, dtype=torch.bool)
    task.place(both, torch.zeros(2, dtype=torch.long), torch.tensor([2, 54]))
    for _ in range(312):
        outcome = task.step(expert(task.observe()))
        assert not (outcome.terminated | outcome.truncated).any()
    task.simulator.close()


def _reaching(embodiment) -> Motion:
    """Both feet on the ground, leaning a little forwards, arms rising and sinking."""
    model, time, lean = embodiment.model, np.arange(180) / 100, np.zeros(4)
    qpos = np.tile(model.qpos0, (180, 1))
    mujoco.mju_axisAngle2Quat(lean, np.array([1.0, 0.0, 0.0]), 0.08)
    mujoco.mju_mulQuat(qpos[0, 3:7], lean, model.qpos0[3:7])
    qpos[:, 3:7] = qpos[0, 3:7]
    for side, phase in (("l", 0.0), ("r", 1.5)):
        raised = 0.7 + 0.4 * np.sin(np.pi * time + phase)
        qpos[:, model.joint(f"shoulder_elv_{side}").qposadr[0]] = raised
        qpos[:, model.joint(f"elbow_flex_{side}").qposadr[0]] = 0.6
        qpos[:, model.joint(f"ankle_angle_{side}").qposadr[0]] = 0.08
    qpos = np.stack([embodiment.couplings.complete_qpos(pose) for pose in qpos])
    qpos[:, 2] -= lowest_heights(embodiment, qpos[:1])[0]
    return with_activations(make_motion("reaching", embodiment, qpos, 100.0, "made up"), embodiment)


def test_stands_where_its_feet_are(tmp_path: Path) -> None:
    """Who stands is not carried by the next step: balance has to be kept by the feet."""
    write_motion_set(tmp_path, [_reaching(body("fullbody", False))])
    config = small_config(
        "fullbody", "sim.nworld=2", f"motions={tmp_path}", "evaluation.max_steps=1000"
    )
    task = make_task(config, body("fullbody", config.fingers), 2, evaluation=True)
    both, drift = torch.ones(2, dtype=torch.bool), {}
    for name, standing in (("standing", STANDING), ("walking", WALKING)):
        expert = Expert(task, "sigmoid", standing=standing)
        task.place(both, torch.zeros(2, dtype=torch.long), torch.tensor([0, 20]))
        for _ in range(150):
            task.step(expert(task.observe()))
        gap = task.simulator.qpos[:, :3] - task.reference().qpos[:, :3]
        drift[name] = gap.norm(dim=-1)
    task.simulator.close()
    assert drift["standing"].max() < 0.02, drift
    assert drift["walking"].min() > 0.05, drift


def test_some_worlds_get_what_all_would(task) -> None:
    expert = Expert(task, "sigmoid")
    task.place(torch.ones(2, dtype=torch.bool), torch.zeros(2, dtype=torch.long), torch.arange(2))
    everyone = expert.excitations()
    assert everyone.shape == (2, task.action_dim)
    assert ((everyone >= 0) & (everyone <= 1)).all()
    assert torch.allclose(expert.excitations(torch.tensor([1])), everyone[1:], atol=1e-5)


def test_activations_stay_close_to_the_share_of_the_motions(task) -> None:
    task.place(torch.ones(2, dtype=torch.bool), torch.zeros(2, dtype=torch.long), torch.arange(2))
    mean = [
        float(Expert(task, "sigmoid", share=share).excitations().mean()) for share in (0, 0.5, 1)
    ]
    assert mean[0] < mean[1] < mean[2]


def test_a_steady_expert_changes_excitations_less_from_step_to_step(task) -> None:
    changes = []
    for steadiness in (0.0, 1500.0):
        expert, both = Expert(task, "sigmoid", steadiness=steadiness), torch.ones(2) > 0
        task.place(both, torch.zeros(2, dtype=torch.long), torch.tensor([20, 60]))
        seen = []
        for _ in range(40):
            seen.append(expert.excitations())
            task.step(expert(task.observe()))
        changes.append(float(torch.stack(seen).diff(dim=0).square().mean().sqrt()))
    assert changes[1] < 0.9 * changes[0], changes


def test_processes_share_the_bodies(task) -> None:
    """They say what one would, to the last bit; if one dies, that is said in a line."""
    expert, both = Expert(task, "sigmoid"), torch.ones(2, dtype=torch.bool)
    shared = Expert(task, "sigmoid", processes=3)  # two bodies: two processes
    for frame in (0, 40):
        task.place(both, torch.zeros(2, dtype=torch.long), torch.tensor([frame, frame + 7]))
        assert torch.equal(shared.excitations(), expert.excitations())
    assert torch.equal(shared.excitations(torch.tensor([1])), expert.excitations()[1:])
    children = multiprocessing.active_children()
    assert len(children) == 2
    children[0].kill()
    with pytest.raises(UserError, match=r"pretraining\.processes=2: one .* died"):
        for _ in range(100):
            shared.excitations()
    shared.close()
    assert not multiprocessing.active_children()


def test_feet_swing_in_turn_and_are_lifted(task) -> None:
    """In the walk each foot is off the ground for 30 to 50 % of the time, never both."""
    body, library = task.simulator.embodiment, task.library
    frame = torch.arange(int(library.lengths[0]))
    motion = library.frames(torch.zeros_like(frame), frame)
    qpos, qvel = motion.qpos.double().numpy(), motion.qvel.double().numpy()
    targets = GaitTargets(body, qpos, qvel, np.zeros((len(qpos), body.model.nu)), 100.0)
    left, right = targets.swing["left"], targets.swing["right"]
    assert 0.3 < left.mean() < 0.5 and 0.3 < right.mean() < 0.5
    assert not (left & right).any()
    knee = body.model.joint("knee_angle_l").qposadr[0]
    swing, stance = np.flatnonzero(left), np.flatnonzero(~left)
    # On its motion a body is asked for the motion, but for the knee of the swinging leg.
    asked = np.array(
        [targets.at(f, qpos[max(f - 1, 0)], qvel[max(f - 1, 0)]).qpos for f in frame.tolist()]
    )
    assert np.abs(asked[swing, knee] - qpos[swing, knee]).max() > 0.3
    np.testing.assert_allclose(asked[stance, knee], qpos[stance, knee], atol=1e-6)


def test_the_next_foot_goes_where_the_body_is_going(task) -> None:
    """Further ahead for a body that is ahead or fast, to the side for one that is beside."""
    walker, library = task.simulator.embodiment, task.library
    frame = torch.arange(120)
    motion = library.frames(torch.zeros_like(frame), frame)
    qpos, qvel = motion.qpos.double().numpy(), motion.qvel.double().numpy()
    targets = GaitTargets(walker, qpos, qvel, np.zeros((len(qpos), walker.model.nu)), 100.0)
    how = Stepping()
    landing = np.flatnonzero(np.diff(targets.swing["left"].astype(int)) == -1)[0] + 1
    late = int(landing) - 4  # the left foot is about to land
    pelvis = np.zeros(9)
    mujoco.mju_quat2Mat(pelvis, qpos[late - 1, 3:7])
    ahead = np.append(-pelvis.reshape(3, 3)[:2, 1], 0.0)
    left = np.array([-ahead[1], ahead[0], 0.0])

    data, leg = mujoco.MjData(walker.model), Leg.of(walker, "left")

    def asked(shift=0.0, speed=0.0, aside=0.0) -> np.ndarray:
        """From hip to ankle, ahead and to the left, and the pelvis' height (m)."""
        state = qpos[late - 1].copy(), qvel[late - 1].copy()
        state[0][:3] += shift * ahead + aside * left
        state[1][:3] += speed * ahead
        data.qpos[:] = targets.at(late, *state).qpos
        mujoco.mj_kinematics(walker.model, data)
        vector = data.xpos[leg.bodies[2]] - data.xpos[leg.bodies[0]]
        return np.array([ahead @ vector, left @ vector, data.qpos[2]])

    on = asked()
    assert asked(shift=0.3)[0] == pytest.approx(on[0] + 0.3 * how.ahead, abs=0.015)
    assert asked(speed=0.2)[0] == pytest.approx(on[0] + 0.2 * how.faster, abs=0.015)
    assert asked(speed=-0.2)[0] == pytest.approx(on[0] - 0.2 * how.faster, abs=0.015)
    assert asked(aside=0.5)[1] == pytest.approx(on[1] + 0.5 * how.aside, abs=0.015)
    # For a longer step the pelvis sinks, for a shorter one it stays.
    assert asked(speed=0.4)[2] < on[2] - 0.01
    assert asked(speed=-0.4)[2] == pytest.approx(qpos[late, 2])


def test_a_policy_learns_from_it(task) -> None:
    settings = ("sim.nworld=2", "agent=world_model", "pretraining.rounds=2", "pretraining.steps=4",
                "pretraining.teacher=muscle_control", "pretraining.led_rounds=1",
                "pretraining.every=2", "pretraining.updates=60", "pretraining.lr=1e-2",
                "pretraining.lr_floor=0.1", "pretraining.processes=1")  # fmt: skip
    config = small_config("fullbody", *settings)
    own = small_task("fullbody", *settings)
    agent, env, rounds = make_agent(config, own), make_env(config, own), []
    lesson = Lesson(agent.learner, env, config.pretraining, "sigmoid", 0)
    assert lesson.give(rounds.append)
    assert lesson.steps == 2 * 4 * 2
    assert [values["lesson/states"] for values in rounds] == [8, 12]
    assert all(values["teacher_time"] > 0 for values in rounds)
    assert lesson.error < 0.25
    own.simulator.close()


def test_what_it_cannot_do_is_said_in_a_line(task, monkeypatch: pytest.MonkeyPatch) -> None:
    arms = small_task("bimanual")
    with pytest.raises(UserError, match="needs a body that walks, got bimanual"):
        Expert(arms, "sigmoid")
    arms.simulator.close()
    with pytest.raises(UserError, match=r"action\.mapping=musclemimic: .* sigmoid, linear"):
        Expert(task, "musclemimic")
    monkeypatch.setattr(task.library, "_act", None)
    with pytest.raises(UserError, match=r"reset\.activation=statics"):
        Expert(task, "sigmoid")
