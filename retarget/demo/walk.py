"""The walk of the full body: one fitted stride of the measured gait, repeated."""

from __future__ import annotations

import numpy as np

from retarget.demo.gait_fit import fit_gait
from retarget.demo.gait_table import SPEED, STRIDE_LENGTH
from retarget.motion import Motion
from retarget.reference import differentiate, make_motion
from sim.embodiment import CONTROL_HZ, Embodiment

#: Strides of the clip.
STRIDES = 10
#: Frames of a stride: the measured duration to the nearest even number, so that a step is whole.
STRIDE_FRAMES = 2 * round(0.5 * STRIDE_LENGTH / SPEED * CONTROL_HZ)

SOURCE = "mean walking kinematics of Falisse et al. 2019 (J R Soc Interface 16:20190402)"


def repeat_stride(stride: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Return the postures (F, nq) at frame numbers (F,), which may lie before or after the stride.

    Args:
        stride: (T, nq) one stride, which advances by `STRIDE_LENGTH` along -y.
        frames: (F,) integers; 0 is the first posture of `stride`.
    """
    count, within = np.divmod(frames, len(stride))
    qpos = stride[within].copy()
    qpos[:, 1] -= STRIDE_LENGTH * count
    return qpos


def walk_motions(embodiment: Embodiment) -> list[Motion]:
    """Return the clip `walk` of the full body at the control frequency."""
    stride = fit_gait(embodiment, STRIDE_FRAMES).qpos
    # One frame more at both ends: the first and last velocities are central differences too.
    qpos = repeat_stride(stride, np.arange(-1, STRIDES * STRIDE_FRAMES + 2))
    qvel = differentiate(embodiment.model, qpos, CONTROL_HZ)
    return [make_motion("walk", embodiment, qpos[1:-1], CONTROL_HZ, SOURCE, qvel[1:-1])]
