"""How weak muscles may be before a walk becomes impossible, and which take over: no training.

    python -m benchmarks.weakness [cfg=walk] [muscles="soleus+gastrocnemius;quadriceps;..."]
                                  [strengths=0.6,0.4,0.2,0] [phases=4] [stride=104] [clip=0]
                                  [seconds=5] [json=FILE] [settings="key=value;..."]

Computed muscle control walks a clip from `phases` frames spread over a stride, with all muscles as
they are, then with some of them, on both sides, at a share of their strength, as van der Krogt et
al. 2012 (Gait & Posture 36:113) weakened them in simulations of normal walking. muscles= names
muscles and groups (sim/muscle_groups.py); those joined by + are weakened together. Of every body:
how long it walks until it leaves the motion, how many of the starts do to the end of `seconds`,
the sum of all muscles' squared activations in parts of the strong body's, and the groups whose mean
force grows most. Both are compared over the same frames.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig

from benchmarks.training import settings_of
from cfg import UserError, load_config, load_settings
from cfg.option import opt
from mm_torch.build import make_embodiment, make_task
from mm_torch.expert import Expert
from mm_torch.randomization import weakened_body
from mm_torch.recording import Recording, play
from mm_torch.table import format_table
from sim.embodiment import CONTROL_HZ, Embodiment
from sim.laboratory import Laboratory

MUSCLES = (
    "soleus+gastrocnemius",
    "soleus+gastrocnemius+deep_plantarflexors+peroneals",
    "dorsiflexors",
    "quadriceps",
    "hamstrings",
    "gluteus_maximus",
    "hip_abductors",
    "hip_adductors",
    "iliopsoas+sartorius",
)


@dataclass
class Settings:
    cfg: str = opt("walk", "body, motions and teacher")
    muscles: str = opt(";".join(MUSCLES), "what is weakened, one after the other")
    strengths: str = opt("0.6,0.4,0.2,0", "shares of the strength that are left")
    phases: int = opt(4, "starts", low=1)
    stride: int = opt(104, "frames that they are spread over", low=1)
    clip: int = opt(0, "the motion", low=0)
    seconds: float = opt(5.0, "to walk", above=0)
    json: str = ""
    settings: str = ""


@dataclass(frozen=True)
class Walked:
    """What one body did: a recording and the pull (N) of its muscles, (T, nu), of every start."""

    body: Embodiment
    recordings: list[Recording]
    tensions: list[np.ndarray]

    def forces(self, steps: Sequence[int]) -> dict[str, float]:
        """Mean force (N) of each group, left and right together, over the first steps."""
        rows = np.concatenate([rows[:n] for rows, n in zip(self.tensions, steps, strict=True)])
        mean, groups = rows.mean(0), {}
        for name, muscles in self.body.muscle_groups.items():
            group = name.rpartition("_")[0]
            groups[group] = groups.get(group, 0.0) + float(mean[muscles].sum())
        return groups

    def effort(self, steps: Sequence[int]) -> float:
        """Sum over muscles of squared activations, mean of the first steps."""
        kept = [one.act[:n] for one, n in zip(self.recordings, steps, strict=True)]
        return float(np.square(np.concatenate(kept)).sum(1).mean())


def configured(settings: Settings, weakness: Mapping[str, float]) -> DictConfig:
    """Return the configuration of a body with some muscles at shares of their strength."""
    extra = [f"randomization.weakness.{name}={share:g}" for name, share in weakness.items()]
    given = [f"cfg={settings.cfg}", "evaluation.max_steps=1000000"]
    return load_config([*given, *settings_of(settings.settings), *extra])


def walk(settings: Settings, weakness: Mapping[str, float]) -> Walked:
    """Walk with some muscles at shares of their strength."""
    config = configured(settings, weakness)
    task = make_task(config, make_embodiment(config), settings.phases, evaluation=True)
    if settings.clip >= len(task.library):
        raise UserError(f"clip={settings.clip}: there are {len(task.library)}, counted from 0")
    frame = torch.arange(settings.phases) * settings.stride // settings.phases
    if int(frame.max()) >= int(task.library.lengths[settings.clip]) - 1:
        raise UserError(f"stride={settings.stride}: the clip is shorter")
    expert = Expert.of(task, config.action.mapping, config.pretraining, processes=0)
    try:
        clip = torch.full_like(frame, settings.clip)
        recordings = play(task, expert, clip, frame, settings.seconds)
    finally:
        expert.close()
    body = task.simulator.embodiment
    laboratory = Laboratory(body, task.simulator.options)
    tensions = [
        np.array([laboratory.muscle_tensions() for _ in one.replay(laboratory)])
        for one in recordings
    ]
    return Walked(body, recordings, [rows.reshape(-1, body.model.nu) for rows in tensions])


def compared(name: str, share: float, weak: Walked, strong: Walked) -> dict[str, object]:
    """Return how a weak body walks beside a strong one."""
    steps = [len(one) for one in weak.recordings]
    record: dict[str, object] = {
        "muscles": name,
        "strength": share,
        "seconds": [n / CONTROL_HZ for n in steps],
        "to_end": sum(not one.terminated for one in weak.recordings),
    }
    # Where the strong one ends earlier, so does the comparison.
    steps = [min(n, len(one)) for n, one in zip(steps, strong.recordings, strict=True)]
    if sum(steps):
        record["effort"] = weak.effort(steps) / strong.effort(steps)
        before, now = strong.forces(steps), weak.forces(steps)
        record["force"] = {group: [before[group], now[group]] for group in now}
    return record


def taken_over(record: dict[str, object], most: int = 3) -> str:
    """The groups whose force grows most, and to how many times what it was."""
    force = record.get("force", {})
    grown = sorted(force.items(), key=lambda item: item[1][0] - item[1][1])[:most]
    return ", ".join(
        f"{name} x{now / before:.2f}" for name, (before, now) in grown if now > before > 0.0
    )


def main(arguments: list[str]) -> int:
    """Measure; return the exit status."""
    settings = Settings(**load_settings(Settings, arguments))
    try:
        strengths = [float(share) for share in settings.strengths.split(",")]
    except ValueError as error:
        raise UserError(f"strengths={settings.strengths}: expected numbers, as in 0.5,0") from error
    plan = [(name, share) for name in settings.muscles.split(";") for share in strengths]
    body = make_embodiment(configured(settings, {}))
    for name, share in plan:  # a wrong name is told before anything is measured
        weakened_body(configured(settings, dict.fromkeys(name.split("+"), share)), body)
    if settings.json and not Path(settings.json).resolve().parent.is_dir():
        raise UserError(f"json={settings.json}: its folder does not exist")
    strong = walk(settings, {})
    records = [compared("none", 1.0, strong, strong)]
    rows: list[list[object]] = []
    header = ["weak", "strength", "s walked", "to the end", "effort", "most taken over by"]
    for name, share in plan:
        weak = walk(settings, dict.fromkeys(name.split("+"), share))
        records.append(compared(name, share, weak, strong))
        print(f"{name} at {share:g}: {records[-1]['to_end']} of {settings.phases}", flush=True)
    for record in records:
        effort = record.get("effort")
        rows.append([
            record["muscles"], f"{record['strength']:g}", statistics.fmean(record["seconds"]),
            f"{record['to_end']} of {settings.phases}", "" if effort is None else effort,
            taken_over(record),
        ])  # fmt: skip
    print(format_table(header, rows))
    if settings.json:
        Path(settings.json).write_text(json.dumps(records, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    from mm_torch.command_line import run_command

    sys.exit(run_command(main, __doc__ or "", settings=False))
