"""Importers: shoulders, forearms and wrists of tables turn the body's the right way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retarget.importers.import_motions import import_motions
from retarget.importers.shoulder import JOINTS, shoulder_angles
from sim.embodiment import Embodiment
from tests.retarget.imported_files import (
    FORWARDS,
    RIGHT,
    angle_between,
    assert_same_upper_arm,
    posed,
    write_table,
)


@pytest.mark.parametrize("side", ["r", "l"])
def test_shoulder_reproduces_the_upper_arm(bimanual: Embodiment, side: str) -> None:
    random = np.random.default_rng(5)
    arms = random.uniform([-0.8, -1.6, -0.8], [1.5, -0.1, 0.8], size=(25, 3))
    solved = shoulder_angles(bimanual, arms, side)
    model, inside = bimanual.model, 0
    for arm, angle in zip(arms, solved, strict=True):
        qpos = model.qpos0.copy()
        for joint, value in zip(JOINTS, angle, strict=True):
            low, high = model.joint(f"{joint}_{side}").range
            inside += low <= value <= high
            qpos[model.joint(f"{joint}_{side}").qposadr[0]] = value
        assert_same_upper_arm(
            posed(bimanual, bimanual.couplings.complete_qpos(qpos)), arm, side, 0.01
        )
    assert inside > 0.9 * solved.size


def test_shoulder_of_simple_poses(bimanual: Embodiment) -> None:
    # Forwards is an elevation in the plane 90 degrees before the frontal one, sideways in it.
    arms = np.radians([[90.0, 0.0, 0.0], [0.0, -90.0, 0.0], [0.0, -45.0, 0.0]])
    for side in "rl":
        solved = np.degrees(shoulder_angles(bimanual, arms, side))
        np.testing.assert_allclose(solved[:, 0], [90, 0, 0], atol=8)
        np.testing.assert_allclose(solved[:, 1], [90, 90, 45], atol=8)


def test_forearm_and_wrist_turn_the_right_way(tmp_path: Path, bimanual: Embodiment) -> None:
    columns = {f"{name}_{side}": np.zeros(5) for side in "rl"
               for name in ("pro_sup", "wrist_flex", "wrist_dev")}  # fmt: skip
    outwards = {"r": RIGHT, "l": -RIGHT}

    def hand(side: str, **values: float) -> tuple[np.ndarray, np.ndarray]:
        """Directions little finger to thumb, and wrist to middle finger, of the hanging arm."""
        given = {f"{name}_{side}": np.full(5, value) for name, value in values.items()}
        motion = import_motions(write_table(tmp_path / "a.sto", columns | given), bimanual)
        data = posed(bimanual, motion.motions[0].qpos[0])
        place = [data.body(f"{name}_{side}").xpos for name in ("firstmc", "fifthmc", "thirdmc")]
        return place[0] - place[1], place[2] - data.body(f"lunate_{side}").xpos

    for side in "rl":
        # OpenSim's zero is the anatomical position: palms forwards, thumbs outwards.
        thumb, fingers = hand(side)
        assert angle_between(thumb * [1, 1, 0], outwards[side]) < 30
        thumb, _ = hand(side, pro_sup=np.pi / 2)
        assert angle_between(thumb * [1, 1, 0], FORWARDS) < 30
        _, flexed = hand(side, wrist_flex=0.4)
        assert (flexed - fingers) @ FORWARDS > 0.01
        _, ulnar = hand(side, wrist_dev=0.15)
        assert (ulnar - fingers) @ outwards[side] < -0.003
