"""From a clip of a file to a motion of the body, with a report of what was done to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from retarget.importers.ground import foot_heights, ground_shift
from retarget.importers.interpolation import resample
from retarget.importers.opensim import matched_coordinates, postures_from_opensim
from retarget.importers.posture import PostureClip, matched_by_name, postures_by_name
from retarget.importers.report import Clipping, ClipReport
from retarget.importers.source import SourceClip, SourceError
from retarget.importers.strides import add_belt, repeat_cycle
from retarget.motion import Motion
from retarget.reference import make_motion
from sim.embodiment import CONTROL_HZ, Embodiment

if TYPE_CHECKING:  # which needs torch; importing does not
    from retarget.importers.feet import FootSolver

#: Excess over a joint's range (rad) that is rounding, neither reported nor worth reporting.
_ROUNDING = 1e-6
#: Depth of a foot below the floor (m) that is worth reporting.
_DEEP = 0.01


@dataclass(frozen=True)
class Wishes:
    """What is to become of clips.

    Attributes:
        fps: frames a second of the motions.
        root: "keep" the height as it is or shift the clip to the "ground"; None for the latter
            where the height was measured on another person (OpenSim's tables), not otherwise.
        belt: speed (m/s) of the treadmill that the clip was measured on, 0 for none.
        strides: how often its gait cycle is played; 0 for the clip as it is.
        stand: puts the clip on its feet, in place of `root`; None does not.
    """

    fps: float = CONTROL_HZ
    root: str | None = None
    belt: float = 0.0
    strides: int = 0
    stand: FootSolver | None = None


def convert(clip: SourceClip, embodiment: Embodiment, wishes: Wishes) -> tuple[Motion, ClipReport]:
    """Return the motion of a clip, and what was done.

    Raises:
        SourceError: the clip cannot be used for this body, or has no gait cycle to repeat.
    """
    fps = wishes.fps
    match = matched_coordinates if clip.opensim else matched_by_name
    clip.check(match(clip, embodiment))
    clip = resample(clip, fps)
    if len(clip.time) < 2:
        raise SourceError(f"{clip.path}: {clip.name} is shorter than a frame at {fps:g} Hz")
    postures = (postures_from_opensim if clip.opensim else postures_by_name)(clip, embodiment)
    qpos, clipped = _qpos(postures, embodiment, len(clip.time))
    notes, contact = [*clip.notes, *postures.notes], None
    if embodiment.has_root:
        if wishes.belt:
            qpos = add_belt(qpos, fps, wishes.belt)
            notes.append(f"the belt's {wishes.belt:g} m/s added to the root's velocity")
        if wishes.strides:
            qpos, note = repeat_cycle(
                embodiment, qpos, fps, wishes.strides, f"{clip.path}: {clip.name}"
            )
            notes.append(note)
        if wishes.stand is not None:
            stood = wishes.stand(qpos, postures.joints, fps)
            notes += stood.notes(embodiment, qpos)
            qpos, contact = stood.qpos, stood.standing
        else:
            notes += _set_height(embodiment, qpos, wishes.root, postures.foreign_height)
    source = f"{clip.path.name}: {clip.format}, by retarget.importers"
    motion = replace(make_motion(clip.name, embodiment, qpos, fps, source), contact=contact)
    report = ClipReport(
        name=clip.name,
        file=f"{clip.path}, {clip.format}",
        frames=len(motion),
        duration=motion.duration,
        fps=fps,
        matched=tuple(postures.joints),
        neutral=tuple(n for n in embodiment.independent_joints if n not in postures.joints),
        unmatched=postures.unmatched,
        ignored=clip.ignored,
        clipped=clipped,
        dependent=_dependent_difference(postures, embodiment),
        notes=tuple(notes),
        solved=contact is not None,
    )
    return motion, report


def _set_height(
    embodiment: Embodiment, qpos: np.ndarray, root: str | None, foreign: bool
) -> list[str]:
    """Shift postures (T, nq), in place, to the floor where that is asked for; say what was done."""
    if root == "ground" or (root is None and foreign):
        shift = ground_shift(embodiment, qpos)
        qpos[:, 2] += shift
        notes = [f"root shifted {shift:+.3f} m vertically, to put the feet on the floor"]
    else:
        notes = ["root height kept as in the file"]
    depth = -float(foot_heights(embodiment, qpos).min())
    if depth > _DEEP:
        notes.append(
            f"the feet reach {100 * depth:.1f} cm below the floor at worst "
            f"(contact=true keeps them on it)"
        )
    return notes


def _raw_qpos(postures: PostureClip, embodiment: Embodiment, frames: int) -> np.ndarray:
    """Return (T, nq) with the given joints, unclipped, the others neutral, equalities satisfied."""
    model = embodiment.model
    qpos = np.tile(model.qpos0, (frames, 1))
    if postures.root is not None:
        qpos[:, :7] = postures.root
    for name, values in postures.joints.items():
        qpos[:, model.joint(name).qposadr[0]] = values
    return embodiment.couplings.complete_qpos(qpos)


def _qpos(
    postures: PostureClip, embodiment: Embodiment, frames: int
) -> tuple[np.ndarray, tuple[Clipping, ...]]:
    """Return postures (T, nq) within the joints' ranges, and what was clipped."""
    model, clipped = embodiment.model, []
    qpos = _raw_qpos(postures, embodiment, frames)
    for name in postures.joints:
        joint = model.joint(name)
        if not joint.limited[0]:
            continue
        values = qpos[:, joint.qposadr[0]]
        inside = np.clip(values, *joint.range)
        excess = np.abs(values - inside)
        if excess.max() > _ROUNDING:
            outside = int((excess > _ROUNDING).sum())
            clipped.append(Clipping(name, outside, float(np.degrees(excess.max()))))
        qpos[:, joint.qposadr[0]] = inside
    return embodiment.couplings.complete_qpos(qpos), tuple(clipped)


def _dependent_difference(postures: PostureClip, embodiment: Embodiment) -> str:
    """Say how far the source's dependent joints are from what their drivers imply.

    Only joints whose driver the source gives are compared, before anything is clipped.
    """
    model, couplings = embodiment.model, embodiment.couplings
    if not postures.given:
        return ""
    frames = len(next(iter(postures.given.values())))
    qpos = _raw_qpos(postures, embodiment, frames)
    known = {model.joint(name).qposadr[0] for name in postures.joints}
    worst: dict[str, tuple[float, str]] = {}
    for address, driver, driven in zip(
        couplings.qpos_adr, couplings.driver_qpos_adr, couplings.has_driver, strict=True
    ):
        name = embodiment.joint_names[int(np.flatnonzero(model.jnt_qposadr == address)[0])]
        if name not in postures.given or (driven and driver not in known):
            continue
        difference = float(np.abs(postures.given[name] - qpos[:, address]).max())
        hinge = model.joint(name).type[0] == mujoco.mjtJoint.mjJNT_HINGE
        unit, scale = ("deg", np.degrees(1.0)) if hinge else ("mm", 1e3)
        worst[unit] = max(worst.get(unit, (-1.0, "")), (difference * scale, name))
    if not worst:
        return ""
    values = " and ".join(f"{value:.2g} {unit} ({name})" for unit, (value, name) in worst.items())
    return f"dependent joints recomputed, largest difference to the file's: {values}"
