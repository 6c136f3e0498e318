"""How large MuJoCo-Warp's buffers must be, and what a cap on the solver's iterations costs.

Usage: ``python -m benchmarks.buffers cfg=fullbody``

Counts what every physics substep needs: over reference motions (frames evenly spread over the
configuration's motion set; with fingers, which no demo motion has, sampled poses), each followed
under random excitations, and over bodies thrown on the floor. Contacts, rows, non-zeros, solver
iterations and line searches are MuJoCo C's. Candidates of the broad phase are Warp's own, of the
states that needed the most rows; so are the non-zeros of a body that MuJoCo C keeps dense. Then
compares the state after `steps` control steps under other solver options with that under the
model's own (MuJoCo C, float64).

Keys of its own: states (100 reference frames), steps (20 control steps each), thrown (100 bodies),
thrown_steps (100), warp_states (3 of each kind on Warp; 0 = none), seed (0), options (true). All
others are settings, as in `python -m mm_torch.train`: fingers=true, motions=FOLDER, ...
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from cfg import UserError, load_config
from mm_torch.build import demo_folder, make_embodiment
from mm_torch.command_line import flag, run_command, split_arguments
from mm_torch.table import format_table
from retarget.motion_set import load_motion_set
from sim.constraint_demand import (
    Demand,
    WarpDemand,
    measure_demand,
    measure_demand_on_warp,
    thrown_states,
)
from sim.embodiment import Embodiment
from sim.mujoco_sim import MujocoSim
from sim.parity_growth import Growth, excitation_sequence
from sim.simulator import SimOptions
from sim.warp_buffers import budgets
from sim.warp_parity import States, compare_steps, sample_states, states_of

_NUMBERS = {
    "states": 100,
    "steps": 20,
    "thrown": 100,
    "thrown_steps": 100,
    "warp_states": 3,
    "seed": 0,
}
#: Options that are compared with the model's own, by name.
VARIANTS = {
    "iterations=4": {"iterations": 4},
    "iterations=10": {"iterations": 10},
    "iterations=20": {"iterations": 20},
    "ls_iterations=8": {"ls_iterations": 8},
    "iterations=4 ls_iterations=8": {"iterations": 4, "ls_iterations": 8},
    "euler_damping=false": {"euler_damping": False},
    "iterations=4 ls_iterations=8 euler_damping=false": {
        "iterations": 4, "ls_iterations": 8, "euler_damping": False,
    },
    "timestep=0.001": {"timestep": 0.001},
}  # fmt: skip
_BATCH = 20  # worlds at a time
_LIMIT = 0.01  # rad or m: a state that differs by more has diverged


def spread_states(
    embodiment: Embodiment, folder: Path, count: int, rng: np.random.Generator
) -> States:
    """Take `count` frames of a motion set, evenly spread over all its clips."""
    motions = load_motion_set(folder, embodiment)
    qpos = np.concatenate([motion.qpos for motion in motions])
    qvel = np.concatenate([motion.qvel for motion in motions])
    frames = np.linspace(0, len(qpos) - 1, count).astype(int)
    return states_of(qpos[frames], qvel[frames], embodiment.model.nu, rng)


def reference_states(
    config: DictConfig, embodiment: Embodiment, count: int, rng: np.random.Generator
) -> tuple[States, str]:
    """Return states of the configuration's motions, sampled ones without any; and their source."""
    if config.motions != "demo":
        return spread_states(embodiment, Path(config.motions), count, rng), str(config.motions)
    if embodiment.fingers:
        return sample_states(embodiment, count, rng), "none with fingers, sampled poses"
    return spread_states(embodiment, demo_folder(embodiment.name), count, rng), "demo"


def option_gaps(
    embodiment: Embodiment, states: States, excitations: torch.Tensor, base: SimOptions
) -> dict[str, Growth]:
    """Return how far each of `VARIANTS` is from `base` after each control step, in MuJoCo C."""
    gaps = {}
    for name, changed in VARIANTS.items():
        options = replace(base, **changed)
        simulator = MujocoSim(embodiment, min(_BATCH, len(states)), options, dtype=torch.float64)
        gaps[name] = Growth.of(compare_steps(simulator, states, excitations, options=base))
        simulator.close()
    return gaps


def _print_demand(
    title: str, demand: Demand, on_warp: WarpDemand | None, sizes: dict[str, int]
) -> dict[str, object]:
    """Print a kind's counts beside the sizes; return median, 99th percentile and most of each.

    What MuJoCo C does not count is Warp's.
    """
    found = dict(vars(demand))
    if on_warp is not None:
        found |= {k: vars(on_warp.demand)[k] for k, values in found.items() if not values.any()}
    rows, record = [], {}
    for name, values in found.items():
        if not values.any():
            continue
        median, high, most = (*np.percentile(values, (50, 99)), int(values.max()))
        size = sizes.get(name)
        room = f"{size / most:.1f} x" if size else "-"
        rows.append((name, f"{median:.0f}", f"{high:.0f}", most, size or "-", room))
        record[name] = [float(median), float(high), most]
    print(f"\n{title}: {len(demand.rows)} substeps in MuJoCo C")
    print(format_table(("", "median", "99th pct.", "most", "size", "head-room"), rows))
    if on_warp is not None:
        most = {k: int(v.max()) for k, v in vars(on_warp.demand).items() if k != "evaluations"}
        record |= {"warp_most": most, "warp_limits_met": on_warp.limits_met}
        print(f"hardest states on Warp, {len(on_warp.demand.rows)} control steps: at most "
              + ", ".join(f"{count} {name}" for name, count in most.items())
              + f"; steps that met a limit: {sum(on_warp.limits_met.values())}")  # fmt: skip
    return record


def _print_options(gaps: dict[str, Growth], steps: int) -> dict[str, object]:
    rows, record = [], {}
    for name, growth in gaps.items():
        quantiles = growth.percentiles("qpos")[-1]
        diverged = float((growth.diverged_at(_LIMIT) > 0).mean())
        rows.append((name, *(f"{value:.1e}" for value in quantiles), f"{100 * diverged:.1f} %"))
        record[name] = [*quantiles.tolist(), diverged]
    print(f"\nlargest difference of a state in qpos (rad, m) after {steps} control steps from that "
          f"with the model's own options")  # fmt: skip
    print(format_table(("options", "median", "90th", "99th", f"over {_LIMIT:g}"), rows))
    return record


def _numbers(own: dict[str, str]) -> dict[str, int]:
    numbers = dict(_NUMBERS)
    for key, text in own.items():
        least = 0 if key in ("warp_states", "seed") else 1
        if not text.isdecimal() or int(text) < least:
            raise UserError(f"{key}={text}: expected a number, at least {least}")
        numbers[key] = int(text)
    return numbers


def main(arguments: Sequence[str]) -> int:
    """Measure, print tables and one JSON line; return the exit status."""
    own, settings = split_arguments(arguments, (*_NUMBERS, "options"))
    with_options = flag(own.pop("options", "true"), "options")
    numbers = _numbers(own)
    config = load_config(settings)
    embodiment, rng = make_embodiment(config), np.random.default_rng(numbers["seed"])
    reference, source = reference_states(config, embodiment, numbers["states"], rng)
    names = SimOptions.__dataclass_fields__
    values = {k: v for k, v in OmegaConf.to_container(config.sim).items() if k in names}
    options = SimOptions(**values)
    nconmax, njmax = budgets(embodiment, options)
    kinds = {
        "reference": (reference, numbers["steps"]),
        "thrown": (thrown_states(embodiment, numbers["thrown"], rng), numbers["thrown_steps"]),
    }
    fingers = "with" if embodiment.fingers else "without"
    print(
        f"{embodiment.name} {fingers} fingers, motions: {source}; nconmax {nconmax}, njmax {njmax}"
    )
    model, caps = embodiment.model.opt, options.iterations
    sizes = {"contacts": nconmax, "candidates": nconmax, "rows": njmax,
             "iterations": model.iterations if caps is None else caps}  # fmt: skip
    record: dict[str, object] = {"embodiment": embodiment.name, "fingers": embodiment.fingers,
                                 "motions": source, "sizes": sizes, **numbers}  # fmt: skip
    for kind, (states, steps) in kinds.items():
        drawn = excitation_sequence("uniform", steps, len(states), embodiment.model.nu, rng)
        demand, most = measure_demand(embodiment, states, drawn, options)
        on_warp = None
        if numbers["warp_states"]:
            hardest = np.argsort(-most)[: numbers["warp_states"]]
            chosen = States(*(part[hardest] for part in vars(states).values()))
            on_warp = measure_demand_on_warp(embodiment, chosen, drawn[:, hardest], options)
            sizes["nonzeros"] = on_warp.nonzero_size
        record[kind] = _print_demand(kind, demand, on_warp, sizes)
    if with_options:
        states, steps = kinds["reference"]
        drawn = excitation_sequence("policy", steps, len(states), embodiment.model.nu, rng)
        gaps = option_gaps(embodiment, states, drawn, options)
        record["options"] = _print_options(gaps, steps)
    print(json.dumps(record))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, __doc__))
