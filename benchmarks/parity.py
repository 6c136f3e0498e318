"""WarpSim (float32) against MujocoSim (float64) over control steps from the same states.

Usage: ``python -m benchmarks.parity embodiment=fullbody states=200 steps=20``

Both get the same open-loop excitations; neither is put back in between. Prints how far they are
apart after each control step, which share of the states diverges and when, which joints differ
most, and which tendons take another path and which constraints appear in identical states.

Keys: embodiment (fullbody, bimanual), fingers (false), states (100), steps (1), excitations
(policy, uniform), device (auto, cpu, cuda), seed (0), limit (0.01: rad or m, beyond which a state
has diverged), lean (true), motions (a motion set; data/demo/<embodiment> where there is one,
sampled states otherwise), plot (a PNG to write; needs matplotlib, which nothing else does).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cfg.errors import UserError
from mm_torch.command_line import run_command
from mm_torch.table import format_table
from retarget.motion_set import load_motion_set
from sim.constraint_parity import ConstraintParity, compare_constraints
from sim.embodiment import EMBODIMENTS, Embodiment, load_embodiment
from sim.parity_growth import (
    EXCITATIONS,
    PERCENTILES,
    Growth,
    excitation_sequence,
    joint_differences,
)
from sim.simulator import SimOptions, cuda_usable
from sim.tendon_parity import TendonParity, compare_tendons
from sim.warp_parity import Parity, States, compare_steps, sample_states, states_of
from sim.warp_sim import WarpSim

_DEFAULTS = {
    "embodiment": "fullbody",
    "fingers": False,
    "states": 100,
    "steps": 1,
    "excitations": "policy",
    "device": "auto",
    "seed": 0,
    "limit": 0.01,
    "lean": True,
    "motions": None,
    "plot": None,
}
_BATCH = 20  # worlds at a time
_LABELS = {
    "qpos": "|dqpos| (rad, m)",
    "act": "|dactivation|",
    "force": "|dforce| / peak force",
}


def reference_states(
    embodiment: Embodiment, folder: Path, count: int, rng: np.random.Generator
) -> States:
    """Draw `count` frames of a motion set, each frame equally likely."""
    motions = load_motion_set(folder, embodiment)
    qpos = np.concatenate([motion.qpos for motion in motions])
    qvel = np.concatenate([motion.qvel for motion in motions])
    frames = rng.integers(len(qpos), size=count)
    return states_of(qpos[frames], qvel[frames], embodiment.model.nu, rng)


def print_last(parity: Parity) -> dict[str, object]:
    """Print the differences after a control step over states and entries; return the figures."""
    summary = parity.summary()
    print("\nafter the last step, over states and entries")
    print(format_table(("", "median", "99th pct.", "largest"), [
        (label, *(f"{summary[f'{name}_{part}']:.2e}" for part in ("median", "p99", "max")))
        for name, label in _LABELS.items()
    ]))  # fmt: skip
    worst = {"joints": parity.worst_joints(), "muscles": parity.worst_muscles()}
    for title, entries in worst.items():
        print(f"{title} that differ most: " + ", ".join(f"{n} {v:.1e}" for n, v in entries))
    return summary | worst


def print_growth(parities: list[Parity], limit: float) -> dict[str, object]:
    """Print the differences by control step and who diverges; return the figures."""
    growth = Growth.of(parities)
    tables = {name: growth.percentiles(name) for name in _LABELS}
    print("\nlargest difference within a state: median, 90th and 99th percentile over states")
    columns = [f"{name} {percent}" for name in _LABELS for percent in PERCENTILES]
    print(format_table(("step", *columns), [
        (step + 1, *(f"{value:.1e}" for table in tables.values() for value in table[step]))
        for step in range(len(parities))
    ]))  # fmt: skip
    first = growth.diverged_at(limit)
    diverged = np.sort(first[first > 0])
    print(f"{len(diverged)} of {len(first)} states diverge (a difference over {limit:g} rad or m)"
          + (f", first at step {diverged[0]}, half of them by {int(np.median(diverged))}"
             if len(diverged) else ""))  # fmt: skip
    joints = joint_differences(parities)[:8]
    print("joints that differ most, 90th percentile over states at the last step: "
          + ", ".join(f"{name} {value:.1e}" for name, value in joints))  # fmt: skip
    return {
        "by_step": {name: table.tolist() for name, table in tables.items()},
        "diverged_at": diverged.tolist(),
        "joints_p90": joints,
    }


def print_tendons(parity: TendonParity) -> dict[str, object]:
    """Print which tendons take another path in identical states; return the figures."""
    length, arm = parity.rounding()
    print(f"\nidentical states: equal paths differ by up to {length:.1e} m in length, "
          f"{arm:.1e} m in moment arm")  # fmt: skip
    switched = parity.switched()
    if switched:
        print(format_table(("muscle on another path", "states", "length (m)", "moment arm (m)"), [
            (name, count, f"{d_length:.1e}", f"{d_arm:.1e}")
            for name, count, d_length, d_arm in switched
        ]))  # fmt: skip
    else:
        print("no muscle takes another path")
    return {"rounding": [length, arm], "switched": switched}


def print_constraints(parity: ConstraintParity) -> dict[str, object]:
    """Print in how many identical states the constraints differ; return the figures."""
    same, gap = parity.same, parity.acceleration
    record: dict[str, object] = {
        "other_contacts": int((parity.contacts != 0).sum()),
        "other_limits": int((parity.limits != 0).sum()),
    }
    print(f"another number of contacts in {record['other_contacts']} of {len(gap)} states, of "
          f"active joint limits in {record['other_limits']}")  # fmt: skip
    for name, chosen in (("same", same), ("other", ~same)):
        if chosen.any():
            record[f"acceleration_{name}"] = median, most = [
                float(np.median(gap[chosen])), float(gap[chosen].max())
            ]  # fmt: skip
            print(f"{name} constraints: acceleration differs by {median:.1e} (median), "
                  f"{most:.1e} (largest) of the body's largest")  # fmt: skip
    return record


def write_plot(parities: list[Parity], path: Path) -> None:
    """Write the growth of differences as a PNG.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise UserError(f"plot={path}: needs matplotlib: pip install matplotlib") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    growth, steps = Growth.of(parities), np.arange(1, len(parities) + 1)
    figure, axes = pyplot.subplots(1, 3, figsize=(12, 4), sharex=True)
    for axis, (name, label) in zip(axes, _LABELS.items(), strict=True):
        for values, percent in zip(growth.percentiles(name).T, PERCENTILES, strict=True):
            axis.semilogy(steps, values, label=f"{percent}th percentile")
        axis.set(xlabel="control step", title=label)
    axes[0].legend()
    figure.savefig(path, bbox_inches="tight")


def main(arguments: list[str]) -> int:
    """Compare, print tables and one JSON line; return the exit status."""
    config = OmegaConf.create(dict(_DEFAULTS))
    OmegaConf.set_struct(config, True)
    try:
        config.merge_with_dotlist(list(arguments))
    except OmegaConfBaseException as error:
        raise UserError(f"{str(error).splitlines()[0]}: expected {', '.join(_DEFAULTS)}") from error
    for key, allowed in (("embodiment", EMBODIMENTS), ("excitations", EXCITATIONS)):
        if config[key] not in allowed:
            raise UserError(f"{key}={config[key]}: expected {' or '.join(allowed)}")
    for key in ("states", "steps"):
        if not isinstance(config[key], int) or config[key] < 1:
            raise UserError(f"{key}={config[key]}: expected a number, at least 1")
    device = config.device
    if device == "auto":
        device = "cuda" if cuda_usable() else "cpu"
    embodiment = load_embodiment(config.embodiment, config.fingers)
    rng = np.random.default_rng(config.seed)
    folder = Path(config.motions or f"data/demo/{embodiment.name}")
    if config.motions or (folder / "index.json").is_file():
        states = reference_states(embodiment, folder, config.states, rng)
        source = f"frames of {folder}"
    else:
        states, source = sample_states(embodiment, config.states, rng), "sampled"
    options = SimOptions(lean=config.lean)
    simulator = WarpSim(embodiment, min(_BATCH, len(states)), torch.device(device), options)
    tendons = compare_tendons(simulator, states.qpos)
    constraints = compare_constraints(simulator, states.qpos, states.qvel, states.act)
    excitations = excitation_sequence(
        config.excitations, config.steps, len(states), embodiment.model.nu, rng
    )
    parities = compare_steps(simulator, states, excitations)
    invalid = int(parities[-1].invalid.sum())
    print(f"{embodiment.name}, {len(states)} states ({source}), {config.steps} control steps, "
          f"{config.excitations} excitations, warp on {device}; {invalid} invalid")  # fmt: skip
    record = OmegaConf.to_container(config) | {"source": source, "invalid": invalid}
    record |= print_growth(parities, config.limit) | print_last(parities[-1])
    record |= print_tendons(tendons) | print_constraints(constraints)
    print(json.dumps(record))
    if config.plot:
        write_plot(parities, Path(config.plot))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, __doc__, settings=False))
