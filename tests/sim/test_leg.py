"""The two-rod leg against the body's own kinematics."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from sim.embodiment import Embodiment
from sim.leg import Leg

STRAIGHT = 0.05


def _standing(body: Embodiment, side: str, flexion: float, knee: float) -> np.ndarray:
    """The rest pose with one leg bent; the body faces its own negative y."""
    leg, pose = Leg.of(body, side), body.model.qpos0.copy()
    pose[leg.hip], pose[leg.knee], pose[leg.ankle] = flexion, knee, 0.1
    return body.couplings.complete_qpos(pose)


def _look(body: Embodiment, leg: Leg, pose: np.ndarray) -> tuple[np.ndarray, float]:
    """From hip to ankle: ahead, left, up (3,); and how steeply the foot points up (rad)."""
    data = mujoco.MjData(body.model)
    data.qpos[:] = body.couplings.complete_qpos(pose)
    mujoco.mj_kinematics(body.model, data)
    pelvis = data.xmat[body.model.body("pelvis").id].reshape(3, 3)
    heel, toes = (
        data.xpos[body.model.body(part + ("_l", "_r")[leg.side == "right"]).id]
        for part in ("calcn", "toes")
    )
    forward = toes - heel
    ahead = -pelvis[:2, 1] / np.linalg.norm(pelvis[:2, 1])
    axes = np.array([ahead, [-ahead[1], ahead[0]]])
    vector = data.xpos[leg.bodies[2]] - data.xpos[leg.bodies[0]]
    pitch = float(np.arctan2(forward[2], axes[0] @ forward[:2]))
    return np.append(axes @ vector[:2], vector[2]), pitch


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("offset", [(0.08, 0, 0), (-0.08, 0, 0), (0, 0.05, 0), (0.05, -0.03, 0.04)])
def test_the_ankle_goes_where_it_is_sent(
    fullbody: Embodiment, side: str, offset: tuple[float, ...]
) -> None:
    leg = Leg.of(fullbody, side)
    pose = _standing(fullbody, side, flexion=0.3, knee=0.6)
    before, level = _look(fullbody, leg, pose)
    after = leg.moved(pose, before, before + offset, STRAIGHT)
    reached, pitch = _look(fullbody, leg, after)
    # The rods leave out that the knee's axis moves as it bends, and hips that are rotated.
    np.testing.assert_allclose(reached, before + offset, atol=0.012)
    assert abs(pitch - level) < 0.06
    changed = np.flatnonzero(after != pose)
    assert set(changed) <= {leg.hip, leg.knee, leg.ankle, leg.adduction}


def test_staying_changes_nothing(fullbody: Embodiment) -> None:
    leg, pose = Leg.of(fullbody, "left"), _standing(fullbody, "left", 0.2, 0.4)
    before, _ = _look(fullbody, leg, pose)
    np.testing.assert_array_equal(leg.moved(pose, before, before, STRAIGHT), pose)


def test_what_is_out_of_reach_is_met_with_a_straight_leg(fullbody: Embodiment) -> None:
    leg, pose = Leg.of(fullbody, "left"), _standing(fullbody, "left", 0.2, 0.4)
    before, _ = _look(fullbody, leg, pose)
    after, _ = _look(fullbody, leg, leg.moved(pose, before, 1.3 * before, STRAIGHT))
    assert leg.longest(STRAIGHT) < np.linalg.norm(1.3 * before)
    assert abs(np.linalg.norm(after) - leg.longest(STRAIGHT)) < 0.012
    assert leg.longest(0.0) == pytest.approx(leg.thigh + leg.shank)
