"""Lets a body that leaves the ground fall, and its steps carry what falling asks of them.

Captured paths are smoothed, and a smooth path brakes before its feet have landed: in a run that is
a force of half a body's weight from nowhere. While no foot is down the centre of mass should fall
freely, and the ground take what is braked, a few hundredths of a second later. The body is
displaced by the least (retarget.least_displacement) that makes it so: in the air, whatever is not
gravity's is taken away. On the ground the zero-moment point is brought back to the soles where it
is outside (retarget.zero_moment), at whatever the body weighs at that moment; elsewhere the force
is kept as it is, loosely. Where a leg on the ground is too short for the body to go up, or its
ankle as bent as it can be for it to go down, it is held back.

Feet near the ground stay where they are, and the legs bend for what the body moves by; a foot that
is off the ground for longer goes with the body.
"""

from __future__ import annotations

import mujoco
import numpy as np

from retarget.balance import Balance
from retarget.least_displacement import GRAVITY, least_displacement
from retarget.quality_contact import foot_points
from retarget.quality_replay import Replay, foot_bodies, replay
from retarget.reference import differentiate
from retarget.zero_moment import pressure
from sim.embodiment import Embodiment
from sim.gait_phases import runs
from sim.leg import Leg

_CLEAR = 0.005  # m: a body whose feet are all higher flies
_SHORTEST = 0.05  # s, of a flight
_ABOUT = 0.5  # s before and after flights within which weight is brought back over the soles
_KEPT, _PRESSED = 0.02, 0.5  # weights of a force on the ground as it is, and over the soles
_LEAST = 0.1  # of body weight: what lies on soles that hardly touch
_MARGIN = 0.01  # m within the soles
_ROUNDS = 4  # legs that bend for it move the centre of mass, too
_CORRECTIONS = 4  # of a leg, each exact to first order
_STRAIGHT = 0.1  # rad: least flexion of a knee
_PROBE = 0.01  # m
_LOW = 0.02  # m, of a foot that stays where it is
_LETS_GO = 0.08  # s after it and before, in which others come to go with the body
_ENDS = 3  # frames at either end of a clip whose accelerations are not known well
_NOTHING = 1e-6  # m
_SIDES = "left", "right"


class Flight:
    """Makes the flights of motions of one body, with a root and feet, ballistic."""

    def __init__(self, embodiment: Embodiment) -> None:
        self._body, self._share = embodiment, Balance(embodiment).mass_share
        self._weight = float(embodiment.model.body_subtreemass[0] * GRAVITY)
        self._legs = [Leg.of(embodiment, side) for side in _SIDES]
        self._data = mujoco.MjData(embodiment.model)
        model, bodies = embodiment.model, foot_bodies(embodiment)
        own = [model.geom_bodyid[embodiment.foot_geoms[side]] for side in _SIDES]
        self._of_side = [np.isin(bodies, side) for side in own]
        self._ankle_limits = {
            leg.side: model.jnt_range[int(np.flatnonzero(model.jnt_qposadr == leg.ankle)[0])]
            for leg in self._legs
        }

    def __call__(self, qpos: np.ndarray, fps: float) -> np.ndarray:
        """Return postures (T, nq) that fall freely while they fly; the same if they do not.

        Args:
            qpos: (T, nq) postures of one clip.
            fps: frames a second.
        """
        record, points, owner = self._replay(qpos, fps)
        flying = airborne(points[..., 2].min(axis=1), fps)
        if not flying.any():
            return qpos
        goes = self._goes(points, owner, fps)
        ankles, reach = self._ankles(qpos, goes)
        about = _about(flying, round(_ABOUT * fps))
        moved, by = qpos, np.zeros((len(qpos), 3))
        for done in range(_ROUNDS):
            if done:
                record, points, _ = self._replay(moved, fps)
            wanted, weight = self._wanted(record, moved, points, flying, about)
            by = least_displacement(by, wanted, weight, reach, self._share, fps)
            moved = self._displaced(qpos, by, ankles + goes[..., None] * by[:, None])
        return moved

    def _replay(self, qpos: np.ndarray, fps: float) -> tuple[Replay, np.ndarray, np.ndarray]:
        qvel = differentiate(self._body.model, qpos, fps)
        qacc = np.gradient(qvel, 1.0 / fps, axis=0)
        record = replay(self._body, qpos, qvel, qacc, tendons=False)
        return record, *foot_points(self._body, record.foot_pos, record.foot_mat)

    def _goes(self, points: np.ndarray, owner: np.ndarray, fps: float) -> np.ndarray:
        """How much (T, 2) each foot goes with the body, 0 to 1, by how long it has been off."""
        lowest = np.stack([points[:, own[owner], 2].min(axis=1) for own in self._of_side], axis=1)
        share = np.clip(_from_nearest(lowest < _LOW) / (_LETS_GO * fps), 0.0, 1.0)
        return share**2 * (3.0 - 2.0 * share)

    def _ankles(self, qpos: np.ndarray, goes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the ankles are (T, 2, 3), and how far down and up the body could go (T, 2) (m).

        Down as far as the ankles of feet that stay bend, up as far as their legs are long.
        """
        model, data = self._body.model, self._data
        ankles, reach = np.zeros((len(qpos), 2, 3)), np.tile([-np.inf, np.inf], (len(qpos), 1))
        for frame, pose in enumerate(qpos):
            data.qpos[:] = pose
            mujoco.mj_kinematics(model, data)
            axes = _axes(data.xmat[model.jnt_bodyid[0]].reshape(3, 3))
            for side, leg in enumerate(self._legs):
                ankles[frame, side] = data.xpos[leg.bodies[2]]
                stays = 1.0 - goes[frame, side]
                if stays > 0.0:
                    vector = axes @ (ankles[frame, side] - data.xpos[leg.bodies[0]])
                    limits = np.array(self._limits(leg, pose, vector)) / stays
                    reach[frame, 0] = max(reach[frame, 0], limits[0])
                    reach[frame, 1] = min(reach[frame, 1], limits[1])
        return ankles, reach

    def _limits(self, leg: Leg, pose: np.ndarray, vector: np.ndarray) -> tuple[float, float]:
        """How far down and up (m) a hip can go above an ankle, `vector` (3,) from it."""
        flat = vector[:2] @ vector[:2]
        up = np.sqrt(max(leg.longest(_STRAIGHT) ** 2 - flat, 0.0)) + vector[2]
        lower = vector + np.array([0.0, 0.0, _PROBE])
        bent = leg.moved(pose, vector, lower, _STRAIGHT)[leg.ankle]
        rate = (bent - pose[leg.ankle]) / _PROBE
        down = (
            (self._ankle_limits[leg.side] - pose[leg.ankle]) / rate if rate else np.full(2, np.inf)
        )
        return -max(float(np.max(down)), 0.0), max(float(up), 0.0)

    def _wanted(
        self,
        record: Replay,
        qpos: np.ndarray,
        points: np.ndarray,
        flying: np.ndarray,
        about: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """By what (T, 3) the centre of mass should accelerate more (m/s²), and how much it counts.

        The ground should not have to pull, either.
        """
        force = record.wrench[:, :3] / self._weight
        near = (points[..., 2] < _CLEAR) & about[:, None]
        pressed, areas = pressure(record.wrench, qpos[:, :3], points, near, self._weight, _MARGIN)
        back = areas.way_back(pressed)
        outside = np.abs(back).max(axis=1) > 0
        lies = np.maximum(force[:, 2], _LEAST)
        wanted = np.zeros((len(qpos), 3))
        # Of a cart on a table of height h, what presses moves by -(h / g) of its acceleration.
        wanted[:, :2] = -back * GRAVITY * (lies / record.com[:, 2].mean())[:, None]
        weight = np.full((len(qpos), 3), _KEPT)
        weight[outside, :2] = _PRESSED
        falls = np.stack((flying, flying, flying | (force[:, 2] < 0)), axis=1)
        wanted, weight = np.where(falls, -force * GRAVITY, wanted), np.where(falls, 1.0, weight)
        wanted[:_ENDS] = wanted[-_ENDS:] = 0.0
        weight[:_ENDS] = weight[-_ENDS:] = _KEPT
        return wanted, weight

    def _displaced(self, qpos: np.ndarray, by: np.ndarray, ankles: np.ndarray) -> np.ndarray:
        """Postures (T, nq) with the root moved by (T, 3) and the ankles at places (T, 2, 3)."""
        model, data, complete = self._body.model, self._data, self._body.couplings.complete_qpos
        moved = qpos.copy()
        for frame in np.flatnonzero(np.abs(by).max(axis=1) > _NOTHING):
            pose = moved[frame]
            pose[:3] += by[frame]
            for _ in range(_CORRECTIONS):
                data.qpos[:] = complete(pose)
                mujoco.mj_kinematics(model, data)
                axes = _axes(data.xmat[model.jnt_bodyid[0]].reshape(3, 3))
                for leg, ankle in zip(self._legs, ankles[frame], strict=True):
                    hip = data.xpos[leg.bodies[0]]
                    here, there = axes @ (data.xpos[leg.bodies[2]] - hip), axes @ (ankle - hip)
                    pose = leg.moved(pose, here, there, _STRAIGHT)
            for leg in self._legs:
                pose[leg.ankle] = np.clip(pose[leg.ankle], *self._ankle_limits[leg.side])
            moved[frame] = complete(pose)
        return moved


def airborne(lowest: np.ndarray, fps: float) -> np.ndarray:
    """Return when a body flies (T,) bool, from the height (T,) of its feet's lowest point (m)."""
    flying = lowest > _CLEAR
    for start, end in runs(flying):
        if end - start < _SHORTEST * fps:
            flying[start:end] = False
    return flying


def _from_nearest(there: np.ndarray) -> np.ndarray:
    """Frames (T, n) from each to the nearest that is there (T, n), infinite without any."""
    count = np.full(there.shape, np.inf)
    for order in (slice(None), slice(None, None, -1)):
        since = np.full(there.shape[1], np.inf)
        for row, here in zip(count[order], there[order], strict=True):
            since = np.where(here, 0.0, since + 1.0)
            np.minimum(row, since, out=row)
    return count


def _about(flying: np.ndarray, reach: int) -> np.ndarray:
    """Frames (T,) bool within `reach` of a flight."""
    near = np.convolve(flying, np.ones(2 * reach + 1), mode="full") > 0.5
    return near[reach : reach + len(flying)]


def _axes(matrix: np.ndarray) -> np.ndarray:
    """Rows ahead, to the left and up (3, 3), of a pelvis (3, 3) that faces its own negative y."""
    ahead = -matrix[:2, 1] / max(np.linalg.norm(matrix[:2, 1]), 1e-9)
    return np.array([[*ahead, 0.0], [-ahead[1], ahead[0], 0.0], [0.0, 0.0, 1.0]])
