"""Coarse to fine in time: every k-th frame of a clip, and what lies between them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class Level:
    """Every `stride`-th frame of several clips, and the last frame of each.

    Attributes:
        stride: frames between neighbours.
        index: (K,) the frames, in the clips' concatenation.
        clips: how many frames each clip has.
        lengths: how many of them are taken.
        link: (K - 2,) one where three neighbours are equally far apart and of one clip.
    """

    def __init__(
        self, lengths: Sequence[int], stride: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        """Choose the frames."""
        self.stride, self.clips = stride, list(lengths)
        self._keys = []
        start, index, links = 0, [], []
        for count in lengths:
            key = torch.arange(0, count, stride, device=device)
            if key[-1] != count - 1:
                key = torch.cat((key, key.new_tensor([count - 1])))
            self._keys.append(key)
            index.append(key + start)
            even = torch.zeros(len(key), dtype=dtype, device=device)
            if len(key) > 2:
                gap = key.diff()
                even[1:-1] = (gap[1:] == gap[:-1]).to(dtype)
            links.append(even)
            start += count
        self.index = torch.cat(index)
        self.lengths = [len(key) for key in self._keys]
        self.link = torch.cat(links)[1:-1]

    def fill(self, values: Tensor) -> Tensor:
        """Cubic Hermite curves through values (K, m) at the clips' every frame: (T, m)."""
        filled, start = [], 0
        for key, count in zip(self._keys, self.clips, strict=True):
            filled.append(_hermite(key, values[start : start + len(key)], count))
            start += len(key)
        return torch.cat(filled)

    def fill_roots(self, roots: Tensor) -> Tensor:
        """The same for positions and quaternions (K, 7)."""
        aligned, start = [], 0
        for key in self._keys:
            quat = roots[start : start + len(key), 3:]
            # q and -q are one rotation: take the nearer to the one before.
            flips = ((quat[1:] * quat[:-1]).sum(1) < 0).cumsum(0) % 2
            sign = torch.cat((flips.new_zeros(1), flips)) * -2 + 1
            aligned.append(quat * sign[:, None])
            start += len(key)
        filled = self.fill(torch.cat((roots[:, :3], torch.cat(aligned)), dim=1))
        quat = filled[:, 3:] / filled[:, 3:].norm(dim=1, keepdim=True)
        return torch.cat((filled[:, :3], quat), dim=1)


def _hermite(key: Tensor, values: Tensor, count: int) -> Tensor:
    if len(key) == count:
        return values
    gap = key.diff().to(values)[:, None]
    slope = values.diff(dim=0) / gap
    # The slope of the parabola through three neighbours; a straight line at the ends.
    inner = (slope[:-1] * gap[1:] + slope[1:] * gap[:-1]) / (gap[1:] + gap[:-1])
    tangent = torch.cat((slope[:1], inner, slope[-1:]))
    frame = torch.arange(count, device=key.device)
    after = torch.searchsorted(key, frame).clamp(1, len(key) - 1)
    before = after - 1
    h = gap[before]
    s = (frame - key[before]).to(values)[:, None] / h
    a, b, da, db = values[before], values[after], tangent[before] * h, tangent[after] * h
    return (
        a * (1 + 2 * s) * (1 - s) ** 2
        + da * s * (1 - s) ** 2
        + b * s**2 * (3 - 2 * s)
        + db * s**2 * (s - 1)
    )


def clip_parts(lengths: Sequence[int]) -> list[slice]:
    """Where each of several clips lies in their concatenation."""
    ends = np.cumsum(lengths)
    return [slice(int(end - n), int(end)) for end, n in zip(ends, lengths, strict=True)]
