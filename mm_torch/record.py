"""`python -m mm_torch.record`: what a laboratory would measure of a body, as OpenSim tables."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from math import inf
from pathlib import Path

import torch

from cfg import UserError
from mm_torch.command_line import flag, positive, run_command, split_arguments
from mm_torch.mover import ARGUMENTS, make_mover
from mm_torch.recording import play
from mm_torch.recording_tables import write_tables
from mm_torch.table import format_table
from sim.laboratory import Laboratory

USAGE = """
usage: python -m mm_torch.record checkpoint=FILE out=FOLDER [motions=SET] [key=value ...]
       python -m mm_torch.record cfg=lesson motions=SET out=FOLDER [key=value ...]

Lets a body follow every clip of a motion set from its first frame, and writes what a laboratory
would measure of it, a folder a clip, a row a control step: OpenSim tables of joint coordinates,
joint moments, ground forces, muscle activations, excitations, forces and lengths. With
checkpoint= a trained policy moves the body, with cfg= computed muscle control, which needs no
training (a body that walks; pretraining.* are its settings).
  out=FOLDER       new or empty
  teacher=true     computed muscle control in place of the checkpoint's policy
  clip=NAME        one clip in place of all
  seconds=N        stop after N seconds of each clip
  to_end=false     go on after the body has left its reference
Other key=value settings override the checkpoint's or the configuration's, such as
randomization.weakness.soleus_r=0.5.
"""
_OWN = (*ARGUMENTS, "out", "clip", "seconds", "to_end")
#: A recording ends with its clip, not with an episode's time.
_UNLIMITED = "evaluation.max_steps=1000000000"


def main(arguments: Sequence[str]) -> int:
    """Record; return the exit status."""
    own, settings = split_arguments(arguments, _OWN)
    out = _folder(own)
    seconds = positive(own, "seconds", inf)
    to_end = flag(own.get("to_end", "false"), "to_end")
    if not any(setting.startswith("evaluation.max_steps=") for setting in settings):
        settings = [*settings, _UNLIMITED]
    mover = make_mover(own, settings, 1 if "clip" in own else 0)
    task = mover.task
    if mover.config.task.name != "imitation":
        raise UserError(f"task.name={mover.config.task.name}: follows no motion to record it along")
    clips = torch.arange(len(task.library))
    if "clip" in own:
        clips = torch.tensor([task.library.index_of(own["clip"])])
    laboratory = Laboratory(task.simulator.embodiment, task.simulator.options)
    rows: list[list[object]] = []
    try:
        for some in clips.split(task.simulator.nworld):
            # Fewer clips than worlds: the rest plays the last one as well.
            worlds = torch.cat([some, some[-1:].expand(task.simulator.nworld - len(some))])
            played = play(task, mover.act, worlds, torch.zeros_like(worlds), seconds, to_end)
            for one in played[: len(some)]:
                name, steps = task.library.names[one.clip], int(task.library.lengths[one.clip]) - 1
                if len(one):
                    write_tables(one, task.simulator.embodiment, laboratory, out / name)
                dt, left = task.simulator.control_dt, "yes" if one.terminated else "no"
                rows.append([name, len(one) * dt, steps * dt, left])
    except OSError as error:
        raise UserError(f"out={out}: cannot be written ({error.strerror or error})") from error
    finally:
        mover.close()
    print(format_table(["clip", "seconds", "of", "left its reference"], rows))
    print(f"wrote {out}")
    return 0


def _folder(own: dict[str, str]) -> Path:
    if "out" not in own:
        raise UserError("out= is missing: give a new folder")
    out = Path(own["out"])
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"out={out}: is not an empty folder: give a new one")
    return out


if __name__ == "__main__":
    sys.exit(run_command(main, USAGE, settings=False))
