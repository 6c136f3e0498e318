"""Recordings: the tables are what the body did, and other programs' readers take them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mm_torch import record, train
from mm_torch.command_line import run_command
from mm_torch.force_plates import forces_of
from mm_torch.policy_loading import load_policy
from mm_torch.recording import play
from retarget.importers.storage import read_columns, read_storage
from tests.mm_torch.helpers import small_task
from tests.mm_torch.test_commands import TINY, _error

TABLES = {
    "coordinates.sto", "reference.sto", "joint_moments.sto", "activations.sto", "excitations.sto",
    "muscle_forces.sto", "muscle_lengths.sto",
}  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    assert run_command(train.main, "", [*TINY, "total_steps=64", f"run.dir={folder}"]) == 0
    return folder / "checkpoints" / "last.pt"


def test_a_policys_tables_are_what_the_bodies_did(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = [f"checkpoint={checkpoint}", f"out={tmp_path}", "seconds=0.4", "to_end=true"]
    assert run_command(record.main, "", arguments) == 0
    loaded = load_policy(checkpoint, nworld=0)
    task, body = loaded.task, loaded.task.simulator.embodiment
    assert {path.name for path in tmp_path.iterdir()} == set(task.library.names)
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in shown[2:-1]] == task.library.names

    clips = torch.arange(len(task.library))
    for one in play(task, loaded.act, clips, torch.zeros_like(clips), 0.4, to_end=True):
        folder = tmp_path / task.library.names[one.clip]
        assert {path.name for path in folder.iterdir()} == TABLES
        read = {name: read_columns(folder / name) for name in TABLES}
        for clip in read.values():
            np.testing.assert_allclose(clip.time, np.arange(1, 41) / 100.0)
        for name, values in (("activations", one.act), ("excitations", one.ctrl)):
            columns = read[f"{name}.sto"].columns
            assert list(columns) == list(body.muscle_names)
            np.testing.assert_allclose(np.stack(list(columns.values()), 1), values, atol=1e-8)
        for name, qpos in (("coordinates", one.qpos), ("reference", one.reference)):
            (angles,) = read_storage(folder / f"{name}.sto", "clip")
            joint = body.model.joint("elbow_flex_r").qposadr[0]
            np.testing.assert_allclose(angles.columns["elbow_flex_r"], qpos[:, joint], atol=1e-8)
        assert min(v.min() for v in read["muscle_forces.sto"].columns.values()) >= 0.0


def test_computed_muscle_control_walks_without_training(tmp_path: Path) -> None:
    arguments = ["cfg=walk", "sim.backend=mujoco", f"out={tmp_path}", "clip=walk", "seconds=0.3"]
    assert run_command(record.main, "", arguments) == 0
    folder = tmp_path / "walk"
    assert {path.name for path in folder.iterdir()} == TABLES | {"ground_forces.mot"}
    (body,) = read_storage(folder / "coordinates.sto", "body")
    (motion,) = read_storage(folder / "reference.sto", "motion")
    assert len(body.time) == 30
    for name in ("knee_angle_r", "hip_flexion_l", "pelvis_tilt", "pelvis_tx"):
        gap = np.abs(body.columns[name] - motion.columns[name])
        assert 0.0 < gap.max() < 0.2, name  # rad or m: it follows, and is not the motion
    _, forces = forces_of(folder / "ground_forces.mot", "x")
    carried = sum(values[:, 1] for values in forces.values()).mean()
    weight = 9.81 * small_task("fullbody").simulator.embodiment.model.body_mass.sum()
    assert 0.6 * weight < carried < 1.5 * weight


def test_bodies_end_where_they_leave_their_reference() -> None:
    task = small_task("fullbody", "sim.nworld=2", "evaluation.site_deviation=0.1")
    off = torch.full((2, task.action_dim), -20.0)
    clip, frame = torch.zeros(2, dtype=torch.long), torch.tensor([0, 30])
    ended = play(task, lambda obs: off, clip, frame)
    for one, start in zip(ended, frame.tolist(), strict=True):
        assert one.terminated and 10 < len(one) < 80
        assert one.time[0] == pytest.approx((start + 1) / 100.0)
        # Where the motion is, not where the world's origin is.
        motion = task.library.frames(clip[:1], torch.tensor([start + 1])).qpos[0].numpy()
        np.testing.assert_allclose(one.qpos[0, :2], motion[:2], atol=0.02)
    on = play(task, lambda obs: off, clip, frame, seconds=1.0, to_end=True)
    for one, shorter in zip(on, ended, strict=True):
        assert one.terminated and len(one) == 100
        np.testing.assert_array_equal(one.qpos[: len(shorter)], shorter.qpos)
    again = play(task, lambda obs: off, clip, torch.tensor([1038, 1030]), to_end=True)
    assert [len(one) for one in again] == [2, 10]  # the clip has 1,041 frames


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_bodies_on_a_gpu_are_recorded(checkpoint: Path, tmp_path: Path) -> None:
    arguments = [f"checkpoint={checkpoint}", f"out={tmp_path}", "seconds=0.1", "sim.backend=warp"]
    assert run_command(record.main, "", arguments) == 0
    tables = read_columns(next(tmp_path.iterdir()) / "muscle_forces.sto")
    assert np.isfinite(np.stack(list(tables.columns.values()))).all()


def test_record_errors(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    policy, out = f"checkpoint={checkpoint}", f"out={tmp_path}/new"
    assert "give checkpoint=FILE, or cfg=NAME" in _error(capsys, record, out)
    assert "give checkpoint=FILE, or cfg=NAME" in _error(capsys, record, out, policy, "cfg=walk")
    assert "out= is missing" in _error(capsys, record, policy)
    assert "clip=no" in _error(capsys, record, policy, out, "clip=no")
    assert "seconds=0" in _error(capsys, record, policy, out, "seconds=0")
    assert "there is no policy" in _error(capsys, record, out, "cfg=demo", "teacher=false")
    assert "needs a body that walks" in _error(capsys, record, policy, out, "teacher=true")
    assert "needs task.name=imitation" in _error(capsys, record, out, "cfg=bimanual_amp")
    reach = tmp_path / "reach"
    arguments = [*TINY[1:], "cfg=bimanual_amp", "total_steps=64", f"run.dir={reach}"]
    assert run_command(train.main, "", arguments) == 0
    goal = f"checkpoint={reach}/checkpoints/last.pt"
    assert "follows no motion" in _error(capsys, record, goal, out)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("")
    assert "not an empty folder" in _error(capsys, record, policy, f"out={tmp_path}/other")
    inside = f"out={tmp_path}/other/mine.txt/tables"
    assert "cannot be written" in _error(capsys, record, policy, inside, "seconds=0.02")
    assert not (tmp_path / "new").exists()
