"""The motion set that a command makes another one of."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

from omegaconf import DictConfig

from cfg import UserError
from retarget.motion import Motion
from retarget.motion_set import load_motion_set, read_index
from sim.embodiment import Embodiment, load_embodiment


def open_source(config: DictConfig) -> tuple[Embodiment, list[Motion], list[Motion]]:
    """Return the body of a set, its clips, and those that `only` matches.

    Args:
        config: with motions, out, only, fingers and phantom_inertia.

    Raises:
        UserError: motions or out is missing, both are one place, or there is no such set or clip.
    """
    for key in ("motions", "out"):
        if config[key] is None:
            raise UserError(f"{key}= is missing: --help says what it is")
    source, out = Path(config.motions), Path(config.out)
    if (source.parent if source.is_file() else source).resolve() == out.resolve():
        raise UserError(f"out={out}: is where the clips of motions={source} are: give another")
    name = Motion.load(source).embodiment if source.is_file() else read_index(source)[0]
    body = load_embodiment(name, config.fingers, config.phantom_inertia)
    motions = load_motion_set(source, body)
    chosen = [motion for motion in motions if fnmatchcase(motion.name, config.only)]
    if not chosen:
        raise UserError(f"only={config.only}: matches no clip of {source}")
    return body, motions, chosen
