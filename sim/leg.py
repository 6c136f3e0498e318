"""The leg as two rods in a plane: what hip, knee and ankle must do for the foot to be elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from sim.embodiment import Embodiment

_BODIES = ("femur", "tibia", "talus")  # which turn about hip, knee and ankle


@dataclass(frozen=True)
class Leg:
    """One leg of a body.

    Attributes:
        side: "left" or "right".
        hip, knee, ankle, adduction: columns in qpos of its flexions and of the hip's adduction.
        bodies: ids of femur, tibia and talus.
        thigh, shank: lengths of the rods (m), at rest.
    """

    side: str
    hip: int
    knee: int
    ankle: int
    adduction: int
    bodies: tuple[int, int, int]
    thigh: float
    shank: float

    @classmethod
    def of(cls, embodiment: Embodiment, side: str) -> Leg:
        """Read a leg from a body that has feet."""
        model, suffix = embodiment.model, {"left": "_l", "right": "_r"}[side]
        hip, knee, ankle, adduction = (
            int(model.joint(joint + suffix).qposadr[0])
            for joint in ("hip_flexion", "knee_angle", "ankle_angle", "hip_adduction")
        )
        bodies = tuple(int(model.body(body + suffix).id) for body in _BODIES)
        data = mujoco.MjData(model)
        mujoco.mj_kinematics(model, data)
        at_hip, at_knee, at_ankle = data.xpos[list(bodies)]
        return cls(
            side, hip, knee, ankle, adduction, bodies,
            float(np.linalg.norm(at_knee - at_hip)), float(np.linalg.norm(at_ankle - at_knee)),
        )  # fmt: skip

    @property
    def outwards(self) -> float:
        """Sign of adduction that takes the foot to the body's left."""
        return -1.0 if self.side == "left" else 1.0

    def longest(self, straight: float) -> float:
        """Distance from hip to ankle (m) with the knee flexed by `straight` (rad)."""
        return _opposite(self.thigh, self.shank, straight)

    def moved(
        self, qpos: np.ndarray, before: np.ndarray, after: np.ndarray, straight: float
    ) -> np.ndarray:
        """Return a copy of a pose with the ankle elsewhere, and the foot turned as it was.

        To first order in the angle between the leg's plane and the heading's.

        Args:
            qpos: (nq,).
            before, after: (3,) from hip to ankle: ahead, to the left and up (m).
            straight: least flexion of the knee (rad); what is further than it allows is not
                reached.
        """
        pose = qpos.copy()
        longest = self.longest(straight)
        knee, lean = self._bent(min(np.linalg.norm(before), longest))
        knee_after, lean_after = self._bent(min(np.linalg.norm(after), longest))
        pitch = np.arctan2(after[0], -after[2]) - np.arctan2(before[0], -before[2])
        roll = np.arctan2(after[1], -after[2]) - np.arctan2(before[1], -before[2])
        flexed, bent = pitch + lean_after - lean, knee_after - knee
        pose[self.hip] += flexed
        pose[self.knee] += bent
        pose[self.ankle] += bent - flexed
        pose[self.adduction] += self.outwards * roll
        return pose

    def _bent(self, length: float) -> tuple[float, float]:
        """Flexion of the knee, and angle of the thigh ahead of the line from hip to ankle (rad)."""
        thigh, shank = self.thigh, self.shank
        cosine = (length**2 - thigh**2 - shank**2) / (2 * thigh * shank)
        knee = np.arccos(np.clip(cosine, -1.0, 1.0))
        return float(knee), float(np.arcsin(np.clip(shank * np.sin(knee) / length, -1.0, 1.0)))


def _opposite(thigh: float, shank: float, knee: float) -> float:
    return float(np.sqrt(thigh**2 + shank**2 + 2 * thigh * shank * np.cos(knee)))
