"""What a task shows in the mirror is what the mirrored body on the mirrored motion would show."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch

from cfg import UserError
from cfg.schema import ObservationConfig
from mm_torch.build import demo_folder
from mm_torch.expert import Expert
from mm_torch.mirrored_task import MirroredTask
from mm_torch.motion_library import MotionLibrary
from mm_torch.task import ImitationTask
from retarget.motion_set import load_motion_set
from retarget.reference import make_motion
from tests.conftest import body
from tests.mm_torch.helpers import small_task

TERMS = [item.name for item in fields(ObservationConfig) if not item.name.startswith("lookahead_")]
OF_ONE_BODY = {
    "bimanual": {"root_height", "root_quaternion", "root_tilt", "root_velocity_world",
                 "root_velocity", "root_acceleration", "root_pos_error", "root_rot_error",
                 "ahead_root_pos", "ahead_root_rot", "ahead_root_vel",
                 "ahead_musclemimic_fullbody", "touch"},
    "fullbody": {"ahead_musclemimic_bimanual"},
}  # fmt: skip


def _pair(name: str, *settings: str) -> tuple[ImitationTask, ImitationTask]:
    """A task of two worlds, moved off its motion, and its mirror image as a task of its own."""
    task, other = (
        small_task(name, "sim.nworld=2", "reset.activation=zero", *settings) for _ in range(2)
    )
    embodiment = body(name)
    motions = [
        make_motion(
            motion.name, embodiment, embodiment.mirror.qpos(motion.qpos), motion.fps, "mirrored",
            embodiment.mirror.qvel(motion.qvel),
        )
        for motion in load_motion_set(demo_folder(name), embodiment)
    ]  # fmt: skip
    other.library = MotionLibrary(motions, other.layout, torch.device("cpu"))
    other.library._act = MirroredTask(task).muscles(task.library._act)
    both = torch.ones(2, dtype=torch.bool)
    # From where no sole comes to the edge of touching: the two feet differ by a millimetre.
    task.place(both, torch.zeros(2, dtype=torch.long), torch.tensor([20, 80]))
    generator = torch.Generator().manual_seed(0)
    for _ in range(6):
        task.step(torch.randn(2, task.action_dim, generator=generator))
    sim, mirror = task.simulator, embodiment.mirror
    state = [part.double().numpy().copy() for part in (sim.qpos, sim.qvel, sim.act)]
    sim.reset(both, *(torch.from_numpy(part).float() for part in state))
    image = mirror.qpos(state[0]), mirror.qvel(state[1]), mirror.muscles(state[2])
    other.simulator.reset(both, *(torch.from_numpy(part).float() for part in image))
    other.clip, other.frame = task.clip.clone(), task.frame.clone()
    other.origin = task.origin * torch.tensor([-1.0, 1.0])
    return task, other


@pytest.mark.parametrize("name", ["bimanual", "fullbody"])
def test_shows_what_the_mirrored_body_would_show(name: str) -> None:
    terms = [f"observation.{term}=true" for term in TERMS if term not in OF_ONE_BODY[name]]
    task, other = _pair(name, *terms, "sim.reset_touch=true")
    seen, shown = MirroredTask(task).observe(), other.observe()
    assert (seen - task.observe()).abs().max() > 0.1  # neither state is symmetric
    start = 0
    for term, size in task.observation.sizes(task.state()).items():
        columns = slice(start, start + size)
        scale = float(shown[:, columns].abs().max().clamp_min(1.0))
        gap = float((seen[:, columns] - shown[:, columns]).abs().max())
        # The arms' mimic sites are up to 0.6 mm from being each other's mirror image.
        assert gap < 3e-3 * scale, f"{term}: off by {gap:.2g} of {scale:.2g}"
        start += size
    task.simulator.close()
    other.simulator.close()


@pytest.mark.parametrize("name", ["bimanual", "fullbody"])
def test_shows_how_the_mirrored_body_would_accelerate(name: str) -> None:
    terms = [
        f"observation.{term}=true" for term in ("root_acceleration", "joint_acceleration")
        if term not in OF_ONE_BODY[name]
    ]  # fmt: skip
    task, other = _pair(name, *terms)
    size = sum(count for term, count in task.observation.sizes(task.state()).items()
               if term.endswith("acceleration"))  # fmt: skip
    nind = len(task.simulator.embodiment.independent_joints)
    assert size == nind + 6 * (name == "fullbody")
    before = torch.randn(task.simulator.last_qvel.shape, generator=torch.Generator().manual_seed(1))
    task.simulator.last_qvel += before
    image = body(name).mirror.qvel(task.simulator.last_qvel.double().numpy())
    other.simulator.last_qvel.copy_(torch.from_numpy(image))
    sizes, start = task.observation.sizes(task.state()), 0
    for term, count in sizes.items():
        if term.endswith("acceleration"):
            part = slice(start, start + count)
            shown = other.observe()[:, part]
            assert shown.abs().max() > 100  # a metre or a radian a second, in 10 ms
            torch.testing.assert_close(
                MirroredTask(task).observe()[:, part], shown, atol=0.02, rtol=1e-3
            )
        start += count
    task.simulator.close()
    other.simulator.close()


def test_muscles_change_sides() -> None:
    task = small_task("fullbody", "sim.nworld=1")
    names = task.simulator.embodiment.muscle_names
    marked = torch.zeros(len(names))
    marked[names.index("soleus_r")] = 0.7
    mirrored = MirroredTask(task).muscles(marked)
    assert mirrored[names.index("soleus_l")] == 0.7 and int((mirrored != 0).sum()) == 1
    assert torch.equal(MirroredTask(task).muscles(mirrored), marked)
    task.simulator.close()


def test_a_body_with_a_weaker_side_has_no_mirror_image() -> None:
    both = small_task("bimanual", "sim.nworld=1", "randomization.weakness.triceps=0.5")
    MirroredTask(both)
    both.simulator.close()
    one = small_task("bimanual", "sim.nworld=1", "randomization.weakness.triceps_left=0.5")
    with pytest.raises(UserError, match=r"pretraining\.mirror=true: \w+ and its namesake"):
        MirroredTask(one)
    one.simulator.close()


def test_the_teacher_would_say_the_same_in_the_mirror() -> None:
    """What makes mirrored states worth learning from: nothing has a better side."""
    task, other = _pair("fullbody")
    generator = torch.Generator().manual_seed(1)
    task.library._act = torch.rand(len(task.library._qpos), task.action_dim, generator=generator)
    other.library._act = MirroredTask(task).muscles(task.library._act)
    told = MirroredTask(task).muscles(Expert(task, "sigmoid").excitations())
    asked = Expert(other, "sigmoid").excitations()
    spread = float((told - told.flip(0)).square().mean().sqrt())
    assert float((told - asked).square().mean().sqrt()) < 0.1 * spread
    np.testing.assert_array_less(np.median((told - asked).abs().numpy()), 0.01)
    task.simulator.close()
    other.simulator.close()
