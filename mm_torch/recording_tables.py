"""The tables of a recording: what a laboratory measures of it, under OpenSim's names."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mm_torch.recording import Recording
from retarget.importers.storage import write_table
from retarget.opensim_tables import coordinates, ground_forces, in_degrees, moments
from sim.embodiment import Embodiment
from sim.laboratory import Laboratory

_IN_DEGREES = ("coordinates.sto", "reference.sto")


def tables(
    one: Recording, body: Embodiment, laboratory: Laboratory
) -> dict[str, dict[str, np.ndarray]]:
    """Return columns (T,) by label, by the name of their file; see docs/laboratory.md."""
    moment, tension, length, force, centre, torque = [], [], [], [], [], []
    for _ in one.replay(laboratory):
        moment.append(laboratory.joint_moments())
        tension.append(laboratory.muscle_tensions())
        length.append(laboratory.muscle_lengths())
        ground = laboratory.ground_force()
        force.append(ground.force)
        centre.append(ground.centre)
        torque.append(ground.torque)

    def of_muscles(rows: np.ndarray | list[np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(body.muscle_names, np.asarray(rows).T, strict=True))

    found = {
        "coordinates.sto": in_degrees(coordinates(body, one.qpos)),
        "reference.sto": in_degrees(coordinates(body, one.reference)),
        "joint_moments.sto": moments(body, np.array(moment)),
        "activations.sto": of_muscles(one.act),
        "excitations.sto": of_muscles(one.ctrl),
        "muscle_forces.sto": of_muscles(tension),
        "muscle_lengths.sto": of_muscles(length),
    }
    if body.has_root:
        found["ground_forces.mot"] = ground_forces(*map(np.array, (force, centre, torque)))
    return found


def write_tables(one: Recording, body: Embodiment, laboratory: Laboratory, folder: Path) -> None:
    """Write the tables of a recording, of one step at least, to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, columns in tables(one, body, laboratory).items():
        write_table(folder / name, one.time, columns, degrees=name in _IN_DEGREES)
