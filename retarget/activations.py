"""Adds to a motion the muscle activations that explain it."""

from __future__ import annotations

from dataclasses import replace

from retarget.motion import Motion
from sim.embodiment import Embodiment


def has_activations(motion: Motion, embodiment: Embodiment) -> bool:
    """Whether a motion has activations, found for this very body.

    Those of a body with other inertias or other muscles explain the motion no longer.
    """
    return motion.act is not None and motion.model == embodiment.fingerprint


def with_activations(motion: Motion, embodiment: Embodiment) -> Motion:
    """Return the motion with activations of a body by static optimisation; as is if it has them."""
    if has_activations(motion, embodiment):
        return motion
    # Imported here: reading and writing motions needs no torch.
    from sim.static_optimization import static_optimization

    act = static_optimization(embodiment, motion.qpos, motion.qvel, motion.fps)
    return replace(motion, act=act, model=embodiment.fingerprint)
