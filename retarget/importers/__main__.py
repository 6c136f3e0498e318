"""Command line: `python -m retarget.importers motions=FILE_OR_FOLDER embodiment=NAME out=DIR`."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cfg.errors import UserError
from retarget.importers.import_motions import find_sources, import_motions
from retarget.motion_set import write_motion_set
from sim.embodiment import CONTROL_HZ, EMBODIMENTS, load_embodiment

USAGE = """\
usage: python -m retarget.importers motions=FILE_OR_FOLDER embodiment=fullbody|bimanual out=DIR
           [fps=100] [fingers=false] [root=keep|ground] [contact=false] [smoothing_hz=5]
           [belt=SPEED] [strides=N] [activations=false]

Turns motions made elsewhere into a motion set for training (motions=DIR there). Formats, told by
content: OpenSim tables of coordinates (.sto, .mot), MuscleMimic's cached trajectories (.npz) and
LocoMuJoCo's joint angles (.npz). A folder is searched with its subfolders; what cannot be imported
is listed and left out.

  fps          frames a second of the motions; training expects its control rate, 100
  fingers      whether the body has joints in its fingers
  root         keep: the root's height as in the file (default for MuscleMimic's caches);
               ground: one shift a clip that puts the feet on the floor (default for tables,
               whose height belongs to another person's legs)
  contact      solve the clip again so that standing feet stay where they are on the floor, parts
               of the body out of each other and the weight over the feet, with steps as long as
               this body's legs make them. The file's joint angles are kept within a few degrees,
               those that it lacks (toes) are found. In place of root=
  smoothing_hz frequency (Hz) at which motion is halved then; more for fast ones
  belt         speed (m/s) of the treadmill that the clip was measured on
  strides      play the clip's gait cycle N times, one after the other
  activations  add the muscle activations that explain the motion (static optimisation)"""

_KEYS = (
    "motions", "embodiment", "out", "fps", "fingers", "root", "contact", "smoothing_hz", "belt",
    "strides", "activations",
)  # fmt: skip
_MOST_STRIDES = 1000


@dataclass(frozen=True)
class Options:
    """The command's arguments."""

    motions: Path
    embodiment: str
    out: Path
    fps: float = CONTROL_HZ
    fingers: bool = False
    root: str | None = None
    contact: bool = False
    smoothing_hz: float | None = None
    belt: float = 0.0
    strides: int = 0
    activations: bool = False


def parse(arguments: Sequence[str]) -> Options:
    """Return the options.

    Raises:
        UserError: an argument is unknown, repeated, missing or of a wrong value.
    """
    given: dict[str, str] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if key not in _KEYS or not equals or not value:
            raise UserError(f"argument {argument!r}: expected KEY=VALUE of {', '.join(_KEYS)}")
        if key in given:
            raise UserError(f"argument {key!r} is given twice: give it once")
        given[key] = value
    for key in ("motions", "embodiment", "out"):
        if key not in given:
            raise UserError(f"{key}= is missing: see python -m retarget.importers --help")
    if given["embodiment"] not in EMBODIMENTS:
        raise UserError(f"embodiment={given['embodiment']}: expected {' or '.join(EMBODIMENTS)}")
    if given.get("root", "keep") not in ("keep", "ground"):
        raise UserError(f"root={given['root']}: expected keep or ground")
    contact = _flag("contact", given.get("contact", "false"))
    belt = _number("belt", given.get("belt", "0"), 0.0, 15.0, "m/s")
    strides = _strides(given.get("strides", "0"))
    for key, asked in (("contact", contact), ("belt", belt), ("strides", strides)):
        if asked and given["embodiment"] != "fullbody":
            raise UserError(f"{key}={given[key]}: needs embodiment=fullbody, which has feet")
    if contact and "root" in given:
        raise UserError("root= beside contact=true, which finds the floor itself: leave out root=")
    smoothing = given.get("smoothing_hz")
    if smoothing is not None and not contact:
        raise UserError(f"smoothing_hz={smoothing}: needs contact=true, which smooths")
    return Options(
        motions=Path(given["motions"]),
        embodiment=given["embodiment"],
        out=Path(given["out"]),
        fps=_number("fps", given.get("fps", str(CONTROL_HZ)), 1.0, 10000.0, "Hz"),
        fingers=_flag("fingers", given.get("fingers", "false")),
        root=given.get("root"),
        contact=contact,
        smoothing_hz=None if smoothing is None else _number("smoothing_hz", smoothing, 1, 50, "Hz"),
        belt=belt,
        strides=strides,
        activations=_flag("activations", given.get("activations", "false")),
    )


def _number(key: str, value: str, least: float, most: float, unit: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not least <= number <= most:
        raise UserError(f"{key}={value}: expected a number from {least:g} to {most:g} ({unit})")
    return number


def _strides(value: str) -> int:
    if not value.isdecimal() or int(value) > _MOST_STRIDES:
        raise UserError(f"strides={value}: expected a whole number up to {_MOST_STRIDES}")
    return int(value)


def _flag(key: str, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise UserError(f"{key}={value}: expected true or false")
    return value.lower() == "true"


def run(options: Options) -> None:
    """Import, write the set and print the reports."""
    # Before the body is compiled, which takes seconds.
    find_sources(options.motions)
    body = load_embodiment(options.embodiment, options.fingers)
    stand = None
    if options.contact:
        # Imported here, as activations below: they need torch, importing does not.
        from retarget.importers.feet import SMOOTHING_HZ, FootSolver

        stand = FootSolver(body, options.smoothing_hz or SMOOTHING_HZ)
    imported = import_motions(
        options.motions, body, options.fps, options.root, options.belt, options.strides, stand
    )
    motions = imported.motions
    if options.activations:
        from retarget.activations import with_activations

        motions = [with_activations(motion, body) for motion in motions]
    try:
        write_motion_set(options.out, motions)
    except OSError as error:
        raise UserError(f"cannot write {options.out}: {error.strerror or error}") from error
    for report in imported.reports:
        print("\n".join(report.lines()))
    for reason in imported.skipped:
        print(f"skipped {reason}")
    print(f"{options.out}: {len(motions)} clip(s) for {body.name}")


def main(arguments: Sequence[str]) -> int:
    """Run the command and return the exit status: 2 for a user's mistake, told in one line."""
    if {"-h", "--help"} & set(arguments):
        print(USAGE)
        return 0
    try:
        run(parse(arguments))
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
