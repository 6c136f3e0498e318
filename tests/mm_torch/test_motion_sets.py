"""Motion sets as settings name them: one, several, files of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cfg import UserError
from mm_torch.build import demo_folder, load_motions
from sim.embodiment import Embodiment
from tests.mm_torch.helpers import small_task

DEMO = demo_folder("bimanual")


def test_several_sets_are_one_after_another(tmp_path: Path, bimanual: Embodiment) -> None:
    own = tmp_path / "mine.npz"
    shutil.copy(DEMO / "wave.npz", own)
    (clip,) = load_motions(str(own), bimanual)
    assert clip.name == "mine"  # a clip is called as its file
    reach, lift = DEMO / "reach.npz", DEMO / "lift.npz"
    task = small_task("bimanual", f"motions={lift},{reach},{own}")
    assert task.library.names == ["lift", "reach", "mine"]
    lengths = [len(load_motions(str(path), bimanual)[0]) for path in (lift, reach, own)]
    assert task.library.lengths.tolist() == lengths


def test_a_path_may_have_a_comma(tmp_path: Path, bimanual: Embodiment) -> None:
    path = tmp_path / "arms, slow.npz"
    shutil.copy(DEMO / "wave.npz", path)
    assert [motion.name for motion in load_motions(str(path), bimanual)] == ["arms, slow"]


def test_clips_of_one_name_are_refused(bimanual: Embodiment) -> None:
    with pytest.raises(UserError, match="2 clips are called reach"):
        load_motions(f"demo,{DEMO / 'reach.npz'}", bimanual)


def test_each_set_must_be_there(tmp_path: Path, bimanual: Embodiment) -> None:
    with pytest.raises(UserError, match="none"):
        load_motions(f"demo,{tmp_path}/none", bimanual)
