"""Imported walks: on their feet, off the treadmill, and as long as they are wanted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from retarget import load_motion_set
from retarget.demo.gait_table import STRIDE_LENGTH
from retarget.importers import __main__ as command
from retarget.importers.feet import FootSolver, Stood
from retarget.importers.ground import bend_toes, foot_heights
from retarget.importers.import_motions import import_motions
from retarget.importers.source import SourceError
from retarget.importers.strides import add_belt, repeat_cycle
from retarget.normal_equations import Targets
from retarget.quality import check_quality
from retarget.reference import make_motion
from retarget.solve_options import SolveOptions
from sim.embodiment import Embodiment
from tests.conftest import ROOT

STRIDE = 104  # frames of a stride of the demo walk
TOES = [f"mtp_angle_{side}" for side in "rl"]


@pytest.fixture(scope="module")
def walk(fullbody: Embodiment) -> np.ndarray:
    """The demo walk, which stands on the floor."""
    clips = load_motion_set(ROOT / "data" / "demo" / "fullbody", fullbody)
    return next(clip for clip in clips if clip.name == "walk").qpos


@pytest.fixture(scope="module")
def solver(fullbody: Embodiment) -> FootSolver:
    torch.set_num_threads(1)
    return FootSolver(fullbody)


def longer_legs(walk: np.ndarray, body: Embodiment, by: float) -> np.ndarray:
    """The walk as the angles of a person with longer legs and unmeasured toes would give it."""
    qpos = walk[: STRIDE + STRIDE // 2].copy()
    qpos[:, :2] *= by
    qpos[:, 2] -= 0.03
    for name in TOES:
        qpos[:, body.model.joint(name).qposadr[0]] = 0.0
    return body.couplings.complete_qpos(qpos)


# ------------------------------------------------------------------ feet


@pytest.fixture(scope="module")
def foreign(walk: np.ndarray, fullbody: Embodiment) -> np.ndarray:
    return longer_legs(walk, fullbody, 1.15)


@pytest.fixture(scope="module")
def stood(foreign: np.ndarray, fullbody: Embodiment, solver: FootSolver) -> Stood:
    return solver(foreign, set(fullbody.independent_joints) - set(TOES), 100.0)


def test_feet_stand_on_the_floor_and_hardly_slide(
    stood: Stood, foreign: np.ndarray, fullbody: Embodiment
) -> None:
    before = foot_heights(fullbody, foreign)
    assert before.min() < -0.03
    after = foot_heights(fullbody, stood.qpos)
    assert after.min() > -3e-4
    for side in (0, 1):
        down = stood.standing[:, 2 * side : 2 * side + 2].any(axis=1)
        # Each foot stands for a part of the stride and a half only, and then it is on the floor.
        assert 0.35 < down.mean() < 0.85
        assert after[down, side].max() < 0.01
    toes = [fullbody.model.site(f"{side}_toes_mimic").id for side in ("left", "right")]
    columns = [list(fullbody.site_ids).index(site) for site in toes]
    for qpos, most, least in ((foreign, np.inf, 0.15), (stood.qpos, 0.05, 0.0)):
        place = make_motion("m", fullbody, qpos, 100.0, "t").site_pos[:, columns, :2]
        speed = np.linalg.norm(np.gradient(place, 0.01, axis=0), axis=-1)
        flat = np.stack([stood.standing[:, [0, 1]].all(1), stood.standing[:, [2, 3]].all(1)], 1)
        assert least < np.median(speed[flat]) < most


def test_steps_become_as_long_as_the_legs_make_them(stood: Stood, walk: np.ndarray) -> None:
    assert stood.scale == pytest.approx(1 / 1.15, rel=0.02)
    way = stood.qpos[STRIDE, :2] - stood.qpos[0, :2]
    np.testing.assert_allclose(way, walk[STRIDE, :2] - walk[0, :2], atol=0.03)


def test_angles_that_the_file_gives_are_kept_and_toes_are_found(
    stood: Stood, walk: np.ndarray, fullbody: Embodiment
) -> None:
    apart = np.degrees(stood.qpos - walk[: len(stood.qpos)])
    for name in fullbody.independent_joints:
        own = apart[:, fullbody.model.joint(name).qposadr[0]]
        if name not in TOES:
            assert np.sqrt(np.square(own).mean()) < 3.0, name
    toes = [fullbody.model.joint(name).qposadr[0] for name in TOES]
    # Under a raised heel they bend, as those of the walk that stands do: towards extension.
    bent = stood.qpos[:, toes]
    assert np.degrees(bent.min()) < -8.0 and np.degrees(walk[:, toes].min()) < -8.0


def test_stiff_toes_are_bent_by_no_more_than_the_floor_asks(
    walk: np.ndarray, fullbody: Embodiment
) -> None:
    model = fullbody.model
    right, left = (model.joint(name).qposadr[0] for name in TOES)
    stiff = walk[:STRIDE].copy()
    stiff[:, [right, left]] = 0.0
    stiff = fullbody.couplings.complete_qpos(stiff)
    through = foot_heights(fullbody, stiff)[:, 1] < -1e-3
    assert 3 < through.sum() < STRIDE / 2
    bent = bend_toes(fullbody, stiff, ["right"], 0.0)
    changed = np.abs(bent[:, right]) > 1e-9
    assert changed[through].all() and not changed[foot_heights(fullbody, stiff)[:, 1] >= 0].any()
    # Upwards, until they lie on the floor, or to the end of the joint's range.
    lower = model.joint(TOES[0]).range[0]
    assert (bent[changed, right] < 0).all() and (bent[:, right] >= lower - 1e-9).all()
    free = changed & (bent[:, right] > lower + 1e-3)
    on_floor = foot_heights(fullbody, bent)[free, 1]
    others = foot_heights(fullbody, bent, toes=False)[free, 1]
    assert np.abs(on_floor[others > 1e-3]).max() < 1e-3
    assert (bent[:, left] == 0).all()


def test_joints_that_are_locked_in_the_file_are_free(
    foreign: np.ndarray, stood: Stood, fullbody: Embodiment, solver: FootSolver
) -> None:
    # Toes that have a column of zeros are as good as toes that have none.
    again = solver(foreign, fullbody.independent_joints, 100.0)
    np.testing.assert_allclose(again.qpos, stood.qpos, atol=1e-12)


def test_a_walk_that_goes_nowhere_has_no_scale(
    walk: np.ndarray, fullbody: Embodiment, solver: FootSolver
) -> None:
    still = np.tile(walk[:1], (30, 1))
    stood = solver(still, fullbody.independent_joints, 100.0)
    assert stood.scale == 1.0
    assert np.abs(stood.qpos[:, 7:] - still[:, 7:]).max() < np.radians(12)


def test_unknown_joints_are_pulled_to_the_neutral_posture(solver: FootSolver) -> None:
    newton, count = solver._solver._newton, len(solver.embodiment.independent_joints)
    none = torch.zeros(2, 1, 3), torch.eye(3).expand(2, 1, 3, 3)
    wanted, pull = newton.wanted(Targets(*none))
    assert wanted.shape == pull.shape == (1, count)
    assert (pull == SolveOptions().neutral).all()
    posture = torch.full((2, count), 9.0, dtype=torch.float64)
    posture[1, 3] = torch.nan
    wanted, pull = newton.wanted(Targets(*none, posture=posture))
    assert wanted[1, 3] == newton.neutral[3] and pull[1, 3] == SolveOptions().neutral
    # What is beyond a joint's range is wanted at its end.
    assert wanted[0, 3] == newton._upper.double()[3] and pull[0, 3] > 10 * pull[1, 3]


# ------------------------------------------------------------------ strides


def test_a_cycle_is_found_and_repeated(walk: np.ndarray, fullbody: Embodiment) -> None:
    repeated, note = repeat_cycle(fullbody, walk[7:147], 100.0, 4, "walk")
    assert "1.04 s" in note and "repeated 4 times" in note
    assert len(repeated) == 4 * STRIDE + 1
    start = round(float(note.split("from ")[1].split(" s")[0]) * 100) + 7
    np.testing.assert_allclose(
        repeated[:, 2:], walk[start : start + len(repeated), 2:], rtol=0, atol=2e-3
    )
    way = repeated[4 * STRIDE, :2] - repeated[0, :2]
    np.testing.assert_allclose(np.linalg.norm(way), 4 * STRIDE_LENGTH, rtol=2e-3)


def test_ends_that_differ_are_brought_together(walk: np.ndarray, fullbody: Embodiment) -> None:
    # One cycle and nothing beyond, with a knee that drifts by three degrees.
    cycle = walk[: STRIDE + 1].copy()
    knee = fullbody.model.joint("knee_angle_r").qposadr[0]
    cycle[:, knee] += np.radians(3) * np.arange(STRIDE + 1) / STRIDE
    repeated, _ = repeat_cycle(fullbody, fullbody.couplings.complete_qpos(cycle), 100.0, 2, "c")
    steps = np.abs(np.diff(repeated[:, knee]))
    usual = np.abs(np.diff(walk[:, knee])).max()
    assert steps.max() < 1.1 * usual
    assert np.abs(np.diff(cycle[[STRIDE, 0], knee])) > 1.1 * usual * 0.5


@pytest.mark.parametrize("kind", ["short", "still", "one way"])
def test_a_clip_without_a_cycle_is_refused(
    kind: str, walk: np.ndarray, fullbody: Embodiment
) -> None:
    if kind == "one way":
        qpos = np.tile(walk[:1], (200, 1))
        qpos[:, fullbody.model.joint("hip_flexion_r").qposadr[0]] = np.linspace(-0.3, 1.0, 200)
    else:
        qpos = walk[:40] if kind == "short" else np.tile(walk[:1], (200, 1))
    with pytest.raises(SourceError, match=r"^clip: no gait cycle"):
        repeat_cycle(fullbody, qpos, 100.0, 3, "clip")


def test_a_belt_carries_the_body_where_it_faces(walk: np.ndarray) -> None:
    whole = walk[: 4 * STRIDE + 1]
    speed = 100 * STRIDE_LENGTH / STRIDE
    turned = whole.copy()
    turned[:, 1] += speed / 100 * np.arange(len(whole))  # the walk goes along -y
    assert np.ptp(turned[:, 1]) < 0.1
    np.testing.assert_allclose(add_belt(turned, 100.0, speed), whole, atol=0.02)


# ------------------------------------------------------------------ the command, and measured walks


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (["embodiment=fullbody", "contact=true", "root=keep"], "leave out root="),
        (["embodiment=fullbody", "smoothing_hz=6"], "needs contact=true"),
        (["embodiment=fullbody", "contact=true", "smoothing_hz=0"], "from 1 to 50 (Hz)"),
        (["embodiment=bimanual", "contact=true"], "needs embodiment=fullbody"),
        (["embodiment=bimanual", "strides=2"], "needs embodiment=fullbody"),
        (["embodiment=fullbody", "strides=1.5"], "strides=1.5: expected a whole number"),
        (["embodiment=fullbody", "strides=9999"], "up to 1000"),
        (["embodiment=fullbody", "belt=fast"], "belt=fast: expected a number from 0 to 15 (m/s)"),
        (["embodiment=fullbody", "contact=yes"], "true or false"),
    ],
)
def test_wrong_wishes_are_one_line(
    given: list[str], word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = command.main([f"motions={tmp_path}", f"out={tmp_path / 'out'}", *given])
    lines = capsys.readouterr().err.splitlines()
    assert status == 2 and len(lines) == 1 and word in lines[0]


def test_a_laboratory_walk_becomes_strides_on_the_floor(
    shared: Path, fullbody: Embodiment, solver: FootSolver
) -> None:
    file = shared / "data" / "opensim_walk" / "coordinates.sto"
    if not file.is_file():
        pytest.skip(f"no recording {file}")
    plain = import_motions(file, fullbody)
    assert any("contact=true keeps them on it" in note for note in plain.reports[0].notes)
    imported = import_motions(file, fullbody, strides=2, stand=solver)
    (motion,), (report,) = imported.motions, imported.reports
    assert len(motion) == 2 * 114 + 1
    assert any("gait cycle of 1.14 s" in note for note in report.notes)
    assert any("path scaled by 0.9" in note for note in report.notes)
    assert any("no column, free to be solved for" in line for line in report.lines())
    assert motion.contact is not None and motion.contact.shape == (len(motion), 4)
    ours, theirs = (
        check_quality(fullbody, m.qpos, m.qvel, 100.0) for m in (motion, plain.motions[0])
    )
    assert theirs.penetration_depth_mm > 40 and ours.penetration_depth_mm < 0.5
    assert theirs.self_collision_depth_mm > 10 and ours.self_collision_depth_mm < 1
    assert ours.residual_force_mean_pct_bw < 1.0
    # No jolt where one stride runs into the next.
    seam = slice(114 - 5, 114 + 6)
    acceleration = np.abs(np.gradient(motion.qvel[:, 6:], 0.01, axis=0)).max(axis=1)
    assert acceleration[seam].max() <= acceleration.max()
    assert np.abs(np.diff(motion.qpos[seam], axis=0)).max() < 0.1
