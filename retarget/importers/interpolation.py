"""Even frames from samples at any times: piecewise cubic, once differentiable.

Between two samples runs the cubic with their values and with the slopes of the parabola through
each sample and its neighbours (Hermite interpolation). It passes through every sample, and a sample
at the time of a frame is returned as it is. There is no filter: measured joint angles are smooth
far below half the rate of the frames.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from retarget.importers.source import SourceClip
from retarget.importers.storage import TRANSLATIONS


def frame_times(time: np.ndarray, fps: float) -> np.ndarray:
    """Return the times (F,) of frames at `fps` from the first sample, none after the last."""
    # A rounding error must not cost the last frame.
    count = int(np.floor((time[-1] - time[0]) * fps + 1e-6)) + 1
    return time[0] + np.arange(count) / fps


def interpolate(time: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return values (F, ...) at the times `at` (F,) of samples (T, ...) at `time` (T,), T >= 2."""
    slope = np.gradient(values, time, axis=0)
    left = np.clip(np.searchsorted(time, at, side="right") - 1, 0, len(time) - 2)
    step = time[left + 1] - time[left]
    shape = (-1, *[1] * (values.ndim - 1))
    s = np.clip((at - time[left]) / step, 0.0, 1.0).reshape(shape)
    step = step.reshape(shape)
    rise = 3 * s**2 - 2 * s**3
    return (
        values[left]
        + rise * (values[left + 1] - values[left])
        + step * s * (1 - s) * ((1 - s) * slope[left] - s * slope[left + 1])
    )


def resample(clip: SourceClip, fps: float) -> SourceClip:
    """Return the clip at even frames; its own samples where they are at those frames already.

    Angles are unwrapped first. Quaternions are given one sign, interpolated by component and
    normalised: for neighbouring samples less than about 30 degrees apart, smoother than slerp.
    """
    at = frame_times(clip.time, fps)
    columns = {
        name: values if name in TRANSLATIONS else _unwrap(values)
        for name, values in clip.columns.items()
    }
    root = clip.root
    if root is not None:
        root = root.copy()
        root[:, 3:] /= np.linalg.norm(root[:, 3:], axis=1, keepdims=True)
        flips = np.sign(np.einsum("tk,tk->t", root[1:, 3:], root[:-1, 3:]))
        root[1:, 3:] *= np.cumprod(np.where(flips < 0, -1.0, 1.0))[:, None]
    same = len(at) == len(clip.time) and np.abs(at - clip.time).max() < 1e-6 / fps
    if not same:
        if columns:
            table = interpolate(clip.time, np.stack(list(columns.values()), axis=1), at)
            columns = dict(zip(columns, table.T, strict=True))
        if root is not None:
            root = interpolate(clip.time, root, at)
            root[:, 3:] /= np.linalg.norm(root[:, 3:], axis=1, keepdims=True)
    return replace(clip, time=at, columns=columns, root=root)


def _unwrap(angle: np.ndarray) -> np.ndarray:
    """Remove jumps of whole turns, then the whole turns that the clip has on average."""
    angle = np.unwrap(angle)
    return angle - 2 * np.pi * np.round(angle.mean() / (2 * np.pi))
