"""Contact of a clip: floor penetration, floating, skating of planted feet, self-collision."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

from retarget.quality_replay import Contacts, Replay, foot_bodies, neutral_contacts
from sim.embodiment import Embodiment

_PENETRATION = 1e-3  # m, MuscleMimic's
_FLOATING = 0.010  # m: a foot in stance is nearer to the floor
_SELF_COLLISION = 0.010  # m


def foot_points(
    embodiment: Embodiment, position: np.ndarray, rotation: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the points of the feet that can touch the floor, in the order of `foot_geoms`.

    A capsule has two, one under each end (centre + half axis first), an ellipsoid one.

    Args:
        embodiment: the body.
        position: (T, B, 3) origins of `quality_replay.foot_bodies` (m, world).
        rotation: (T, B, 3, 3) their axes.

    Returns:
        (T, P, 3) lowest points (m, world), and (P,) which of the B bodies carries each.
    """
    model, bodies = embodiment.model, list(foot_bodies(embodiment))
    owner, centre, axes, radii = [], [], [], []
    for geom in np.concatenate(list(embodiment.foot_geoms.values())).astype(int):
        matrix, size = np.zeros(9), model.geom_size[geom]
        mujoco.mju_quat2Mat(matrix, model.geom_quat[geom])
        matrix = matrix.reshape(3, 3)
        capsule = model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_CAPSULE
        for sign in (1.0, -1.0) if capsule else (0.0,):
            owner.append(bodies.index(model.geom_bodyid[geom]))
            centre.append(model.geom_pos[geom] + sign * size[1] * matrix[:, 2])
            # A capsule's end is a sphere: an ellipsoid with equal half-axes.
            radii.append(np.full(3, size[0]) if capsule else size)
            axes.append(matrix)
    if not owner:
        return np.zeros((len(position), 0, 3)), np.zeros(0, dtype=int)
    owner = np.array(owner)
    turned = rotation[:, owner] @ (np.array(axes) * np.array(radii)[:, None])
    middle = position[:, owner] + (rotation[:, owner] @ np.array(centre)[..., None])[..., 0]
    # Support point of an ellipsoid with half-axes in the columns of `turned`, in direction -z.
    spread = (turned @ turned[:, :, 2, :, None])[..., 0]
    return middle - spread / np.sqrt(spread[..., 2:]), owner


def ground_metrics(
    embodiment: Embodiment,
    record: Replay,
    points: np.ndarray,
    owner: np.ndarray,
    contact: np.ndarray | None,
    fps: float,
) -> dict[str, Any]:
    """Return the fields of `Quality` about the floor.

    Penetration is MuscleMimic's: frames in which any geom is more than 1 mm deep in the floor, and
    the largest depth; so is the float height, the lowest height of any geom's centre over the clip
    (None for a body without a root, which hangs where it is fixed). With planned contacts, a frame
    floats if any is planned but no point of the feet is within 10 mm of the floor (percentage of
    frames with a planned contact), and a point skates at the horizontal speed of its body-fixed
    point that is lowest at frame t, from t to t + 1, if planned in both.

    Args:
        embodiment: the body.
        record: its replay.
        points, owner: from `foot_points`.
        contact: (T, P) planned contacts or None.
        fps: frames a second.
    """
    contacts, frames = record.contacts, len(record.lowest_centre)
    floor = (contacts.geoms == embodiment.floor_geom).any(axis=1)
    depth, touching = contacts.depth[floor], contacts.geoms[floor]
    worst = int(depth.argmax()) if len(depth) and depth.max() > 0 else None
    metrics: dict[str, Any] = {
        "penetration_frames_pct": _share(contacts.frame[floor][depth > _PENETRATION], frames),
        "penetration_depth_mm": 0.0 if worst is None else float(1e3 * depth[worst]),
        "penetration_geom": None,
        "float_height_cm": None,
    }
    if worst is not None:
        geom = next(g for g in touching[worst] if g != embodiment.floor_geom)
        metrics["penetration_geom"] = geom_name(embodiment.model, geom)
    if embodiment.has_root:
        metrics["float_height_cm"] = float(1e2 * record.lowest_centre.min())
    if contact is None or not points.shape[1]:
        return metrics
    stance, height = contact.any(axis=1), points[..., 2].min(axis=1)
    floating = stance & (height > _FLOATING)
    speed = 1e2 * skating_speed(record, points, owner, fps)[contact[:-1] & contact[1:]]
    metrics |= {
        "stance_frames": int(stance.sum()),
        "floating_stance_frames": int(floating.sum()),
        "floating_stance_pct": float(100 * floating.sum() / max(stance.sum(), 1)),
        "floating_stance_worst_mm": float(1e3 * height[floating].max()) if floating.any() else 0.0,
        "skating_steps": len(speed),
        "skating_median_cm_s": float(np.median(speed)) if len(speed) else None,
        "skating_p95_cm_s": float(np.percentile(speed, 95)) if len(speed) else None,
    }
    return metrics


def skating_speed(record: Replay, points: np.ndarray, owner: np.ndarray, fps: float) -> np.ndarray:
    """Return the horizontal speed (T - 1, P) in m/s of the material point at each foot point."""
    position, rotation = record.foot_pos[:, owner], record.foot_mat[:, owner]
    arm = (points - position)[:-1, :, None] @ rotation[:-1]  # row vector: rotation transposed
    later = (rotation[1:] @ np.swapaxes(arm, -1, -2))[..., 0] + position[1:]
    return np.linalg.norm((later - points[:-1])[..., :2], axis=-1) * fps


def collision_metrics(embodiment: Embodiment, contacts: Contacts, frames: int) -> dict[str, Any]:
    """Return the fields of `Quality` about self-collision.

    A frame collides if two of the body's geoms are more than 1 cm deep in each other. The upper
    arms overlap the thorax by 2 cm in the model's neutral posture, so that an arm that hangs counts
    in every frame and hides the rest. So the deepest pair comes with its depth in the neutral
    posture, and percentage and depth are also given for what goes beyond each pair's neutral depth.
    Only the pairs that the model lets collide are looked at.
    """
    own = ~(contacts.geoms == embodiment.floor_geom).any(axis=1)
    frame, depth = contacts.frame[own], contacts.depth[own]
    pairs = [tuple(sorted(pair)) for pair in contacts.geoms[own].tolist()]
    neutral = _neutral_depths(embodiment)
    rest = np.array([neutral.get(pair, 0.0) for pair in pairs])
    metrics: dict[str, Any] = {
        "self_collision_frames_pct": _share(frame[depth > _SELF_COLLISION], frames),
        "self_collision_beyond_neutral_pct": _share(frame[depth - rest > _SELF_COLLISION], frames),
        "self_collision_depth_mm": 0.0,
        "self_collision_pair": None,
        "self_collision_neutral_mm": None,
        "self_collision_beyond_neutral_mm": 0.0,
        "self_collision_beyond_neutral_pair": None,
    }

    def name(index: int) -> str:
        return " - ".join(geom_name(embodiment.model, geom) for geom in pairs[index])

    if len(depth) and depth.max() > 0:
        deepest, worst = int(depth.argmax()), int((depth - rest).argmax())
        metrics["self_collision_depth_mm"] = float(1e3 * depth[deepest])
        metrics["self_collision_pair"] = name(deepest)
        metrics["self_collision_neutral_mm"] = float(1e3 * rest[deepest])
        if depth[worst] > rest[worst]:
            metrics["self_collision_beyond_neutral_mm"] = float(1e3 * (depth - rest)[worst])
            metrics["self_collision_beyond_neutral_pair"] = name(worst)
    return metrics


def _neutral_depths(embodiment: Embodiment) -> dict[tuple[int, int], float]:
    neutral, depths = neutral_contacts(embodiment), {}
    for pair, depth in zip(neutral.geoms.tolist(), neutral.depth, strict=True):
        key = tuple(sorted(pair))
        depths[key] = max(float(depth), depths.get(key, 0.0))
    return depths


def geom_name(model: mujoco.MjModel, geom: int) -> str:
    """Return a geom's name, or its body's where it has none."""
    return model.geom(int(geom)).name or f"geom of {model.body(model.geom_bodyid[geom]).name}"


def _share(frames_hit: np.ndarray, frames: int) -> float:
    return float(100 * np.unique(frames_hit).size / frames)
