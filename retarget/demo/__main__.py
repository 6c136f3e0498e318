"""Command line: `python -m retarget.demo out=DIR [only=fullbody|bimanual]`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from retarget.activations import with_activations
from retarget.demo.arms import arm_motions
from retarget.demo.walk import walk_motions
from retarget.motion import Motion
from retarget.motion_set import write_motion_set
from sim.embodiment import Embodiment, load_embodiment

#: What makes the clips of each embodiment.
BUILDERS: dict[str, Callable[[Embodiment], list[Motion]]] = {
    "bimanual": arm_motions,
    "fullbody": walk_motions,
}
USAGE = "usage: python -m retarget.demo out=DIR [only=fullbody|bimanual]"


def parse(arguments: Sequence[str]) -> tuple[Path, tuple[str, ...]]:
    """Return the output folder and the embodiments to write.

    Raises:
        ValueError: an argument is unknown, repeated or missing.
    """
    given: dict[str, str] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key not in ("out", "only") or not value or key in given:
            raise ValueError(f"unexpected argument {argument!r}; {USAGE}")
        given[key] = value
    if "out" not in given:
        raise ValueError(f"out=DIR is missing; {USAGE}")
    only = given.get("only")
    if only is not None and only not in BUILDERS:
        raise ValueError(f"only={only}: expected fullbody or bimanual; {USAGE}")
    return Path(given["out"]), (only,) if only else tuple(BUILDERS)


def main(arguments: Sequence[str]) -> int:
    """Write the motion sets and return the exit status."""
    try:
        out, names = parse(arguments)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    for name in names:
        body = load_embodiment(name)
        motions = [with_activations(motion, body) for motion in BUILDERS[name](body)]
        try:
            write_motion_set(out / name, motions)
        except OSError as error:
            print(f"cannot write {out / name}: {error.strerror or error}", file=sys.stderr)
            return 2
        for motion in motions:
            print(f"{out / name}: {motion.name}, {len(motion)} frames, {motion.duration:.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
