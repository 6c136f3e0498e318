"""Command line: `python -m retarget.importers motions=FILE_OR_FOLDER embodiment=NAME out=DIR`."""

from __future__ import annotations

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
           [fps=100] [fingers=false] [root=keep|ground] [activations=false]

Turns motions made elsewhere into a motion set for training (motions=DIR there). Formats, told by
content: OpenSim tables of coordinates (.sto, .mot), MuscleMimic's cached trajectories (.npz) and
LocoMuJoCo's joint angles (.npz). A folder is searched with its subfolders; what cannot be imported
is listed and left out.

  fps          frames a second of the motions; training expects its control rate, 100
  fingers      whether the body has joints in its fingers
  root         keep: the root's height as in the file (default for MuscleMimic's caches);
               ground: one shift a clip that puts the feet on the floor (default for tables,
               whose height belongs to another person's legs)
  activations  add the muscle activations that explain the motion (static optimisation)"""

_KEYS = ("motions", "embodiment", "out", "fps", "fingers", "root", "activations")


@dataclass(frozen=True)
class Options:
    """The command's arguments."""

    motions: Path
    embodiment: str
    out: Path
    fps: float = CONTROL_HZ
    fingers: bool = False
    root: str | None = None
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
    return Options(
        motions=Path(given["motions"]),
        embodiment=given["embodiment"],
        out=Path(given["out"]),
        fps=_rate(given.get("fps", str(CONTROL_HZ))),
        fingers=_flag("fingers", given.get("fingers", "false")),
        root=given.get("root"),
        activations=_flag("activations", given.get("activations", "false")),
    )


def _rate(value: str) -> float:
    try:
        rate = float(value)
    except ValueError:
        rate = 0.0
    if not 1.0 <= rate <= 10000.0:
        raise UserError(f"fps={value}: expected a number from 1 to 10000 (Hz)")
    return rate


def _flag(key: str, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise UserError(f"{key}={value}: expected true or false")
    return value.lower() == "true"


def run(options: Options) -> None:
    """Import, write the set and print the reports."""
    # Before the body is compiled, which takes seconds.
    find_sources(options.motions)
    body = load_embodiment(options.embodiment, options.fingers)
    imported = import_motions(options.motions, body, options.fps, options.root)
    motions = imported.motions
    if options.activations:
        # Imported here: activations need torch, importing does not.
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
