"""Variants of motions: the same movements at other speeds, by a body that holds itself otherwise.

A policy that was taught a few clips predicts how to excite muscles much better on them than on
others. Variants are cheap others. Of each clip they keep where the feet go, so that what stood
still stands still:

- speed: the clip is played faster or slower. One in which the whole body is off the ground for a
  moment keeps its speed, because it falls at one only.
- sway: every independent joint that does not carry a foot is turned by a constant and by a slow
  wave, normal draws both, within its range (or as far outside as the clip is). One that would take
  parts of the body into each other is turned the other way, or half as far, or not at all.

Velocities, sites and activations are found anew. Nothing is balanced anew.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from retarget.motion import Motion
from retarget.quality_contact import collision_metrics
from retarget.quality_replay import replay
from retarget.reference import make_motion
from retarget.resample import resample_positions, resample_rotations
from sim.embodiment import Embodiment
from sim.gait_phases import runs, swing_phases

_WAVE_HZ = 0.2, 0.8  # range of frequencies of the slow waves
_SHORT_STEP = 0.12  # s, of a phase off the ground that is no step
_FLIGHT = 0.05  # s, from which a body with no foot on the ground flies
_TRIES = 1.0, -1.0, 0.5, -0.5  # parts of a joint's sway, the first that keeps parts apart is taken
_DEEPER = 1.0  # mm that they may be deeper in each other


def variants(
    embodiment: Embodiment, motion: Motion, copies: int, speed: float, sway: float, seed: int
) -> list[Motion]:
    """Return `copies` variants of a motion, without activations, named NAME_v1, NAME_v2, ...

    The first is slower, the last faster: each has its own share of the range of speeds.

    Args:
        embodiment: the motion's body.
        motion: the clip.
        copies: how many.
        speed: largest change of speed, as a part of it (0.2: from 0.8 to 1.2 times as fast).
        sway: standard deviation of what is added to a joint's angle (rad), half of its variance
            constant, half of it a wave's.
        seed: of the draws; they differ from clip to clip by its name.
    """
    name = np.frombuffer(motion.name.encode(), np.uint8)
    generator = np.random.default_rng([seed, *name.tolist()])
    shares = (np.arange(copies) + generator.uniform(size=copies)) / copies
    if flies(embodiment, motion):
        speed = 0.0
    return [
        _variant(embodiment, motion, 1.0 - speed + 2.0 * speed * share, sway, generator, index + 1)
        for index, share in enumerate(shares)
    ]


def flies(embodiment: Embodiment, motion: Motion) -> bool:
    """Whether the whole body is off the ground for a moment; never without feet to stand on."""
    if not any(len(geoms) for geoms in embodiment.foot_geoms.values()):
        return False
    swing, _ = swing_phases(embodiment, motion.qpos, motion.fps, round(_SHORT_STEP * motion.fps))
    flight = np.stack(list(swing.values())).all(0)
    return any(end - start >= _FLIGHT * motion.fps for start, end in runs(flight))


def retimed(embodiment: Embodiment, qpos: np.ndarray, fps: float, speed: float) -> np.ndarray:
    """Return postures (T', nq) of the motion played `speed` times as fast, at the same rate."""
    root = 7 * embodiment.has_root
    frames, rate = torch.from_numpy(qpos), fps / speed
    joints = resample_positions(frames[:, root:], fps, rate)
    if not root:
        return joints.numpy()
    place = resample_positions(frames[:, :3], fps, rate)
    turn = resample_rotations(frames[:, 3:7], fps, rate)
    return torch.cat((place, turn, joints), dim=1).numpy()


def free_joints(embodiment: Embodiment) -> np.ndarray:
    """Return the columns in qpos of the independent joints that do not carry a foot."""
    model = embodiment.model
    carriers: set[int] = set()
    for geoms in embodiment.foot_geoms.values():
        for body in model.geom_bodyid[geoms]:
            while body:
                carriers.add(int(body))
                body = model.body_parentid[body]
    joints = [model.joint(name).id for name in embodiment.independent_joints]
    return np.array([
        model.jnt_qposadr[joint] for joint in joints if int(model.jnt_bodyid[joint]) not in carriers
    ])  # fmt: skip


def _variant(
    embodiment: Embodiment,
    motion: Motion,
    speed: float,
    sway: float,
    generator: np.random.Generator,
    number: int,
) -> Motion:
    qpos = retimed(embodiment, motion.qpos, motion.fps, speed)
    columns = free_joints(embodiment)
    waves = sway * _waves(len(qpos), motion.fps, len(columns), generator)
    qpos = _swaying(embodiment, qpos, columns, waves)
    source = f"{motion.source}, variant: speed {speed:.3f}, sway {sway:g} rad"
    made = make_motion(f"{motion.name}_v{number}", embodiment, qpos, motion.fps, source)
    if motion.contact is None:
        return made
    nearest = np.rint(np.arange(len(qpos)) * speed).astype(int).clip(max=len(motion) - 1)
    return replace(made, contact=motion.contact[nearest])


def _waves(frames: int, fps: float, joints: int, generator: np.random.Generator) -> np.ndarray:
    """(frames, joints) of unit variance: a constant and a slow wave, of half of it each."""
    constant, amplitude = generator.standard_normal((2, joints))
    hz = generator.uniform(*_WAVE_HZ, size=joints)
    phase = generator.uniform(0.0, 2.0 * np.pi, size=joints)
    time = np.arange(frames)[:, None] / fps
    # A sine of a normal amplitude has half of its variance.
    return np.sqrt(0.5) * constant + amplitude * np.sin(2.0 * np.pi * hz * time + phase)


def _swaying(
    embodiment: Embodiment, qpos: np.ndarray, columns: np.ndarray, waves: np.ndarray
) -> np.ndarray:
    """Postures (T, nq) with angles (T, n) added to joints, those that keep its parts apart."""
    model, couplings = embodiment.model, embodiment.couplings
    joints = {int(model.jnt_qposadr[joint]): joint for joint in range(model.njnt)}
    most = _overlap(embodiment, qpos) + _DEEPER
    for column, wave in zip(columns.tolist(), waves.T, strict=True):
        before, low, high = qpos[:, column], -np.inf, np.inf
        if model.jnt_limited[joints[column]]:
            low, high = model.jnt_range[joints[column]]
            low, high = min(low, before.min()), max(high, before.max())
        for part in _TRIES:
            moved = qpos.copy()
            moved[:, column] = (before + part * wave).clip(low, high)
            moved = couplings.complete_qpos(moved)
            if _overlap(embodiment, moved) <= most:
                qpos = moved
                break
    return qpos


def _overlap(embodiment: Embodiment, qpos: np.ndarray) -> float:
    """How deep parts of the body are in each other (mm), beyond the neutral posture's depths."""
    record = replay(embodiment, qpos, np.zeros((len(qpos), embodiment.model.nv)), None, False)
    metrics = collision_metrics(embodiment, record.contacts, len(qpos))
    return metrics["self_collision_beyond_neutral_mm"]
