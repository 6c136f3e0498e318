"""Adds to a motion the muscle activations that explain it."""

from __future__ import annotations

from dataclasses import replace

from retarget.motion import Motion
from sim.embodiment import Embodiment


def with_activations(motion: Motion, embodiment: Embodiment) -> Motion:
    """Return the motion with activations by static optimisation; as it is where it has some."""
    if motion.act is not None:
        return motion
    # Imported here: reading and writing motions needs no torch.
    from sim.static_optimization import static_optimization

    act = static_optimization(embodiment, motion.qpos, motion.qvel, motion.fps)
    return replace(motion, act=act)
