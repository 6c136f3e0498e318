"""One pass over a clip's frames through MuJoCo: records what the quality checks need."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from retarget.quality_muscles import TendonJumps
from sim.embodiment import Embodiment


@dataclass(frozen=True)
class Contacts:
    """Contacts of all frames, geoms that touch or overlap, one row each.

    Attributes:
        frame: (N,) frame of each contact.
        geoms: (N, 2) ids of the two geoms.
        depth: (N,) penetration (m), negative for a gap within the contact margin.
    """

    frame: np.ndarray
    geoms: np.ndarray
    depth: np.ndarray


@dataclass(frozen=True)
class Replay:
    """What MuJoCo says of T frames.

    Attributes:
        site_pos: (T, nsite, 3) mimic-site positions (m, world).
        site_mat: (T, nsite, 3, 3) mimic-site axes.
        foot_pos: (T, B, 3) origins of the bodies in `foot_bodies` (m, world).
        foot_mat: (T, B, 3, 3) their axes.
        lowest_centre: (T,) height of the lowest geom centre, the floor left out (m).
        com: (T, 3) centre of mass of the body (m, world).
        wrench: (T, 6) external force (N) and moment about the root's origin (Nm), world axes, that
            the frame's acceleration needs; None where not asked for or without a root.
        contacts: floor contacts and self-collisions.
        tendons: length changes; None where not asked for.
    """

    site_pos: np.ndarray
    site_mat: np.ndarray
    foot_pos: np.ndarray
    foot_mat: np.ndarray
    lowest_centre: np.ndarray
    com: np.ndarray
    wrench: np.ndarray | None
    contacts: Contacts
    tendons: TendonJumps | None


def foot_bodies(embodiment: Embodiment) -> np.ndarray:
    """Return the ids (B,) of the bodies that carry the foot geoms, in their order."""
    geoms = np.concatenate(list(embodiment.foot_geoms.values())).astype(int)
    return np.array(list(dict.fromkeys(embodiment.model.geom_bodyid[geoms])), dtype=int)


def replay(
    embodiment: Embodiment,
    qpos: np.ndarray,
    qvel: np.ndarray,
    qacc: np.ndarray | None,
    tendons: bool,
) -> Replay:
    """Replay postures (T, nq) with velocities (T, nv).

    Only the stages of MuJoCo's pipeline that are needed are run, and recordings are copies of whole
    arrays: on one core a frame of fullbody takes 0.1 ms, with tendons 0.4 ms.

    Args:
        embodiment: the body.
        qpos, qvel: the motion.
        qacc: (T, nv) accelerations; None leaves the dynamics out.
        tendons: follow the tendons, which is most of the work.
    """
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    frames, sites, feet = len(qpos), embodiment.site_ids, foot_bodies(embodiment)
    site_pos, site_mat = np.empty((frames, len(sites), 3)), np.empty((frames, len(sites), 9))
    foot_pos, foot_mat = np.empty((frames, len(feet), 3)), np.empty((frames, len(feet), 9))
    lowest, com = np.empty(frames), np.empty((frames, 3))
    dynamics = qacc is not None and embodiment.has_root
    wrench, force = np.empty((frames, 6)), np.empty(model.nv)
    solid = np.arange(model.ngeom) != embodiment.floor_geom
    jumps = TendonJumps(model) if tendons else None
    contacts: list[tuple[int, np.ndarray, np.ndarray]] = []
    for frame in range(frames):
        data.qpos[:] = qpos[frame]
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_collision(model, data)
        site_pos[frame], site_mat[frame] = data.site_xpos[sites], data.site_xmat[sites]
        foot_pos[frame], foot_mat[frame] = data.xpos[feet], data.xmat[feet]
        lowest[frame] = data.geom_xpos[solid, 2].min()
        com[frame] = data.subtree_com[0]
        if data.ncon:
            contacts.append((frame, data.contact.geom.copy(), data.contact.dist.copy()))
        if jumps is not None:
            mujoco.mj_tendon(model, data)
            jumps.add(data)
        if dynamics:
            data.qvel[:], data.qacc[:] = qvel[frame], qacc[frame]
            mujoco.mj_comVel(model, data)
            # Newton-Euler alone: forces at the root come neither from joint couplings nor from
            # armature, damping or tendons, so that mj_inverse would add nothing but time.
            mujoco.mj_rne(model, data, 1, force)
            wrench[frame] = force[:6]
            # MuJoCo's free joint has its moment in body axes.
            wrench[frame, 3:] = data.xmat[model.jnt_bodyid[0]].reshape(3, 3) @ force[3:6]
    return Replay(
        site_pos=site_pos,
        site_mat=site_mat.reshape(frames, -1, 3, 3),
        foot_pos=foot_pos,
        foot_mat=foot_mat.reshape(frames, -1, 3, 3),
        lowest_centre=lowest,
        com=com,
        wrench=wrench if dynamics else None,
        contacts=_join(contacts),
        tendons=jumps,
    )


def neutral_contacts(embodiment: Embodiment) -> Contacts:
    """Return the contacts of the body in its neutral posture `qpos0`, as frame 0."""
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    mujoco.mj_collision(model, data)
    return _join([(0, data.contact.geom.copy(), data.contact.dist.copy())] if data.ncon else [])


def _join(contacts: list[tuple[int, np.ndarray, np.ndarray]]) -> Contacts:
    if not contacts:
        return Contacts(np.zeros(0, int), np.zeros((0, 2), int), np.zeros(0))
    return Contacts(
        frame=np.concatenate([np.full(len(depth), frame) for frame, _, depth in contacts]),
        geoms=np.concatenate([geoms for _, geoms, _ in contacts]).astype(int),
        depth=-np.concatenate([distance for _, _, distance in contacts]),
    )
