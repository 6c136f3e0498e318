"""The imitation task in a mirror: what a policy would see of the mirrored body and reference.

Bodies are the same on both sides, so that what is right to do is right in the mirror, with left and
right exchanged: every state that a teacher was asked about tells of a second one for nothing.
"""

from __future__ import annotations

from dataclasses import fields

import mujoco
import numpy as np
import torch
from torch import Tensor

from cfg.errors import UserError
from mm_torch.task import ImitationTask
from mm_torch.task_state import Body, Kinematics, TaskState
from sim.embodiment import Embodiment
from sim.mirror import Mirror


class MirroredTask:
    """Observations and muscles of a task's worlds, mirrored about the plane x = 0."""

    def __init__(self, task: ImitationTask) -> None:
        """Read the mirror off the task's body.

        Raises:
            UserError: a body whose two sides are not equally strong.
        """
        self._task = task
        body, device = task.simulator.embodiment, task.simulator.device
        gains = body.model.actuator_gainprm
        difference = np.abs(gains - gains[body.mirror.muscle_source]).max(1)
        uneven = difference > 1e-6 * np.abs(gains).max(1)
        if uneven.any():
            raise UserError(
                f"pretraining.mirror=true: {body.muscle_names[int(uneven.argmax())]} and its "
                f"namesake on the other side are not equally strong: weaken both "
                f"(randomization.weakness), or set it to false"
            )
        dtype = task.simulator.qpos.dtype
        self._mirror = _of_tensors(body.mirror, device, dtype)
        sites = _partners(body.mimic_sites, "left_", "right_")
        self._sites = torch.as_tensor(sites, device=device)
        self._touch = torch.as_tensor(_partners(body.touch_sensors, "l_", "r_"), device=device)
        self._reflection = torch.tensor([-1.0, 1.0, 1.0], dtype=dtype, device=device)
        self._site_axes = torch.as_tensor(_site_axes(body, sites), dtype=dtype, device=device)

    def observe(self) -> Tensor:
        """Return the observation (nworld, obs_dim) of the worlds' mirror image as they are."""
        state = self._task.state()
        activation = state.next_activation
        return self._task.observation(
            TaskState(
                body=self._body(state.body),
                reference=self._kinematics(state.reference),
                ahead=self._kinematics(state.ahead),
                phase=state.phase,
                next_activation=None if activation is None else self.muscles(activation),
            )
        )

    def muscles(self, values: Tensor) -> Tensor:
        """Return per-muscle values (..., nu) with left and right exchanged."""
        return self._mirror.muscles(values)

    def _kinematics(self, motion: Kinematics) -> Kinematics:
        return Kinematics(motion.layout, *self._moved(motion))

    def _body(self, body: Body) -> Body:
        muscles = (body.act, body.ctrl, body.muscle_length, body.muscle_velocity, body.muscle_force)
        exchanged = (self.muscles(values) for values in muscles)
        return Body(
            body.layout, *self._moved(body), *exchanged, body.touch[..., self._touch],
            self._mirror.qvel(body.last_qvel),
        )  # fmt: skip

    def _moved(self, motion: Kinematics) -> tuple[Tensor, ...]:
        """Mirrored qpos, qvel, site_pos, site_rot and site_vel."""
        mirror, flip = self._mirror, self._reflection
        qpos, qvel = mirror.qpos(motion.qpos), mirror.qvel(motion.qvel)
        rotation = motion.site_rot[..., self._sites, :, :]
        rotation = flip.unsqueeze(-1) * rotation * flip @ self._site_axes
        velocity = torch.cat((-flip, flip)) * motion.site_vel[..., self._sites, :]
        return qpos, qvel, flip * motion.site_pos[..., self._sites, :], rotation, velocity


def _of_tensors(mirror: Mirror, device: torch.device, dtype: torch.dtype) -> Mirror:
    """The same mirror, its maps on a device, signs and rest in a dtype."""
    maps = {item.name: getattr(mirror, item.name) for item in fields(mirror)}
    for name, values in maps.items():
        if name != "has_root":
            kind = torch.long if name.endswith("source") else dtype
            maps[name] = torch.as_tensor(values, dtype=kind, device=device)
    return Mirror(**maps)


def _partners(names: tuple[str, ...], left: str, right: str) -> np.ndarray:
    """Index of each name's namesake on the other side; of its own where it has no side."""
    other = {left: right, right: left}
    swapped = [
        next((other[side] + name[len(side) :] for side in other if name.startswith(side)), name)
        for name in names
    ]
    return np.array([names.index(name) for name in swapped], int)


def _site_axes(body: Embodiment, partners: np.ndarray) -> np.ndarray:
    """(nsite, 3, 3) rotations from the mirror image of a site's partner to the site, at rest.

    Their own frames need not be turned like each other's mirror image.
    """
    model = body.model
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    frames = data.site_xmat[body.site_ids].reshape(-1, 3, 3)
    flip = np.diag([-1.0, 1.0, 1.0])
    mirrored = flip @ frames[partners] @ flip
    return np.swapaxes(mirrored, -1, -2) @ frames
