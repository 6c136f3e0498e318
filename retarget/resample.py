"""Frames at another rate: cubic interpolation of positions and rotations, and a low-pass before.

Frames out are at k / out_fps from the first frame in to the last. Between two frames runs the cubic
with their values and with central differences as slopes (cubic convolution, Keys 1981, IEEE Trans.
ASSP 29:1153). It passes through every frame and has a continuous velocity. Rotations do the same in
the tangent space of the earlier frame, where the slope at its end is turned so that the angular
velocity is continuous too; a constant velocity, linear or angular, is reproduced exactly.

Where fewer than two thirds of the frames remain, what they cannot show is removed first by a
symmetric low-pass, which shifts nothing in time: a sinc windowed by Kaiser's window, with half its
amplitude left at 0.45 out_fps, all of it below 0.35, and a thousandth above 0.55. Ends are
continued by point reflection, so that constants and constant velocities pass unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from sim.rotations import quat_conjugate, quat_multiply

#: Frames are filtered where the rate falls to less than the inverse of this.
_FILTER_RATIO = 1.5
#: Cutoff and half the width of the transition, in output rates.
_CUTOFF, _HALF_TRANSITION = 0.45, 0.10
#: Attenuation (dB) of what is above the transition.
_ATTENUATION = 60.0


def resample_positions(x: Tensor, fps: float, out_fps: float) -> Tensor:
    """Resample values that add, such as positions.

    Args:
        x: (T, ...) frames.
        fps: their rate (Hz).
        out_fps: the wanted rate (Hz).

    Returns:
        (T', ...) float64 with T' = floor((T - 1) / fps * out_fps + 1e-6) + 1; `x` itself, in
        float64, where the rates are equal.

    Raises:
        ValueError: no frame, or a rate that is not positive.
    """
    x = x.to(torch.float64)
    if _is_unchanged(x, fps, out_fps):
        return x
    if fps > _FILTER_RATIO * out_fps:
        x = _filter_positions(x, _low_pass(fps, out_fps))
    left, s = _grid(x, fps, out_fps)
    step = x[1:] - x[:-1]
    slope = _slopes(step)
    return x[left] + _hermite(s, step[left], slope[left], slope[left + 1])


def resample_rotations(quat: Tensor, fps: float, out_fps: float) -> Tensor:
    """Resample rotations.

    The quaternions that come back have continuous signs. A joint is expected to turn by less than
    half a turn from frame to frame, and by less than a whole turn within the reach of the low-pass
    where that is needed (0.09 s at 100 Hz, 0.3 s at 30 Hz).

    Args:
        quat: (T, ..., 4) frames of quaternions, w first, of any sign.
        fps: their rate (Hz).
        out_fps: the wanted rate (Hz).

    Returns:
        (T', ..., 4) float64 unit quaternions, T' as for `resample_positions`; `quat` itself, in
        float64, where the rates are equal.

    Raises:
        ValueError: no frame, or a rate that is not positive.
    """
    quat = quat.to(torch.float64)
    if _is_unchanged(quat, fps, out_fps):
        return quat
    quat = _continuous(quat / quat.norm(dim=-1, keepdim=True))
    if fps > _FILTER_RATIO * out_fps:
        quat = _continuous(_filter_rotations(quat, _low_pass(fps, out_fps)))
    left, s = _grid(quat, fps, out_fps)
    # In the axes of the earlier of two frames; a constant direction has the same entries in both.
    step = _log(_relative(quat[:-1], quat[1:]))
    slope = _slopes(step)
    move = _hermite(s, step[left], slope[left], _inverse_right_jacobian(step, slope[1:])[left])
    return quat_multiply(quat[left], rotvec_to_quat(move))


def rotvec_to_quat(rotvec: Tensor) -> Tensor:
    """Return unit quaternions (..., 4), w first, of rotation vectors (..., 3) in rad.

    Exact at zero, and continuous for angles of any size.
    """
    half = rotvec.norm(dim=-1, keepdim=True) / 2
    # torch.sinc(x) is sin(pi x) / (pi x), and 1 at 0.
    return torch.cat((half.cos(), 0.5 * rotvec * torch.sinc(half / math.pi)), dim=-1)


def _is_unchanged(x: Tensor, fps: float, out_fps: float) -> bool:
    for rate in (fps, out_fps):
        if not (math.isfinite(rate) and rate > 0):
            raise ValueError(f"frame rate is {rate}, expected a positive number (Hz)")
    if len(x) == 0:
        raise ValueError("no frame to resample, expected at least 1")
    return len(x) == 1 or math.isclose(fps, out_fps, rel_tol=1e-9)


def _grid(x: Tensor, fps: float, out_fps: float) -> tuple[Tensor, Tensor]:
    """The frame before each output frame (T',), and how far past it that is (T', 1, ...)."""
    last = len(x) - 1
    # A rounding error must not cost the last frame.
    count = math.floor(last / fps * out_fps + 1e-6) + 1
    at = torch.arange(count, dtype=torch.float64, device=x.device) * (fps / out_fps)
    at = at.clamp(max=last)
    left = at.floor().long().clamp(max=last - 1)
    return left, (at - left).reshape(-1, *[1] * (x.ndim - 1))


def _slopes(step: Tensor) -> Tensor:
    """Slopes (T, ...) a frame, of steps (T - 1, ...): central, at the ends a parabola's."""
    inner = (step[1:] + step[:-1]) / 2
    if len(step) == 1:
        return torch.cat((step, step))
    return torch.cat((2 * step[:1] - inner[:1], inner, 2 * step[-1:] - inner[-1:]))


def _hermite(s: Tensor, step: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """The cubic from 0 to `step` with slopes `start` and `end`, at `s` from 0 to 1."""
    return s * s * (3 - 2 * s) * step + s * (1 - s) * ((1 - s) * start - s * end)


def _low_pass(fps: float, out_fps: float) -> Tensor:
    """Weights (2 N + 1,) of a windowed sinc, which sum to 1. Orders by Kaiser's formulas."""
    transition = 2 * math.pi * 2 * _HALF_TRANSITION * out_fps / fps
    reach = math.ceil((_ATTENUATION - 7.95) / (2.285 * transition) / 2)
    n = torch.arange(-reach, reach + 1, dtype=torch.float64)
    window = torch.kaiser_window(
        len(n), periodic=False, beta=0.1102 * (_ATTENUATION - 8.7), dtype=torch.float64
    )
    weights = torch.sinc(2 * _CUTOFF * out_fps / fps * n) * window
    return weights / weights.sum()


def _filter_positions(x: Tensor, weights: Tensor) -> Tensor:
    reach = len(weights) // 2
    padded = _extend(x, reach, lambda about, y: 2 * about - y)
    # The weights are symmetric: one pass for a pair of frames at equal distance.
    total = weights[reach].item() * x
    for k in range(1, reach + 1):
        pair = padded[reach - k :][: len(x)] + padded[reach + k :][: len(x)]
        total = total + weights[reach + k].item() * pair
    return total


def _filter_rotations(quat: Tensor, weights: Tensor) -> Tensor:
    """Filter in the tangent space of each frame, the neighbours seen in that frame's axes."""
    reach = len(weights) // 2

    def reflect(about: Tensor, y: Tensor) -> Tensor:
        return quat_multiply(about, quat_multiply(quat_conjugate(y), about))

    padded = _extend(quat, reach, reflect)
    total = quat.new_zeros((*quat.shape[:-1], 3))
    for k in range(-reach, reach + 1):
        if k:
            neighbour = padded[reach + k :][: len(quat)]
            total = total + weights[reach + k].item() * _log(_relative(quat, neighbour))
    return quat_multiply(quat, rotvec_to_quat(total))


def _extend(x: Tensor, reach: int, reflect: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Continue frames (T, ...) by `reach` at both ends; clips shorter than that in several goes."""
    while reach > 0:
        part = min(reach, len(x) - 1)
        before = reflect(x[:1], x[1 : part + 1]).flip(0)
        after = reflect(x[-1:], x[-part - 1 : -1]).flip(0)
        x, reach = torch.cat((before, x, after)), reach - part
    return x


def _continuous(quat: Tensor) -> Tensor:
    """Choose signs (T, ..., 4) so that neighbours are less than half a turn apart."""
    flips = torch.where((quat[1:] * quat[:-1]).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    return torch.cat((quat[:1], quat[1:] * flips.to(quat.dtype).cumprod(0)))


def _relative(a: Tensor, b: Tensor) -> Tensor:
    return quat_multiply(quat_conjugate(a), b)


def _log(quat: Tensor) -> Tensor:
    """Rotation vectors (..., 3) of unit quaternions whose sign tells angles up to a whole turn."""
    sine = quat[..., 1:].norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(sine, quat[..., :1])
    # angle / sin(angle / 2) tends to 2 at the identity.
    return quat[..., 1:] * torch.where(sine < 1e-12, 2.0, angle / sine.clamp_min(1e-300))


def _inverse_right_jacobian(rotvec: Tensor, velocity: Tensor) -> Tensor:
    """The rate of change of `rotvec` (..., 3) at which its rotation has the body `velocity`.

    The inverse of SO(3)'s right Jacobian (Solà et al. 2018, "A micro Lie theory for state
    estimation in robotics"), with a series where its quotient loses digits.
    """
    square = (rotvec * rotvec).sum(-1, keepdim=True)
    half = square.clamp_min(1e-4).sqrt() / 2
    series = 1 / 12 + square / 720
    factor = torch.where(square < 1e-4, series, (1 - half / half.tan()) / (4 * half * half))
    cross = torch.linalg.cross(rotvec, velocity)
    return velocity + cross / 2 + factor * torch.linalg.cross(rotvec, cross)
