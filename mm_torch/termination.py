"""Termination rules: the body has left its reference. Pure functions that return (nworld,) bool."""

from __future__ import annotations

import torch
from torch import Tensor

from cfg.schema import TerminationConfig
from mm_torch.task_state import Kinematics
from sim.rotations import quat_angle


def site_deviation(body: Kinematics, reference: Kinematics) -> Tensor:
    """Mean distance of relative sites from the reference's (m), (nworld,)."""
    return (body.relative_pos - reference.relative_pos).norm(dim=-1).mean(-1)


def site_deviation_world(body: Kinematics, reference: Kinematics) -> Tensor:
    """Mean distance of sites, the main one included, from the reference's in the world (m)."""
    return (body.site_pos - reference.site_pos).norm(dim=-1).mean(-1)


def root_deviation(body: Kinematics, reference: Kinematics) -> Tensor:
    """Distance of the main site from the reference's (m)."""
    return (body.site_pos[..., 0, :] - reference.site_pos[..., 0, :]).norm(dim=-1)


def root_rotation(body: Kinematics, reference: Kinematics) -> Tensor:
    """Geodesic angle between root orientations (rad)."""
    return quat_angle(body.qpos[..., 3:7], reference.qpos[..., 3:7])


_MEASURES = {
    "site_deviation": site_deviation,
    "site_deviation_world": site_deviation_world,
    "root_deviation": root_deviation,
    "root_rotation": root_rotation,
}


class Termination:
    """The rules that a configuration switches on; any one ends the episode."""

    def __init__(self, config: TerminationConfig, has_root: bool) -> None:
        """Collect the rules.

        Raises:
            ValueError: root_rotation is set for a body without a free root.
        """
        self.thresholds = {
            name: getattr(config, name) for name in _MEASURES if getattr(config, name) is not None
        }
        if "root_rotation" in self.thresholds and not has_root:
            raise ValueError("termination.root_rotation needs a body with a free root: set it null")

    def __call__(self, body: Kinematics, reference: Kinematics) -> Tensor:
        """Return which worlds (nworld,) have left their reference."""
        ended = torch.zeros(len(body.qpos), dtype=torch.bool, device=body.qpos.device)
        for name, threshold in self.thresholds.items():
            ended |= _MEASURES[name](body, reference) > threshold
        return ended
