"""One control step on WarpSim and on MujocoSim from the same states: how far apart they end.

Usage: ``python -m benchmarks.parity embodiment=fullbody states=100``

Keys: embodiment (fullbody, bimanual), fingers (false), states (100), device (auto, cpu, cuda), seed
(0), motions (a motion set; data/demo/<embodiment> where there is one, sampled states otherwise).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf

from retarget.motion_set import load_motion_set
from sim.embodiment import Embodiment, load_embodiment
from sim.simulator import cuda_usable
from sim.warp_parity import Parity, States, compare_step, sample_states, states_of
from sim.warp_sim import WarpSim

_DEFAULTS = {
    "embodiment": "fullbody",
    "fingers": False,
    "states": 100,
    "device": "auto",
    "seed": 0,
    "motions": None,
}
_BATCH = 20  # worlds at a time


def reference_states(
    embodiment: Embodiment, folder: Path, count: int, rng: np.random.Generator
) -> States:
    """Draw `count` frames of a motion set, each frame equally likely."""
    motions = load_motion_set(folder, embodiment)
    qpos = np.concatenate([motion.qpos for motion in motions])
    qvel = np.concatenate([motion.qvel for motion in motions])
    frames = rng.integers(len(qpos), size=count)
    return states_of(qpos[frames], qvel[frames], embodiment.model.nu, rng)


def report(parity: Parity, source: str) -> None:
    """Print the differences as a table and as one JSON line."""
    summary = parity.summary()
    print(f"{len(parity.qpos)} states, {source}; {int(parity.invalid.sum())} invalid")
    print(f"{'':24}{'median':>12}{'99th pct.':>12}{'largest':>12}")
    units = {"qpos": "|dqpos| (rad, m)", "act": "|dactivation|", "force": "|dforce| / peak force"}
    for name, label in units.items():
        values = [summary[f"{name}_{part}"] for part in ("median", "p99", "max")]
        print(f"{label:24}" + "".join(f"{value:12.2e}" for value in values))
    for title, worst in (("joints", parity.worst_joints()), ("muscles", parity.worst_muscles())):
        print(f"{title} that differ most: " + ", ".join(f"{n} {v:.1e}" for n, v in worst))
    extra = {"joints": parity.worst_joints(), "muscles": parity.worst_muscles()}
    record = {"states": len(parity.qpos), "source": source, "invalid": int(parity.invalid.sum())}
    print(json.dumps(record | summary | extra))


def main(arguments: list[str]) -> None:
    config = OmegaConf.create(dict(_DEFAULTS))
    OmegaConf.set_struct(config, True)
    config.merge_with_dotlist(arguments)
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
    simulator = WarpSim(embodiment, min(_BATCH, len(states)), torch.device(device))
    report(compare_step(simulator, states), f"{embodiment.name}, {source}, warp on {device}")


if __name__ == "__main__":
    main(sys.argv[1:])
