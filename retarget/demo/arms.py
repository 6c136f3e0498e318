"""Arm movements of the fixed-base body: minimum-jerk movements between hand-set postures.

Source of the time course: Flash & Hogan (1985), "The coordination of arm movements", Journal of
Neuroscience 5:1688-1703. A movement from rest to rest that minimises the integral of squared jerk
follows 10 s^3 - 15 s^4 + 6 s^5 of its normalised time s; here it is applied to joint angles.

Signs, both sides alike: elv_angle is the plane of elevation (0 sideways, pi/2 forwards),
shoulder_elv the elevation in that plane, shoulder_rot is positive inwards, pro_sup is positive in
pronation, deviation and flexion move the hand at the wrist.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from retarget.motion import Motion
from retarget.reference import make_motion
from sim.embodiment import CONTROL_HZ, Embodiment

#: Independent joints of one arm, without the side's suffix.
ARM_JOINTS = (
    "elv_angle",
    "shoulder_elv",
    "shoulder_rot",
    "elbow_flex",
    "pro_sup",
    "deviation",
    "flexion",
)
#: Arms hanging relaxed, clear of the thorax (rad); joints not listed are at zero.
HANGING = {"elv_angle": 0.4, "shoulder_elv": 0.22, "elbow_flex": 0.3, "pro_sup": 0.15}
#: Seconds at rest before the first and after the last movement, and at the far end of a reach.
REST = 0.1
DWELL = 0.2

SOURCE = "minimum-jerk movement between postures (Flash & Hogan 1985)"


@dataclass(frozen=True)
class Segment:
    """One movement from rest to rest.

    Attributes:
        duration: seconds.
        both: target angles (rad) of both sides, by joint without suffix; others stay as they are.
        right, left: target angles of one side.
    """

    duration: float
    both: dict[str, float] = field(default_factory=dict)
    right: dict[str, float] = field(default_factory=dict)
    left: dict[str, float] = field(default_factory=dict)

    def targets(self) -> dict[str, float]:
        """Target angles by joint name."""
        named = {f"{joint}_{side}": angle for joint, angle in self.both.items() for side in "rl"}
        named |= {f"{joint}_r": angle for joint, angle in self.right.items()}
        return named | {f"{joint}_l": angle for joint, angle in self.left.items()}


def _hold(duration: float) -> Segment:
    return Segment(duration)


_HANG = dict.fromkeys(ARM_JOINTS, 0.0) | HANGING
# Upper arms forwards and half raised, forearms ahead: hands in front of the chest, palms inwards.
_REACHED = {
    "elv_angle": 1.4,
    "shoulder_elv": 1.05,
    "shoulder_rot": 0.6,
    "elbow_flex": 0.55,
    "pro_sup": 0.3,
    "flexion": 0.1,
}
# Both arms up to shoulder height, in the plane of the shoulder blades.
_LIFTED = {
    "elv_angle": 0.6,
    "shoulder_elv": 1.35,
    "shoulder_rot": -0.1,
    "elbow_flex": 0.35,
    "pro_sup": 0.0,
}
# Upper arm to the side and below the horizontal, forearm upright, palm forwards.
_GREETING = {
    "elv_angle": 0.45,
    "shoulder_elv": 1.15,
    "shoulder_rot": -0.95,
    "elbow_flex": 1.75,
    "pro_sup": 0.7,
}
_WAVE_OUT = {"shoulder_rot": -1.2, "elbow_flex": 1.5, "deviation": -0.06}
_WAVE_IN = {"shoulder_rot": -0.65, "elbow_flex": 1.85, "deviation": 0.15}
# Hand before the mouth as with a cup.
_DRINKING = {
    "elv_angle": 1.15,
    "shoulder_elv": 1.1,
    "shoulder_rot": 0.65,
    "elbow_flex": 1.95,
    "pro_sup": 0.1,
    "deviation": 0.1,
}

#: Segments of each clip; each starts and ends hanging.
CLIPS: dict[str, tuple[Segment, ...]] = {
    "reach": (
        _hold(REST),
        Segment(1.5, both=_REACHED),
        _hold(DWELL),
        Segment(1.6, both=_HANG),
        _hold(REST),
    ),
    "lift": (
        _hold(REST),
        Segment(1.8, both=_LIFTED),
        _hold(DWELL),
        Segment(1.8, both=_HANG),
        _hold(REST),
    ),
    "wave": (
        _hold(REST),
        Segment(1.4, right=_GREETING, left={"elbow_flex": 0.55, "elv_angle": 0.6}),
        Segment(0.4, right=_WAVE_OUT),
        Segment(0.6, right=_WAVE_IN),
        Segment(0.6, right=_WAVE_OUT),
        Segment(0.6, right=_WAVE_IN),
        Segment(1.6, both=_HANG),
        _hold(REST),
    ),
    "drink": (
        _hold(REST),
        Segment(1.5, left=_DRINKING, right={"elbow_flex": 0.45}),
        _hold(DWELL),
        Segment(0.6, left={"shoulder_elv": 1.35, "pro_sup": 0.25}),
        Segment(1.6, both=_HANG),
        _hold(REST),
    ),
}


def minimum_jerk(phase: np.ndarray) -> np.ndarray:
    """Return the share of a rest-to-rest movement that is done at `phase` 0..1 of its time."""
    phase = np.clip(phase, 0.0, 1.0)
    return phase**3 * (10.0 - 15.0 * phase + 6.0 * phase**2)


def arm_trajectory(embodiment: Embodiment, segments: tuple[Segment, ...]) -> np.ndarray:
    """Return positions (T, nq) at the control frequency, dependent joints included."""
    pose = embodiment.model.qpos0.copy()
    address = {name: embodiment.model.joint(name).qposadr[0] for name in embodiment.joint_names}
    for name, angle in Segment(0.0, both=_HANG).targets().items():
        pose[address[name]] = angle
    ends = np.cumsum([segment.duration for segment in segments])
    time = np.arange(round(ends[-1] * CONTROL_HZ) + 1) / CONTROL_HZ
    qpos = np.tile(pose, (len(time), 1))
    for segment, end in zip(segments, ends, strict=True):
        share = minimum_jerk((time - (end - segment.duration)) / segment.duration)
        for name, angle in segment.targets().items():
            qpos[:, address[name]] += share * (angle - pose[address[name]])
            pose[address[name]] = angle
    return embodiment.couplings.complete_qpos(qpos)


def arm_motions(embodiment: Embodiment) -> list[Motion]:
    """Return the clips of the two-armed body at the control frequency."""
    return [
        make_motion(name, embodiment, arm_trajectory(embodiment, segments), CONTROL_HZ, SOURCE)
        for name, segments in CLIPS.items()
    ]
