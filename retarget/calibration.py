"""Takes constant errors out of a clip: what cannot be so, on average, is how it was fitted.

- Soles: how an SMPL foot is oriented at rest depends on who fitted the markers; an error of ten
  degrees is common and would lift one edge of every stance foot. While a foot is on the ground and
  still, its mean tilt is that error.
- Shoulders: SMPL's collars put the shoulders where the performer's are (or the fit's); the models
  here have no free shoulder girdle, it follows the arm's elevation. The mean displacement of each
  shoulder in the chest is taken out of its arm, what varies is kept.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from retarget.skeleton import FittedSkeleton
from retarget.tracks import Track

_STILL = 0.15  # m/s
_NEAR = 0.03  # m above the lowest decile of the toes' height
_FEWEST = 0.15  # s of flat stance below which nothing is corrected
_LARGEST = np.radians(30)  # more than this is no calibration error
_UP = np.array([0.0, 1.0, 0.0])  # of the foot's bodies


def settle_shoulders(skeleton: FittedSkeleton, position: Tensor, rotation: Tensor) -> Tensor:
    """Return joint positions (T, J, 3) with each arm moved so that its shoulder is, on average,
    where the model's hangs.

    Args:
        skeleton: what was posed.
        position: (T, J, 3) joints (m, world).
        rotation: (T, J, 3, 3) their axes.
    """
    position = position.clone()
    names, parents = list(skeleton.names), skeleton.parents
    chest = names.index("spine3")
    offsets = torch.as_tensor(skeleton.offsets).to(position)
    for side in ("left", "right"):
        shoulder = names.index(f"{side}_shoulder")
        at_rest = offsets[names.index(f"{side}_collar")] + offsets[shoulder]
        axes = rotation[:, chest]
        seen = torch.einsum("tji,tj->ti", axes, position[:, shoulder] - position[:, chest])
        shift = torch.einsum("tij,j->ti", axes, at_rest - seen.mean(0))
        arm = [shoulder]
        arm += [i for i, p in enumerate(parents) if i > shoulder and _hangs(parents, i, shoulder)]
        position[:, arm] += shift[:, None]
    return position


def _hangs(parents: tuple[int, ...], joint: int, above: int) -> bool:
    while joint > above:
        joint = parents[joint]
    return joint == above


def level_soles(
    position: Tensor, rotation: Tensor, follows: tuple[Track, ...], fps: float
) -> Tensor:
    """Return targets' axes (T, F, 3, 3) with the feet's mean tilt in stance taken out.

    Args:
        position: (T, F, 3) wanted frame origins (m).
        rotation: (T, F, 3, 3) wanted axes.
        follows: what each frame is.
        fps: frames a second.
    """
    rotation = rotation.clone()
    names = [track.frame for track in follows]
    for side in ("left", "right"):
        rows = {
            part: names.index(name) if name in names else -1
            for part, name in (
                ("ankle", f"{side}_ankle_mimic"),
                ("toes", f"{side}_toes_mimic"),
                ("foot", f"calcn_{side[0]}"),
            )
        }
        if min(rows.values()) < 0:
            continue
        flat = _flat(
            position[:, rows["ankle"]].cpu().numpy(), position[:, rows["toes"]].cpu().numpy(), fps
        )
        if flat.sum() < max(_FEWEST * fps, 3):
            continue
        for part in ("ankle", "foot", "toes"):
            axes = rotation[:, rows[part]]
            # The vertical in the foot's axes, on average over flat stance.
            up = axes[torch.as_tensor(flat, device=axes.device), 2].mean(0).double().cpu().numpy()
            turn = _tilt(up / np.linalg.norm(up))
            rotation[:, rows[part]] = axes @ torch.as_tensor(turn).to(axes)
    return rotation


def _flat(ankle: np.ndarray, toes: np.ndarray, fps: float) -> np.ndarray:
    """Frames (T,) in which the foot stands still on the ground."""
    flat = toes[:, 2] < np.percentile(toes[:, 2], 10) + _NEAR
    for point in (ankle, toes):
        flat &= np.linalg.norm(np.gradient(point, 1 / fps, axis=0), axis=1) < _STILL
    return flat


def _tilt(up: np.ndarray) -> np.ndarray:
    """The smallest rotation that takes the foot's own up onto `up`, at most `_LARGEST`."""
    cosine = float(np.clip(up @ _UP, -1, 1))
    axis = np.cross(_UP, up)
    sine = np.linalg.norm(axis)
    if sine < 1e-9:
        return np.eye(3)
    angle = min(np.arctan2(sine, cosine), _LARGEST)
    x, y, z = axis / sine
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k
