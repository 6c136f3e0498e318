"""When a step's correction is asked for, worked out by hand."""

from __future__ import annotations

import numpy as np

from sim.gait_targets import _landing, _runs, _share, _standing


def test_runs_of_true() -> None:
    assert _runs(np.array([1, 1, 0, 0, 1, 0, 1], bool)) == [(0, 2), (4, 5), (6, 7)]
    assert _runs(np.zeros(3, bool)) == []


def test_a_correction_sets_in_in_swing_and_fades_in_stance() -> None:
    off = np.array([0, 1, 1, 1, 1, 0, 0, 0, 0, 0], bool)
    share = _share(off, blend=2, release=3)
    assert share.tolist() == [0.0, 0.5, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    # Without a release it ends with the swing.
    assert _share(off, blend=2, release=0).tolist() == [0, 0.5, 1, 1, 1, 0, 0, 0, 0, 0]


def test_the_next_swing_cuts_a_fading_correction_short() -> None:
    off = np.array([1, 1, 0, 1, 1, 1], bool)
    share = _share(off, blend=1, release=3)
    assert share.tolist() == [1.0, 1.0, 0.75, 1.0, 1.0, 1.0]


def test_every_frame_of_a_swing_knows_its_ends() -> None:
    off = np.array([0, 1, 1, 0, 1, 1], bool)
    assert _landing(off).tolist() == [[-1, -1], [1, 3], [1, 3], [-1, -1], [4, 5], [4, 5]]


def test_a_body_stands_while_no_step_is_near() -> None:
    off = np.array([0, 0, 0, 0, 1, 0, 0, 0, 0, 0], bool)
    assert _standing(off, 2).tolist() == [True] * 2 + [False] * 5 + [True] * 3
    assert _standing(np.zeros(3, bool), 5).all()
