"""Variants of motions: other speeds, other postures, the same footsteps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retarget.__main__ import main
from retarget.motion import Motion
from retarget.motion_set import load_motion_set, write_motion_set
from retarget.reference import make_motion
from retarget.variants import flies, free_joints, retimed, variants
from sim.embodiment import Embodiment

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def walk(fullbody: Embodiment) -> Motion:
    """A stride and a half of the demo walk."""
    motion = Motion.load(ROOT / "data/demo/fullbody/walk.npz", fullbody)
    return make_motion("walk", fullbody, motion.qpos[100:260], motion.fps, "demo")


@pytest.fixture(scope="module")
def reach(bimanual: Embodiment) -> Motion:
    motion = Motion.load(ROOT / "data/demo/bimanual/reach.npz", bimanual)
    return make_motion("reach", bimanual, motion.qpos[:80], motion.fps, "demo")


def test_a_motion_played_faster_is_shorter_and_its_velocities_are_larger(
    fullbody: Embodiment, walk: Motion
) -> None:
    fast = retimed(fullbody, walk.qpos, walk.fps, 1.25)
    assert len(fast) == int((len(walk) - 1) / 1.25 + 1e-6) + 1
    # Frame 4 of the fast one is frame 5 of the other.
    np.testing.assert_allclose(fast[::4], walk.qpos[::5][: len(fast[::4])], atol=1e-9)
    made = make_motion("fast", fullbody, fast, walk.fps, "")
    slow = walk.qvel[5:-5:5]
    off = made.qvel[4:-4:4][: len(slow)] - 1.25 * slow[: len(made.qvel[4:-4:4])]
    assert np.sqrt((off**2).mean()) < 0.03 * np.sqrt((walk.qvel**2).mean())


def test_joints_that_carry_no_foot(fullbody: Embodiment, bimanual: Embodiment) -> None:
    chosen = set(free_joints(fullbody).tolist())
    names = {
        name for name in fullbody.independent_joints
        if int(fullbody.model.joint(name).qposadr[0]) in chosen
    }  # fmt: skip
    assert {"flex_extension", "elbow_flex_l", "shoulder_elv_r"} <= names
    assert not any(leg in name for name in names for leg in ("hip", "knee", "ankle", "mtp"))
    # Arms on a base carry no foot at all.
    assert free_joints(bimanual).tolist() == bimanual.independent_qpos.tolist()


def test_feet_go_where_they_went_and_the_rest_sways(fullbody: Embodiment, walk: Motion) -> None:
    made = variants(fullbody, walk, copies=2, speed=0.0, sway=0.1, seed=0)
    assert [clip.name for clip in made] == ["walk_v1", "walk_v2"]
    feet = [i for i, name in enumerate(walk.site_names) if "toe" in name or "ankle" in name]
    assert feet
    for clip in made:
        np.testing.assert_allclose(clip.site_pos[:, feet], walk.site_pos[:, feet], atol=1e-6)
        turned = (clip.qpos - walk.qpos)[:, free_joints(fullbody)]
        assert 0.03 < np.sqrt((turned**2).mean()) < 0.2
        ranges = fullbody.model.jnt_range
        for column in free_joints(fullbody):
            joint = int(np.flatnonzero(fullbody.model.jnt_qposadr == column)[0])
            low = min(ranges[joint, 0], walk.qpos[:, column].min())
            high = max(ranges[joint, 1], walk.qpos[:, column].max())
            assert clip.qpos[:, column].min() >= low and clip.qpos[:, column].max() <= high
        np.testing.assert_allclose(
            fullbody.couplings.residual(clip.qpos), 0.0, atol=1e-9
        )  # dependent joints follow
    assert np.abs(made[0].qpos - made[1].qpos).max() > 0.05


def test_parts_of_the_body_stay_out_of_each_other(fullbody: Embodiment, walk: Motion) -> None:
    from retarget.quality_contact import collision_metrics
    from retarget.quality_replay import replay

    def depth(qpos: np.ndarray) -> float:
        record = replay(fullbody, qpos, np.zeros((len(qpos), fullbody.model.nv)), None, False)
        found = collision_metrics(fullbody, record.contacts, len(qpos))
        return found["self_collision_beyond_neutral_mm"]

    # So large that forearms would be in the thighs.
    (clip,) = variants(fullbody, walk, copies=1, speed=0.0, sway=0.4, seed=1)
    assert np.abs(clip.qpos - walk.qpos).max() > 0.2
    assert depth(clip.qpos) <= depth(walk.qpos) + 1.0 + 1e-6


def test_speeds_are_spread_over_their_range(bimanual: Embodiment, reach: Motion) -> None:
    made = variants(bimanual, reach, copies=4, speed=0.2, sway=0.0, seed=3)
    lengths = [len(clip) for clip in made]
    assert lengths == sorted(lengths, reverse=True)
    for index, length in enumerate(lengths):
        speed = (len(reach) - 1) / (length - 0.5)
        assert 0.8 + 0.1 * index - 0.02 < speed < 0.9 + 0.1 * index + 0.02


def test_draws_are_the_seeds_and_the_clips_own(bimanual: Embodiment, reach: Motion) -> None:
    def first(motion: Motion, seed: int) -> np.ndarray:
        return variants(bimanual, motion, 1, 0.0, 0.1, seed)[0].qpos

    np.testing.assert_array_equal(first(reach, 0), first(reach, 0))
    assert np.abs(first(reach, 0) - first(reach, 1)).max() > 0.01
    assert np.abs(first(reach, 0) - first(replace(reach, name="wave"), 0)).max() > 0.01


def test_a_body_in_the_air_keeps_its_speed(fullbody: Embodiment, walk: Motion) -> None:
    assert not flies(fullbody, walk)
    leap = walk.qpos.copy()
    leap[60:80, 2] += 0.2
    leap = make_motion("leap", fullbody, leap, walk.fps, "")
    assert flies(fullbody, leap)
    assert all(len(v) == len(leap) for v in variants(fullbody, leap, 2, 0.2, 0.0, 0))


def test_contact_flags_are_played_at_the_same_speed(fullbody: Embodiment, walk: Motion) -> None:
    flags = np.zeros((len(walk), 4), bool)
    flags[50:, 0] = True
    (clip,) = variants(fullbody, replace(walk, contact=flags), 1, 0.2, 0.0, 0)
    assert clip.contact is not None and clip.contact.shape == (len(clip), 4)
    start = int(np.argmax(clip.contact[:, 0]))
    assert abs(start - 50 * len(clip) / len(walk)) < 2


def test_the_command_writes_clips_and_variants(
    bimanual: Embodiment, reach: Motion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rest = replace(reach, name="rest")
    write_motion_set(tmp_path / "set", [reach, rest])
    arguments = [f"motions={tmp_path}/set", f"out={tmp_path}/more", "copies=2", "only=rea*"]
    assert main(["vary", *arguments]) == 0
    assert "2 clips, 2 variants of 1" in capsys.readouterr().out
    clips = load_motion_set(tmp_path / "more", bimanual)
    assert [clip.name for clip in clips] == ["reach", "reach_v1", "reach_v2", "rest"]
    assert all(clip.act is not None for clip in clips[1:3])
    assert "speed" in clips[1].source
    np.testing.assert_array_equal(clips[0].qpos, reach.qpos)


def test_the_command_makes_only_what_is_missing(
    reach: Motion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import retarget.vary

    made = []

    def counted(embodiment: Embodiment, motion: Motion, *settings: float) -> list[Motion]:
        made.append(motion.name)
        return variants(embodiment, motion, *settings)

    monkeypatch.setattr(retarget.vary, "variants", counted)
    write_motion_set(tmp_path / "set", [reach, replace(reach, name="again")])
    arguments = [f"motions={tmp_path}/set", f"out={tmp_path}/more", "copies=2", "workers=1",
                 "activations=false"]  # fmt: skip

    def run(*settings: str) -> list[str]:
        made.clear()
        assert main(["vary", *arguments, *settings]) == 0
        return list(made)

    assert run() == ["reach", "again"]
    assert run() == []
    (tmp_path / "more/again_v2.npz").unlink()
    assert run() == ["again"]
    assert run("sway=0.2") == ["reach", "again"]
    # Another clip under the same name.
    write_motion_set(tmp_path / "set", [replace(reach, qpos=reach.qpos + 1e-3)])
    assert run("sway=0.2") == ["reach"]


def test_a_set_that_has_variants_is_not_overwritten_by_others(
    reach: Motion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_motion_set(tmp_path / "set", [reach, replace(reach, name="reach_v1")])
    assert main(["vary", f"motions={tmp_path}/set", f"out={tmp_path}/more"]) == 2
    assert "has a clip reach_v1 already" in capsys.readouterr().err
    assert not (tmp_path / "more").exists()


def test_a_variant_is_not_shown_beside_a_source_of_other_speed(
    bimanual: Embodiment, reach: Motion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_motion_set(tmp_path / "set", [reach])
    assert main(["vary", f"motions={tmp_path}/set", f"out={tmp_path}/more", "copies=1",
                 "activations=false"]) == 0  # fmt: skip
    capsys.readouterr()
    assert main(["show", f"{tmp_path}/more/reach_v1.npz", f"video={tmp_path}/a.mp4"]) == 2
    assert "is a variant of reach" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["motions=SET"], "out= is missing"),
        (["motions=SET", "out=SET"], "give another"),
        (["motions=SET", "out=OUT", "copies=0"], "copies"),
        (["motions=SET", "out=OUT", "speed=0.9"], "speed"),
        (["motions=NONE", "out=OUT"], "does not exist"),
        (["motions=SET", "out=OUT", "only=walk*"], "matches no clip"),
    ],
)
def test_mistakes_are_one_line(
    reach: Motion, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    arguments: list[str], says: str,
) -> None:  # fmt: skip
    write_motion_set(tmp_path / "SET", [reach])
    assert main(["vary", *(a.replace("=", f"={tmp_path}/", 1) if a[:3] in ("mot", "out") else a
                           for a in arguments)]) == 2  # fmt: skip
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
