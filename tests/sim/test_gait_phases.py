"""When a step's correction is asked for, worked out by hand."""

from __future__ import annotations

import numpy as np

from sim.gait_phases import (
    about_landing,
    correction_share,
    grip,
    landings,
    lift_share,
    running_phases,
    runs,
    standing_phases,
)


def test_runs_of_true() -> None:
    assert runs(np.array([1, 1, 0, 0, 1, 0, 1], bool)) == [(0, 2), (4, 5), (6, 7)]
    assert runs(np.zeros(3, bool)) == []


def test_a_correction_sets_in_in_swing_and_fades_in_stance() -> None:
    off = np.array([0, 1, 1, 1, 1, 0, 0, 0, 0, 0], bool)
    share = correction_share(off, blend=2, release=3)
    assert share.tolist() == [0.0, 0.5, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    # Without a release it ends with the swing.
    assert correction_share(off, blend=2, release=0).tolist() == [0, 0.5, 1, 1, 1, 0, 0, 0, 0, 0]


def test_the_next_swing_cuts_a_fading_correction_short() -> None:
    off = np.array([1, 1, 0, 1, 1, 1], bool)
    share = correction_share(off, blend=1, release=3)
    assert share.tolist() == [1.0, 1.0, 0.75, 1.0, 1.0, 1.0]


def test_a_swinging_leg_is_let_go_before_it_lands() -> None:
    off = np.array([0, 1, 1, 1, 1, 1, 0, 1], bool)
    # Four frames before landing all of it, one before it nothing.
    share = grip(off, yielding=4)
    assert np.allclose(share, [1, 1, 1, 2 / 3, 1 / 3, 0, 1, 0])
    assert grip(off, yielding=0).tolist() == [1.0] * 8


def test_frames_about_a_landing() -> None:
    off = np.array([1, 1, 1, 1, 0, 0, 0, 0], bool)
    share = about_landing(off, reach=3)
    assert np.allclose(share, [0, 0, 0.5, 1, 1, 1, 0.5, 0])
    assert about_landing(np.zeros(4, bool), reach=3).tolist() == [0.0] * 4


def test_every_frame_of_a_swing_knows_its_ends() -> None:
    off = np.array([0, 1, 1, 0, 1, 1], bool)
    assert landings(off).tolist() == [[-1, -1], [1, 3], [1, 3], [-1, -1], [4, 5], [4, 5]]


def test_a_body_stands_while_no_step_is_near() -> None:
    off = np.array([0, 0, 0, 0, 1, 0, 0, 0, 0, 0], bool)
    assert standing_phases(off, 2).tolist() == [True] * 2 + [False] * 5 + [True] * 3
    assert standing_phases(np.zeros(3, bool), 5).all()


def test_a_foot_that_clears_the_ground_by_far_is_not_lifted() -> None:
    off = np.array([0, 1, 1, 1, 0, 1, 1, 0, 1, 1, 1], bool)
    height = np.array([0, 0.02, 0.04, 0.02, 0, 0.03, 0.075, 0, 0.1, 0.3, 0.1])
    # Of sin² over the swing: all up to 5 cm, half at 7.5, none from 10.
    share = lift_share(off, height)
    assert np.allclose(share, [0, 0.25, 1, 0.25, 0, 0.25, 0.25, 0, 0, 0, 0])


def test_who_pushes_off_with_one_foot_runs_who_does_with_both_jumps() -> None:
    off = np.zeros((2, 40), bool)
    off[0, 5:17] = off[1, 12:20] = True  # the right foot pushes off, the left one lands
    off[:, 30:35] = True
    running = running_phases(off, about=3, alone=2)
    assert np.flatnonzero(running).tolist() == list(range(9, 20))
    # A clip that begins in the air does not say.
    assert not running_phases(off[:, 12:], about=3, alone=2).any()
