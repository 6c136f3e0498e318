"""What a policy reads and says, in words: goes with a network that leaves the project."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from omegaconf import OmegaConf

from cfg.schema import ObservationConfig
from mm_torch.goal_task import GoalTask
from mm_torch.policy_loading import LoadedPolicy

_HELP = {item.name: item.metadata["help"] for item in fields(ObservationConfig)}


def describe_policy(loaded: LoadedPolicy) -> dict[str, Any]:
    """Return a description that JSON can hold: observation by term, muscles, body, settings.

    `observation` lists the terms in their order: name, first entry, number of entries, meaning.
    `excitation` is the range of the output, whose order is that of `muscles`.
    """
    task, config = loaded.task, loaded.config
    body = task.simulator.embodiment
    terms, first = [], 0
    for name, size in task.observation.sizes(task.state()).items():
        terms.append(
            {"term": name, "first": first, "size": size, "meaning": _meaning(loaded, name)}
        )
        first += size
    if isinstance(task, GoalTask):
        meaning = f"the command of task.name={config.task.name}"
        terms.append(
            {"term": "command", "first": first, "size": task.obs_dim - first, "meaning": meaning}
        )
    return {
        "embodiment": body.name,
        "fingers": body.fingers,
        "model": body.fingerprint,
        "control_dt": task.simulator.control_dt,
        "observation": terms,
        "excitation": [-1.0 if config.action.mapping == "musclemimic" else 0.0, 1.0],
        "muscles": list(body.muscle_names),
        "independent_joints": list(body.independent_joints),
        "mimic_sites": list(body.mimic_sites),
        "config": OmegaConf.to_container(config),
    }


def _meaning(loaded: LoadedPolicy, term: str) -> str:
    if term != "muscles":
        return _HELP[term]
    shown = [
        name
        for name, text in _HELP.items()
        if name.startswith("muscle_") and getattr(loaded.config.observation, name)
    ]
    return f"{', '.join(shown)} of the first muscle, then of the second, and so on"
