"""What follows what: which frame of the body tracks which SMPL joint, and how firmly.

Position weights are relative costs per m², orientation weights per rad². Each mimic site has one
track. A few bodies without a mimic site are tracked in orientation alone, because their
orientation is the only thing that fixes some joints (the trunk's bending, the foot, the fingers).
Left and right have equal weights.
"""

from __future__ import annotations

from dataclasses import dataclass

from sim.embodiment import Embodiment
from sim.kinematics import BodyFrame


@dataclass(frozen=True)
class Track:
    """One frame that follows one SMPL joint.

    Attributes:
        frame: name of the mimic site, or of the body when `is_site` is false.
        joint: name of the SMPL joint.
        position: weight of the position error (per m²).
        orientation: weight of the orientation error (per rad²).
        is_site: whether `frame` is a mimic site.
    """

    frame: str
    joint: str
    position: float
    orientation: float
    is_site: bool = True


_LIMBS = (
    Track("shoulder_mimic", "shoulder", 0.3, 0.02),
    Track("elbow_mimic", "elbow", 0.5, 0.005),
    Track("hand_mimic", "wrist", 1.0, 0.01),
    Track("hip_mimic", "hip", 1.0, 0.01),
    Track("knee_mimic", "knee", 1.0, 0.002),
    Track("ankle_mimic", "ankle", 1.0, 0.0),
    Track("toes_mimic", "foot", 1.0, 0.01),
)
_TRUNK = (
    Track("pelvis_mimic", "pelvis", 0.5, 0.03),
    Track("upper_body_mimic", "spine1", 0.3, 0.005),
    Track("head_mimic", "head", 0.2, 0.0),
)
_DIGITS = (
    ("firstmc", "proximal_thumb", "distal_thumb"),
    *((f"{i}proxph", f"{i}midph", f"{i}distph") for i in range(2, 6)),
)
_SMPL_DIGITS = ("thumb", "index", "middle", "ring", "pinky")
_DIGIT_WEIGHT = 0.003

#: Least shoulder elevation (rad). Below it the humerus is inside the thorax's collision geom, and
#: elv_angle, the plane in which the arm is raised, loses its meaning and whirls.
LEAST_ELEVATION = 0.12
#: The joint that turns the trunk about the spine.
TWIST = "axial_rotation"


def tracks(embodiment: Embodiment) -> tuple[Track, ...]:
    """Return the tracks of a body: its mimic sites in their order, then the other bodies."""
    sites = {track.frame: track for track in _TRUNK}
    for side in ("left", "right"):
        for track in _LIMBS:
            name = f"{side}_{track.frame}"
            sites[name] = Track(name, f"{side}_{track.joint}", track.position, track.orientation)
    if not embodiment.has_root:
        # The thorax is the fixed base: there is nothing to solve for it.
        sites["upper_body_mimic"] = Track("upper_body_mimic", "spine3", 0.0, 0.0)
    found = [sites[name] for name in embodiment.mimic_sites]
    if embodiment.has_root:
        found.append(Track("thorax", "spine3", 0.0, 0.05, is_site=False))
        for side in ("left", "right"):
            found.append(Track(f"calcn_{side[0]}", f"{side}_ankle", 0.0, 0.02, is_site=False))
    if embodiment.fingers:
        for side in ("left", "right"):
            for bodies, digit in zip(_DIGITS, _SMPL_DIGITS, strict=True):
                for number, name in enumerate(bodies, 1):
                    joint = f"{side}_{digit}{number}"
                    found.append(
                        Track(f"{name}_{side[0]}", joint, 0.0, _DIGIT_WEIGHT, is_site=False)
                    )
    return tuple(found)


def track_frames(embodiment: Embodiment) -> list[BodyFrame]:
    """Return the frames of the body's tracks, in order."""
    model = embodiment.model
    return [
        BodyFrame.of_site(model, model.site(track.frame).id)
        if track.is_site
        else BodyFrame.of_body(model, track.frame)
        for track in tracks(embodiment)
    ]
