"""`python -m retarget vary`: a motion set with variants of its clips beside them.

Every clip's files are written when they are made, and say in their provenance how: the same command
again makes only what is missing.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from cfg import UserError, load_settings
from cfg.help import describe
from cfg.option import opt
from retarget.activations import with_activations
from retarget.motion import Motion, MotionError
from retarget.motion_set import index_record, write_index
from retarget.source_set import open_source
from retarget.variants import variants
from sim.cores import available_cores
from sim.embodiment import Embodiment, load_embodiment

USAGE = """
usage: python -m retarget vary motions=DIR out=DIR [key=value]

Writes a motion set of the clips of another one and of variants of them, played faster or slower by
a body that holds itself otherwise, for policies that are to do motions that they were not taught.
A run that was stopped goes on with the same command.

Settings (key=default  meaning):
"""


@dataclass
class VaryConfig:
    motions: str | None = opt(None, "folder of a motion set, or one of its files")
    out: str | None = opt(None, "folder of the motion set to write")
    only: str = opt("*", "glob of the names of clips to vary; the others come along as they are")
    copies: int = opt(4, "variants of each clip", low=1, high=1000)
    speed: float = opt(
        0.2,
        "largest change of speed, as a part of it; clips with a flight keep it",
        low=0.0,
        high=0.5,
    )
    sway: float = opt(
        0.1,
        "what joints that carry no foot are turned by (rad, standard deviation)",
        low=0.0,
        high=1.0,
    )
    fingers: bool = opt(False, "whether the body has joints in its fingers")
    phantom_inertia: float = opt(
        0.01, "of the body, as in training: for activations", low=0.001, high=1.0
    )
    activations: bool = opt(True, "store the muscle activations that explain each frame")
    seed: int = opt(0, "of the draws", low=0, high=2**31)
    workers: int = opt(0, "processes; 0 = one a core", low=0, high=1024)


@dataclass(frozen=True)
class _Recipe:
    """What the variants of a clip depend on, beside the clip."""

    copies: int
    speed: float
    sway: float
    seed: int
    activations: bool


def main(arguments: Sequence[str]) -> int:
    """Write the set and return the exit status.

    Raises:
        UserError: settings, or a motion set, that cannot be used.
    """
    if not arguments or {"-h", "--help", "help"} & set(arguments):
        print(USAGE.strip() + "\n" + "\n".join(describe(VaryConfig)))
        return 0
    config = load_settings(VaryConfig, arguments)
    body, motions, chosen = open_source(config)
    source, out = config.motions, Path(config.out)
    new = {f"{motion.name}_v{k}" for motion in chosen for k in range(1, config.copies + 1)}
    taken = sorted(new & {motion.name for motion in motions})
    if taken:
        raise UserError(
            f"{source}: has a clip {taken[0]} already, as a variant would be called: vary the set "
            f"that it was made from"
        )
    try:
        made = {}
        for done, (clip, records) in enumerate(_vary(config, body, chosen, out), start=1):
            made[clip] = records
            print(f"{done}/{len(chosen)} clips: {clip}", flush=True)
        for motion in motions:
            motion.save(out / f"{motion.name}.npz")
        records = [r for m in motions for r in (index_record(m), *made.get(m.name, ()))]
        write_index(out, body.name, records)
    except BrokenProcessPool as error:
        raise UserError(
            f"workers={config.workers}: a process died, probably out of memory: give fewer (what "
            f"is finished is kept)"
        ) from error
    except OSError as error:
        raise UserError(f"out={out}: cannot be written ({error.strerror or error})") from error
    frames = sum(record["frames"] for record in records)
    varied = f"{config.copies} variants of {len(chosen)}"
    print(f"{out}: {len(motions)} clips, {varied} ({frames:,} frames)")
    return 0


def _vary(
    config: VaryConfig, body: Embodiment, motions: Sequence[Motion], out: Path
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Write the variants of every clip; yield its name and what the index should say of them."""
    recipe = _Recipe(config.copies, config.speed, config.sway, config.seed, config.activations)
    workers = min(config.workers or available_cores(), len(motions))
    if workers == 1:
        torch.set_num_threads(1)  # many small matrices: on a busy machine more wait for each other
        for motion in motions:
            yield motion.name, _write(body, motion, recipe, out)
        return
    context = multiprocessing.get_context("spawn")
    start = (config.fingers, config.phantom_inertia, body.name)
    with ProcessPoolExecutor(workers, context, _start, start) as pool:
        # The longest first, so that none is left over for one process at the end.
        todo = {
            pool.submit(_in_process, motion, recipe, out): motion.name
            for motion in sorted(motions, key=len, reverse=True)
        }
        for future in as_completed(todo):
            yield todo[future], future.result()


_body: Embodiment | None = None


def _start(fingers: bool, phantom_inertia: float, name: str) -> None:
    global _body
    torch.set_num_threads(1)
    _body = load_embodiment(name, fingers, phantom_inertia)


def _in_process(motion: Motion, recipe: _Recipe, out: Path) -> list[dict[str, Any]]:
    assert _body is not None
    return _write(_body, motion, recipe, out)


def _write(body: Embodiment, motion: Motion, recipe: _Recipe, out: Path) -> list[dict[str, Any]]:
    """Write the variants of a clip, if they are not there; return their records."""
    provenance = json.dumps({"variant_of": motion.name, "of_it": _mark(motion), **asdict(recipe)})
    there = _there(body, motion, recipe, out, provenance)
    if there is not None:
        return there
    records = []
    for clip in variants(body, motion, recipe.copies, recipe.speed, recipe.sway, recipe.seed):
        explained = with_activations(clip, body) if recipe.activations else clip
        replace(explained, provenance=provenance).save(out / f"{clip.name}.npz")
        records.append(index_record(explained))
    return records


def _there(
    body: Embodiment, motion: Motion, recipe: _Recipe, out: Path, provenance: str
) -> list[dict[str, Any]] | None:
    """The records of a clip's variants if all of them were made before, just so."""
    records = []
    for number in range(1, recipe.copies + 1):
        try:
            clip = Motion.load(out / f"{motion.name}_v{number}.npz", body)
        except MotionError:
            return None
        if clip.provenance != provenance or clip.model != body.fingerprint:
            return None
        records.append(index_record(clip))
    return records


def _mark(motion: Motion) -> str:
    """What changes with a clip's postures."""
    return hashlib.sha256(motion.qpos.tobytes()).hexdigest()[:12]
