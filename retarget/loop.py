"""`python -m retarget loop`: captured strides played over and over, as one long motion.

A capture volume holds a stride or two; a controller that is to walk or run needs more. The clip's
gait cycle is repeated, its end faded into its beginning (retarget.importers.strides), and what that
does to flights and to the floor is mended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cfg import UserError, load_settings
from cfg.help import describe
from cfg.option import opt
from retarget.activations import with_activations
from retarget.clearance import raise_above_floor
from retarget.flight import Flight
from retarget.importers.source import SourceError
from retarget.importers.strides import repeat_cycle
from retarget.motion import Motion
from retarget.motion_set import write_motion_set
from retarget.reference import make_motion
from retarget.source_set import open_source
from sim.embodiment import Embodiment

USAGE = """
usage: python -m retarget loop motions=DIR out=DIR strides=N [key=value]

Writes a motion set in which the gait cycle of every clip is played N times. Clips in which no
posture comes back are left out, with the reason.

Settings (key=default  meaning):
"""


@dataclass
class LoopConfig:
    motions: str | None = opt(None, "folder of a motion set, or one of its files")
    out: str | None = opt(None, "folder of the motion set to write")
    only: str = opt("*", "glob of the names of clips to take")
    strides: int = opt(8, "how often a cycle is played", low=1, high=1000)
    fingers: bool = opt(False, "whether the body has joints in its fingers")
    phantom_inertia: float = opt(
        0.01, "of the body, as in training: for activations", low=0.001, high=1.0
    )
    activations: bool = opt(True, "store the muscle activations that explain each frame")


def main(arguments: Sequence[str]) -> int:
    """Write the set and return the exit status: 1 if no clip has a gait cycle.

    Raises:
        UserError: settings, or a motion set, that cannot be used.
    """
    if not arguments or {"-h", "--help", "help"} & set(arguments):
        print(USAGE.strip() + "\n" + "\n".join(describe(LoopConfig)))
        return 0
    config = load_settings(LoopConfig, arguments)
    body, _, motions = open_source(config)
    out = Path(config.out)
    if not body.has_root:
        raise UserError(
            f"motions={config.motions}: of {body.name}, which goes nowhere: expected a body's walks"
        )
    made = []
    for motion in motions:
        try:
            looped, note = loop(body, motion, config.strides)
        except SourceError as error:
            print(f"left out {str(error).rsplit(': leave out', 1)[0]}", flush=True)
            continue
        made.append(with_activations(looped, body) if config.activations else looped)
        print(f"{motion.name}: {note}", flush=True)
    if not made:
        return 1
    try:
        write_motion_set(out, made)
    except OSError as error:
        raise UserError(f"out={out}: cannot be written ({error.strerror or error})") from error
    print(f"{out}: {len(made)} clips ({sum(len(motion) for motion in made):,} frames)")
    return 0


def loop(body: Embodiment, motion: Motion, strides: int) -> tuple[Motion, str]:
    """Return a motion's gait cycle played so often, and a sentence on it.

    Raises:
        SourceError: no posture of the motion comes back.
    """
    qpos, note = repeat_cycle(body, motion.qpos, motion.fps, strides, motion.name)
    flown = Flight(body)(raise_above_floor(body, qpos, motion.fps), motion.fps)
    source = f"{motion.source}, {strides} strides"
    qpos = raise_above_floor(body, flown, motion.fps)
    return make_motion(motion.name, body, qpos, motion.fps, source), note
