"""Resampling: exact for steady motion, small known errors elsewhere, nothing aliased."""

from __future__ import annotations

import math
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch
from torch import Tensor

from retarget.resample import resample_positions, resample_rotations, rotvec_to_quat
from retarget.smpl_clip import load_clip
from sim.rotations import matrix_to_rotvec, quat_angle, quat_multiply, quat_to_matrix

#: Rates that keep, raise and lower the number of frames, with and without the low-pass.
_RATES = [(120.0, 100.0), (30.0, 100.0), (250.0, 100.0), (59.94, 100.0), (100.0, 41.7),
          (1000.0, 100.0), (120.0, 30.0)]  # fmt: skip


def _times(frames: int, fps: float) -> Tensor:
    return torch.arange(frames, dtype=torch.float64) / fps


def _spin(axis: tuple[float, float, float], angle: Tensor) -> Tensor:
    """Rotations (T, 4) about a fixed axis."""
    direction = torch.tensor(axis, dtype=torch.float64)
    return rotvec_to_quat(angle[:, None] * direction / direction.norm())


def _tumble(t: Tensor) -> Tensor:
    """A smooth rotation (T, 4) whose axis turns too, and which passes half a turn."""
    first = _spin((1, 2, 3), 4.0 * t + 0.5 * torch.sin(9 * t))
    return quat_multiply(first, _spin((0, 1, -1), 1.2 * torch.sin(7 * t)))


@pytest.mark.parametrize(
    ("frames", "fps", "out_fps", "expected"),
    [
        (121, 120, 100, 101),  # one second, both ends
        (120, 120, 100, 100),  # 0.9917 s: the last frame is at 0.99
        (2, 30, 100, 4),  # 0, 10, 20, 30 ms of 33.3
        (3, 59.94, 100, 4),
        (301, 29.97, 29.97 * 3, 901),  # rounding must not cost the last frame
        (1, 120, 100, 1),
    ],
)
def test_number_of_frames(frames: int, fps: float, out_fps: float, expected: int) -> None:
    assert len(resample_positions(torch.zeros(frames, 2), fps, out_fps)) == expected
    still = torch.tensor([1.0, 0, 0, 0]).expand(frames, 5, 4)
    assert resample_rotations(still, fps, out_fps).shape == (expected, 5, 4)


def test_equal_rates_return_the_input() -> None:
    x = torch.randn(7, 3, 4, dtype=torch.float64)
    assert resample_positions(x, 100, 100.0) is x
    assert resample_rotations(x, 59.94, 59.94) is x


@pytest.mark.parametrize(("fps", "out_fps"), _RATES)
@pytest.mark.parametrize("frames", [2, 3, 10, 200])
def test_linear_motion_is_exact(fps: float, out_fps: float, frames: int) -> None:
    def line(t: Tensor) -> Tensor:
        return torch.stack((3 - 2 * t, torch.full_like(t, 7.0)), -1)[:, None]

    result = resample_positions(line(_times(frames, fps)), fps, out_fps)
    torch.testing.assert_close(result, line(_times(len(result), out_fps)), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("fps", "out_fps"), _RATES)
@pytest.mark.parametrize("frames", [2, 3, 10, 200])
def test_constant_angular_velocity_is_exact(fps: float, out_fps: float, frames: int) -> None:
    """Whole turns at 8 rad/s, so the angle passes pi; and no motion at all."""

    def turn(t: Tensor) -> Tensor:
        return torch.stack((_spin((1, -2, 0.5), 8 * t + 1), _spin((0, 0, 1), 0 * t + 3.1)), 1)

    t = _times(frames, fps)
    # The signs of a recording's quaternions are arbitrary.
    signs = torch.where(torch.arange(frames) % 3 == 1, -1.0, 1.0)[:, None, None]
    result = resample_rotations(5 * signs * turn(t), fps, out_fps)
    expected = turn(_times(len(result), out_fps))
    assert quat_angle(result, expected).max() < 1e-10
    torch.testing.assert_close(result.norm(dim=-1), torch.ones(len(result), 2).double())


def test_frames_are_kept_where_rates_are_multiples() -> None:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(20, 3, generator=random, dtype=torch.float64)
    torch.testing.assert_close(resample_positions(x, 25, 100)[::4], x, rtol=0, atol=1e-12)
    quat = torch.randn(20, 3, 4, generator=random, dtype=torch.float64)
    quat = quat / quat.norm(dim=-1, keepdim=True)
    assert quat_angle(resample_rotations(quat, 25, 100)[::4], quat).max() < 1e-10


def test_hand_worked_cubic() -> None:
    """Between 0 and 1 of the samples 0 0 1 1, half-way: (9 (0 + 1) - (0 + 1)) / 16."""
    result = resample_positions(torch.tensor([0.0, 0, 1, 1]), 1, 2)
    assert result[3].item() == pytest.approx(0.5)
    result = resample_positions(torch.tensor([5.0, 0, 1, 3]), 1, 2)
    assert result[3].item() == pytest.approx((9 * 1 - 8) / 16)
    # At the ends the slope is a parabola's: squares are exact.
    squares = resample_positions(_times(4, 1) ** 2, 1, 4)
    torch.testing.assert_close(squares, _times(13, 4) ** 2)


def test_six_hertz_at_120_to_100() -> None:
    """Error of a 6 Hz sinusoid: below 0.1 % of its amplitude, 0.3 % in the first and last frame."""
    t, out = _times(241, 120), _times(201, 100)
    for phase in (0.0, 0.7, 1.6):
        tone = resample_positions(torch.sin(12 * math.pi * t + phase), 120, 100)
        error = (tone - torch.sin(12 * math.pi * out + phase)).abs()
        assert error[2:-2].max() < 1e-3
        assert error.max() < 3e-3
        swing = resample_rotations(_spin((1, 1, 0), torch.sin(12 * math.pi * t + phase)), 120, 100)
        expected = _spin((1, 1, 0), torch.sin(12 * math.pi * out + phase))
        error = quat_angle(swing, expected)
        assert error[2:-2].max() < 1e-3
        assert error.max() < 3e-3


@pytest.mark.parametrize(
    ("fps", "out_fps", "bound"),
    [(120, 100, 1e-4), (30, 100, 5e-3), (59.94, 100, 7e-4), (250, 100, 1e-4)],
)
def test_tumbling_through_half_turns(fps: float, out_fps: float, bound: float) -> None:
    frames = int(2 * fps) + 1
    quat = _tumble(_times(frames, fps))
    result = resample_rotations(quat, fps, out_fps)
    expected = _tumble(_times(len(result), out_fps))
    # The low-pass needs frames on both sides.
    ends = 10 if fps > 1.5 * out_fps else 0
    error = quat_angle(result, expected)[ends : len(result) - ends]
    assert error.max() < bound
    # Continuous signs: neighbours are near, not opposite.
    assert ((result[1:] * result[:-1]).sum(-1) > 0.9).all()
    # Rotation vectors of at most pi jump where the angle passes pi; the result must not.
    wrapped = rotvec_to_quat(matrix_to_rotvec(quat_to_matrix(quat)))
    assert quat_angle(resample_rotations(wrapped, fps, out_fps), result).max() < 1e-7


def test_velocity_is_continuous() -> None:
    """Rotations of a coarse clip, seen finely: the angular velocity has no jumps."""
    coarse = _tumble(_times(12, 10))
    # Frame 4000 k of the result is frame k; near it, velocity differs by an amount of the step.
    fine = resample_rotations(coarse, 10, 40_000)
    matrix = quat_to_matrix(fine)
    rate = 40_000 * matrix_to_rotvec(matrix[:-1].mT @ matrix[1:])
    change = (rate[1:] - rate[:-1]).norm(dim=-1)
    speed = rate.norm(dim=-1).max()
    assert speed > 1.0
    assert change.max() < 1e-2 * speed
    positions = resample_positions(coarse, 10, 40_000)
    rate = 40_000 * (positions[1:] - positions[:-1])
    assert (rate[1:] - rate[:-1]).abs().max() < 1e-2


def test_no_aliasing_from_250_to_100() -> None:
    """90 Hz would come back as 10 Hz; it is removed, and 6 Hz is kept, both in place."""
    t = _times(1001, 250)
    out = _times(401, 100)
    slow, fast = torch.sin(12 * math.pi * t + 0.3), torch.sin(180 * math.pi * t + 1.0)
    expected = torch.sin(12 * math.pi * out + 0.3)
    inside = slice(10, -10)
    alone = resample_positions(fast, 250, 100)
    assert alone[inside].abs().max() < 2e-3
    both = resample_positions(slow + fast, 250, 100)
    assert (both - expected)[inside].abs().max() < 3e-3
    # Without a filter the tone would be there in full.
    assert torch.nn.functional.interpolate(fast[None, None], 401, mode="linear").abs().max() > 0.5
    swing = resample_rotations(_spin((0, 1, 0), slow + 0.1 * fast), 250, 100)
    assert quat_angle(swing, _spin((0, 1, 0), expected))[inside].max() < 1e-3


def test_low_pass_halves_at_its_cutoff() -> None:
    """Amplitude at 45 Hz for 100 Hz out; 30 Hz passes. Read by least squares from cubic samples."""
    for tone, gain, tolerance in ((45.0, 0.5, 0.02), (20.0, 1.0, 0.01)):
        t = _times(4001, 1000)
        result = resample_positions(torch.cos(2 * math.pi * tone * t), 1000, 100)
        out = _times(len(result), 100)
        basis = torch.stack([f(2 * math.pi * tone * out) for f in (torch.cos, torch.sin)], -1)
        weights = torch.linalg.lstsq(basis[20:-20], result[20:-20, None]).solution[:, 0]
        assert weights[0].item() == pytest.approx(gain, abs=tolerance)
        assert weights[1].item() == pytest.approx(0.0, abs=1e-3)


def test_low_pass_needs_no_long_clip() -> None:
    """Clips shorter than the filter's reach: finite, and within what went in."""
    random = torch.Generator().manual_seed(0)
    for frames in (2, 3, 5, 20):
        x = torch.rand(frames, 2, generator=random, dtype=torch.float64)
        result = resample_positions(x, 250, 100)
        assert torch.isfinite(result).all()
        torch.testing.assert_close(result[0], x[0])
        quat = rotvec_to_quat(0.2 * torch.rand(frames, 3, generator=random, dtype=torch.float64))
        assert torch.isfinite(resample_rotations(quat, 250, 100)).all()


@pytest.mark.parametrize(
    ("frames", "fps", "out_fps", "word"),
    [(0, 120, 100, "no frame"), (5, 0, 100, "0"), (5, 120, -1, "-1"), (5, math.nan, 100, "nan")],
)
def test_wrong_input(frames: int, fps: float, out_fps: float, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        resample_positions(torch.zeros(frames, 3), fps, out_fps)
    with pytest.raises(ValueError, match=word):
        resample_rotations(torch.ones(frames, 4), fps, out_fps)


def test_rotvec_to_quat_is_mujocos() -> None:
    random = np.random.default_rng(0)
    for size in (0.0, 1e-300, 1e-12, 1e-6, 0.1, 1.0, math.pi, 5.0):
        axis = random.normal(size=3)
        axis /= np.linalg.norm(axis)
        expected = np.zeros(4)
        mujoco.mju_axisAngle2Quat(expected, axis, size)
        quat = rotvec_to_quat(torch.tensor(size * axis)[None, None])[0, 0].numpy()
        np.testing.assert_allclose(quat, expected, rtol=1e-13, atol=1e-15)
    assert rotvec_to_quat(torch.zeros(2, 3)).tolist() == [[1, 0, 0, 0]] * 2


def test_real_clip_is_rebuilt_from_every_second_frame(shared: Path) -> None:
    """Nearer than by straight lines, by far at the knees, which move fast and are recorded well.

    Elsewhere jitter from frame to frame dominates, which nothing can rebuild.
    """
    path = shared / "data" / "amass" / "CMU" / "02" / "02_01_poses.npz"
    if not path.is_file():
        pytest.skip(f"no recording {path}")
    clip = load_clip(path)
    quat = rotvec_to_quat(torch.tensor(clip.rotvec[:201, :22]))
    rebuilt = resample_rotations(quat[::2], 60, 120)
    assert rebuilt.shape == quat.shape
    cubic = torch.rad2deg(quat_angle(rebuilt, quat))[1::2].mean(0)
    # Half-way between unit quaternions of one sign is their normalised sum.
    before, after = quat[:-2:2], quat[2::2]
    middle = before + after * torch.sign((before * after).sum(-1, keepdim=True))
    middle = middle / middle.norm(dim=-1, keepdim=True)
    straight = torch.rad2deg(quat_angle(middle, quat[1::2])).mean(0)
    knees = [4, 5]
    assert (cubic[knees] < 0.5 * straight[knees]).all() and (cubic[knees] < 0.05).all()
    assert cubic.mean() < 0.9 * straight.mean()
    assert cubic.mean() < 0.25
    trans = torch.tensor(clip.trans[:201])
    cubic = (resample_positions(trans[::2], 60, 120) - trans)[1::2].norm(dim=-1).mean()
    assert cubic < ((trans[:-2:2] + trans[2::2]) / 2 - trans[1::2]).norm(dim=-1).mean()
