"""Changes the frame rate of positions and rotations.

Between samples both follow cubic convolution (Keys 1981, Catmull-Rom): exact at the samples, with a
continuous first derivative. Rotations do so in the tangent space of the sample before. Before the
rate is lowered by more than a third, what the new rate cannot carry is filtered out by a windowed
sinc without delay, rotations again in tangent spaces.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sim.rotations import quat_conjugate, quat_multiply

_FILTER_FROM = 1.5  # ratio of rates above which there is something to filter
_CUTOFF = 0.45  # of the new rate
_PERIODS = 4  # half-width of the filter in periods of the new rate


def rotvec_to_quat(rotvec: Tensor) -> Tensor:
    """Return unit quaternions (..., 4), w first, of rotation vectors (..., 3) in rad."""
    angle = rotvec.norm(dim=-1, keepdim=True)
    half = angle / 2
    small = angle < 1e-6
    factor = torch.where(small, 0.5 - angle**2 / 48, half.sin() / angle.clamp_min(1e-12))
    return torch.cat((half.cos(), factor * rotvec), dim=-1)


def quat_to_rotvec(quat: Tensor) -> Tensor:
    """Return rotation vectors (..., 3), of length at most pi, of unit quaternions (..., 4)."""
    quat = torch.where(quat[..., :1] < 0, -quat, quat)
    sine = quat[..., 1:].norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(sine, quat[..., :1])
    return quat[..., 1:] * torch.where(sine < 1e-9, 2.0, angle / sine.clamp_min(1e-12))


def resample_positions(x: Tensor, fps: float, out_fps: float) -> Tensor:
    """Resample x (T, ...) from `fps` to `out_fps`, from time 0 to the last sample's: (T', ...)."""
    if fps == out_fps:
        return x
    if fps > _FILTER_FROM * out_fps and len(x) > 2:
        weights, neighbours = _filter(len(x), fps, out_fps)
        flat = x.reshape(len(x), -1)
        padded = _reflect(flat, neighbours)
        flat = sum(w * padded[k : k + len(x)] for k, w in enumerate(weights))
        x = flat.reshape(x.shape)
    index, share = _grid(len(x), fps, out_fps)
    before, after = (index - 1).clamp_min(0), (index + 2).clamp_max(len(x) - 1)
    following = (index + 1).clamp_max(len(x) - 1)
    p0, p1, p2, p3 = x[before], x[index], x[following], x[after]
    # Beyond the ends the curve goes on straight.
    first, last = index == 0, index >= len(x) - 2
    p0 = torch.where(_like(first, x), 2 * p1 - p2, p0)
    p3 = torch.where(_like(last, x), 2 * p2 - p1, p3)
    return p1 + _cubic(p0 - p1, p2 - p1, p3 - p1, _like(share, x))


def resample_rotations(quat: Tensor, fps: float, out_fps: float) -> Tensor:
    """Resample rotations (T, ..., 4), w first, as `resample_positions` does positions."""
    if fps == out_fps:
        return quat
    if fps > _FILTER_FROM * out_fps and len(quat) > 2:
        quat = _filter_rotations(quat, fps, out_fps)
    index, share = _grid(len(quat), fps, out_fps)
    following = (index + 1).clamp_max(len(quat) - 1)
    centre = quat_conjugate(quat[index])
    ahead = quat_to_rotvec(quat_multiply(centre, quat[following]))
    back = quat_to_rotvec(quat_multiply(centre, quat[(index - 1).clamp_min(0)]))
    onward = quat_multiply(
        quat_conjugate(quat[following]), quat[(index + 2).clamp_max(len(quat) - 1)]
    )
    # The step after the next, carried into the same tangent space to first order.
    beyond = ahead + quat_to_rotvec(onward)
    back = torch.where(_like(index == 0, ahead), -ahead, back)
    beyond = torch.where(_like(index >= len(quat) - 2, ahead), 2 * ahead, beyond)
    turn = _cubic(back, ahead, beyond, _like(share, ahead))
    result = quat_multiply(quat[index], rotvec_to_quat(turn))
    return result / result.norm(dim=-1, keepdim=True)


def _grid(count: int, fps: float, out_fps: float) -> tuple[Tensor, Tensor]:
    """Sample before each new time, and the share of the way to the next."""
    new = math.floor((count - 1) / fps * out_fps + 1e-6) + 1
    place = torch.arange(new, dtype=torch.float64) * (fps / out_fps)
    index = (place + 1e-9).floor().clamp_max(max(count - 2, 0))
    return index.long(), (place - index).clamp(0, 1)


def _cubic(back: Tensor, ahead: Tensor, beyond: Tensor, s: Tensor) -> Tensor:
    """Catmull-Rom through (-1, back), (0, 0), (1, ahead), (2, beyond)."""
    start, end = (ahead - back) / 2, beyond / 2
    return start * s + (3 * ahead - 2 * start - end) * s**2 + (start + end - 2 * ahead) * s**3


def _like(values: Tensor, x: Tensor) -> Tensor:
    return values.reshape(-1, *([1] * (x.ndim - 1)))


def _filter(count: int, fps: float, out_fps: float) -> tuple[list[float], int]:
    """Weights of a windowed-sinc low-pass, and how many neighbours it takes on each side."""
    half = min(int(_PERIODS * fps / out_fps), count - 1)
    offset = torch.arange(-half, half + 1, dtype=torch.float64)
    cutoff = _CUTOFF * out_fps / fps  # cycles a sample
    window = 0.5 + 0.5 * torch.cos(math.pi * offset / (half + 1))
    weights = torch.sinc(2 * cutoff * offset) * window
    return (weights / weights.sum()).tolist(), half


def _reflect(x: Tensor, half: int) -> Tensor:
    """Extend by point reflection at the ends, which continues a straight line."""
    if half == 0:
        return x
    head = 2 * x[:1] - x[1 : half + 1].flip(0)
    tail = 2 * x[-1:] - x[-half - 1 : -1].flip(0)
    return torch.cat((head, x, tail))


def _filter_rotations(quat: Tensor, fps: float, out_fps: float) -> Tensor:
    weights, half = _filter(len(quat), fps, out_fps)
    inverse, count = quat_conjugate(quat), len(quat)
    frame = torch.arange(count)
    total = torch.zeros(*quat.shape[:-1], 3, dtype=quat.dtype)
    for offset, weight in zip(range(-half, half + 1), weights, strict=True):
        near = frame + offset
        outside = (near < 0) | (near >= count)
        near = torch.where(near < 0, -near, near)
        near = torch.where(near >= count, 2 * (count - 1) - near, near)
        turn = quat_to_rotvec(quat_multiply(inverse, quat[near]))
        end = torch.where(frame + offset < 0, 0, count - 1)
        to_end = quat_to_rotvec(quat_multiply(inverse, quat[end]))
        total += weight * torch.where(_like(outside, turn), 2 * to_end - turn, turn)
    result = quat_multiply(quat, rotvec_to_quat(total))
    return result / result.norm(dim=-1, keepdim=True)
