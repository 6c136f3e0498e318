import numpy as np
import pytest
import torch

from retarget import contact
from retarget.levels import Level


def test_contact_begins_low_and_slow_and_ends_high_or_fast():
    height, speed = np.full((100, 1), 0.01), np.full((100, 1), 0.05)
    height[:20] = height[70:] = 0.2
    height[60:70, 0] = 0.04  # lifted, not yet off
    speed[55:60] = 0.5
    found = contact.detect(height, speed, 100.0)
    # What is between the two thresholds at the end is leaving already.
    assert np.flatnonzero(found[:, 0]).tolist() == list(range(20, 55))


def test_sliding_feet_stand_where_that_is_allowed():
    height, speed = np.full((100, 1), 0.01), np.full((100, 1), 3.0)
    speed[20:70] = 0.7
    assert not contact.detect(height, speed, 100.0).any()
    found = contact.detect(height, speed, 100.0, (0.8, 1.2))
    assert np.flatnonzero(found[:, 0]).tolist() == list(range(20, 70))


def test_short_contacts_and_gaps_are_noise():
    height, speed = np.full((100, 2), 0.2), np.zeros((100, 2))
    height[40:43, 0] = 0.0
    height[10:90, 1] = 0.0
    height[50:53, 1] = 0.2
    found = contact.detect(height, speed, 100.0)
    assert not found[:, 0].any()
    assert np.flatnonzero(found[:, 1]).tolist() == list(range(10, 90))


def test_hold_ramps_inside_a_contact_but_not_at_the_clips_ends():
    standing = np.zeros((60, 1), dtype=bool)
    standing[20:60] = True
    firm = contact.hold(standing, 100.0)[:, 0]
    assert (firm[:20] == 0).all() and firm[-1] == 1 and firm[30] == 1
    assert 0 < firm[20] < firm[21] < firm[22] < 1


def test_contacts_of_a_run_are_held_sooner():
    standing = np.zeros((80, 1), dtype=bool)
    standing[10:26] = standing[30:70] = True
    pace = np.where(np.arange(80) < 28, 1.6, 1.0)
    firm = contact.hold(standing, 100.0, pace)[:, 0]
    # Five frames at a walk's pace, over its square two.
    np.testing.assert_allclose(firm[9:13], [0, 0.5, 1, 1])
    assert firm[24] == firm[12] and firm[25] == firm[10]
    assert (firm[30:34] < 1).all() and firm[34] == 1
    np.testing.assert_array_equal(firm[28:], contact.hold(standing, 100.0)[28:, 0])


def test_feet_of_a_body_that_runs_may_be_faster():
    way = np.zeros((400, 2))
    way[:, 1] = np.cumsum(np.where(np.arange(400) < 200, 0.012, 0.03))  # 1.2, then 3 m/s
    pace = contact.pace(way, 100.0)
    np.testing.assert_allclose(pace[:170], 1.0)
    np.testing.assert_allclose(pace[230:], 2.0)
    assert (np.diff(pace) >= -1e-12).all()
    np.testing.assert_array_equal(contact.pace(way[:1], 100.0), [1.0])


def test_a_body_stands_where_it_has_not_stepped_and_will_not_for_half_a_second():
    standing = np.ones((400, 4), dtype=bool)
    standing[100:110, :2] = False  # a step of the left foot
    standing[280:300, 2] = False  # a heel is no foot
    still = contact.stillness(standing, 100.0)
    assert (still[:25] == 1).all() and (still[185:] == 1).all()
    np.testing.assert_allclose(still[75:135], 0.0, atol=1e-12)
    assert (np.diff(still[24:76]) < 0).all() and (np.diff(still[134:186]) > 0).all()


def test_anchor_of_a_short_contact_is_its_mean_and_of_a_long_one_drifts():
    rng = np.random.default_rng(0)
    points = rng.normal(0, 0.01, (400, 2, 2))
    weight = np.zeros(400)
    weight[5:15] = 1.0
    weight[100:400] = 1.0
    points[100:400] += np.linspace(0, 0.5, 300)[:, None, None]
    anchor = contact.anchors(points, weight, 100.0)
    np.testing.assert_allclose(anchor[5:15], np.tile(points[5:15].mean(0), (10, 1, 1)))
    np.testing.assert_array_equal(anchor[:5], points[:5])
    speed = np.abs(np.diff(anchor[100:400], axis=0)) * 100
    assert speed.max() < 0.3  # the noise would be 1 m/s and more
    assert anchor[399, 0, 0] - anchor[100, 0, 0] == pytest.approx(0.5, abs=0.15)


def walk_on(slope, steps=6, lifted=0.0):
    """Lowest points of two feet (T, 2, 3) that step along y on a slope, and their speeds."""
    points, speed = [], []
    for step in range(steps):
        for phase in range(40):
            spots, speeds = [], []
            for foot in (0, 1):
                swinging = (step + foot) % 2 == 0
                y = 0.7 * (step + (phase / 40 if swinging else 0.0))
                z = 0.1 * np.sin(np.pi * phase / 40) if swinging else 0.0
                spots.append([0.1 * foot, y, 0.05 + slope * y + z])
                speeds.append(1.5 if swinging else 0.02)
            points.append(spots)
            speed.append(speeds)
    points, speed = np.array(points), np.array(speed)
    if lifted:  # one foot is held up, still
        points[:60, 0, 2], speed[:60, 0] = points[:60, 1, 2] + lifted, 0.01
    return points, speed


@pytest.mark.parametrize("slope", [0.0, 0.02, -0.015])
@pytest.mark.parametrize("lifted", [0.0, 0.08])
def test_floor_is_where_slow_feet_are(slope, lifted):
    points, speed = walk_on(slope, lifted=lifted)
    plane = contact.floor_plane(points, speed)
    y = np.linspace(0, 4, 5)
    height = contact.floor_height(plane, 0 * y, y)
    np.testing.assert_allclose(height, 0.05 + slope * y, atol=0.006)


def test_no_slope_is_read_from_a_single_spot_or_from_stairs():
    rng = np.random.default_rng(0)
    points = rng.normal(0, 0.01, (200, 2, 3))
    points[..., 2] += 0.3
    plane = contact.floor_plane(points, np.zeros((200, 2)))
    assert plane[0] == pytest.approx(0.3, abs=0.003) and np.abs(plane[1:]).max() < 0.01
    points, speed = walk_on(0.3)
    assert np.abs(contact.floor_plane(points, speed)[1:]).max() < 1e-9


def test_floor_of_a_clip_without_stance_is_its_lower_end():
    points, speed = walk_on(0.0)
    plane = contact.floor_plane(points, speed + 5)
    assert plane[0] == pytest.approx(0.05, abs=0.01) and not plane[1:].any()


def test_level_takes_every_kth_frame_and_fills_the_rest():
    level = Level([11, 4, 2], 4, torch.float64, torch.device("cpu"))
    assert level.index.tolist() == [0, 4, 8, 10, 11, 14, 15, 16]
    assert level.lengths == [4, 2, 2]
    # Ties only between equidistant neighbours of one clip.
    assert level.link.tolist() == [1, 0, 0, 0, 0, 0]
    t = torch.arange(17.0, dtype=torch.float64)
    curve = torch.stack((t, 3 - 2 * t), dim=1)
    torch.testing.assert_close(level.fill(curve[level.index]), curve)


def test_level_fills_rotations_on_the_short_way():
    level = Level([9], 4, torch.float64, torch.device("cpu"))
    angle = torch.linspace(0, 0.4, 9, dtype=torch.float64)
    quat = torch.stack((torch.cos(angle / 2), 0 * angle, 0 * angle, torch.sin(angle / 2)), 1)
    roots = torch.cat((torch.zeros(9, 3, dtype=torch.float64), quat), 1)
    keys = roots[level.index].clone()
    keys[1, 3:] *= -1
    filled = level.fill_roots(keys)
    sign = (filled[:, 3:] * quat).sum(1).sign()
    torch.testing.assert_close(filled[:, 3:] * sign[:, None], quat, atol=1e-4, rtol=0)
