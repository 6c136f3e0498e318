"""Strides played over and over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retarget.__main__ import main
from retarget.loop import loop
from retarget.motion import Motion
from retarget.motion_set import load_motion_set, write_motion_set
from retarget.reference import make_motion
from sim.embodiment import Embodiment

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def walk(fullbody: Embodiment) -> Motion:
    """A stride and a half of the demo walk, whose stride has 104 frames."""
    motion = Motion.load(ROOT / "data/demo/fullbody/walk.npz", fullbody)
    return make_motion("walk", fullbody, motion.qpos[100:260], motion.fps, "demo")


def test_a_stride_is_played_so_often(fullbody: Embodiment, walk: Motion) -> None:
    looped, note = loop(fullbody, walk, 3)
    assert len(looped) == 3 * 104 + 1 and "repeated 3 times" in note
    assert looped.source == "demo, 3 strides"
    # One stride after the other, each as long, with no jolt between them.
    way = np.diff(looped.qpos[[0, 104, 208, 312], :2], axis=0)
    np.testing.assert_allclose(way, np.tile(way[0], (3, 1)), atol=1e-3)
    assert np.linalg.norm(way[0]) == pytest.approx(1.38, abs=0.03)
    joints = fullbody.independent_dofs
    assert (
        np.abs(np.diff(looped.qvel[:, joints], axis=0)).max()
        < 1.5 * np.abs(np.diff(walk.qvel[:, joints], axis=0)).max()
    )


def test_the_command_leaves_out_clips_without_a_cycle(
    fullbody: Embodiment, walk: Motion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    still = make_motion("still", fullbody, np.tile(walk.qpos[0], (90, 1)), walk.fps, "demo")
    write_motion_set(tmp_path / "set", [walk, still])
    where = [f"motions={tmp_path / 'set'}", f"out={tmp_path / 'out'}", "activations=false"]
    assert main(["loop", *where, "strides=2"]) == 0
    said = capsys.readouterr().out
    assert "left out still: no gait cycle" in said and "leave out" not in said
    (made,) = load_motion_set(tmp_path / "out", fullbody)
    assert made.name == "walk" and len(made) == 209
    assert main(["loop", *where, "only=still"]) == 1


def test_mistakes_are_one_line(
    fullbody: Embodiment, walk: Motion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "set"
    write_motion_set(folder, [walk])
    arms = ROOT / "data/demo/bimanual"
    for arguments, expected in (
        ([f"motions={folder}"], "out= is missing"),
        ([f"motions={folder}", f"out={folder}"], "give another"),
        ([f"motions={folder}", f"out={tmp_path / 'o'}", "only=run*"], "matches no clip"),
        ([f"motions={folder}", f"out={tmp_path / 'o'}", "strides=0"], "strides=0"),
        ([f"motions={arms}", f"out={tmp_path / 'o'}"], "goes nowhere"),
    ):
        assert main(["loop", *arguments]) == 2
        error = capsys.readouterr().err
        assert expected in error and error.count("\n") == 1
