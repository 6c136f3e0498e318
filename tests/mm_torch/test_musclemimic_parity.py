"""`mdp=musclemimic` against rollouts recorded from MuscleMimic 0.1.0's own environments.

The recordings were made with MuJoCo 3.4.0. Under that release (`make parity`) every observation
entry, reward term and termination flag must agree. Under the release that the project uses, the
wrapping of some tendons has changed, and with it lengths, velocities and forces of these muscles
and the motion that they cause; then every world is put on the recorded state before each step, what
does not depend on the changed tendons must still agree, and the rest must stay small.
"""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

from cfg import load_config
from mm_torch.motion_library import MotionLibrary
from mm_torch.task import ImitationTask
from mm_torch.task_state import Layout
from retarget.reference import make_motion
from sim.mujoco_sim import MujocoSim
from sim.simulator import SimOptions
from tests.conftest import body

SAME_MUJOCO = mujoco.__version__.startswith("3.4.")
# The recorder ran the arms at 1 ms and both bodies with reward weights of its code's defaults where
# its YAML files set others: velocities 0.2. The terms themselves are not concerned.
TIMESTEP = {"fullbody": 0.002, "bimanual": 0.001}
WEIGHTS = {
    "fullbody": ["reward.mm_qvel.weight=0.2", "reward.mm_root_vel.weight=0.2"],
    "bimanual": ["reward.mm_qvel.weight=0.2"],
}
TERMS = {
    "mm_qpos": "reward_qpos",
    "mm_qvel": "reward_qvel",
    "root_pos": "reward_root_pos",
    "mm_root_vel": "reward_root_vel",
    "site_pos": "reward_rpos",
    "mm_rquat": "reward_rquat",
    "mm_rvel_rot": "reward_rvel_rot",
    "mm_rvel_lin": "reward_rvel_lin",
}
# Muscles of the shoulder whose wrapping differs between MuJoCo 3.4 and 4.0 on these references.
CHANGED_TENDONS = {"LAT2", "LAT2_left", "TMAJ", "TMAJ_left"}
SIZE = {"fullbody": 2418, "bimanual": 417}


class Replay:
    """The recording and our task side by side, one world."""

    def __init__(self, name: str, path: Path) -> None:
        with np.load(path, allow_pickle=False) as file:
            self.record = {key: file[key] for key in file}
        config = load_config(["cfg=demo", f"embodiment={name}", "mdp=musclemimic", *WEIGHTS[name]])
        self.name, embodiment = name, body(name, phantom_inertia=config.phantom_inertia)
        options = SimOptions(refresh_derived=False, timestep=TIMESTEP[name])
        self.sim = MujocoSim(embodiment, 1, options, dtype=torch.float64)
        motion = make_motion(
            "recorded", embodiment, self.record["qpos_ref"], 100, "", self.record["qvel_ref"]
        )
        device = torch.device("cpu")
        layout = Layout.of(embodiment, device)
        library = MotionLibrary([motion], layout, device, torch.float64)
        self.task = ImitationTask(config, self.sim, library)
        self.info = dict(zip(self.record["info_keys"].tolist(), self.record["info"].T, strict=True))
        frames = self.record["frame"]
        self.fresh = [row == 0 or frames[row, 1] != frames[row - 1, 1] + 1 for row in range(60)]

    def reset(self, row: int) -> None:
        clip, frame, _ = (torch.tensor([int(value)]) for value in self.record["frame"][row])
        self.task.place(torch.ones(1, dtype=torch.bool), clip, frame)

    def anchor(self, row: int) -> None:
        """Put the simulator on the recorded state of a row (contacts and warm start are solved)."""
        state = [
            torch.from_numpy(self.record[k][row]).unsqueeze(0) for k in ("qpos", "qvel", "act")
        ]
        self.sim.reset(torch.ones(1, dtype=torch.bool), *state)
        self.sim.ctrl.copy_(torch.from_numpy(self.record["ctrl"][row]))
        self.task.frame[:] = int(self.record["frame"][row, 1])

    def observation_error(self, row: int) -> np.ndarray:
        own, recorded = self.task.observe()[0].numpy(), self.record["obs"][row]
        return np.abs(own - recorded) / np.maximum(np.abs(recorded), 1e-3)

    def step(self, row: int):
        return self.task.step(torch.from_numpy(self.record["action"][row : row + 1]))

    def entries(self) -> dict[str, slice]:
        """Where each observation term lies."""
        slices, start = {}, 0
        for name, size in self.task.observation.sizes(self.task.state()).items():
            slices[name] = slice(start, start + size)
            start += size
        return slices


@pytest.fixture(scope="module", params=["fullbody", "bimanual"])
def replay(request: pytest.FixtureRequest, shared: Path) -> Replay:
    path = shared / "data" / "parity" / f"musclemimic_{request.param}.npz"
    if not path.is_file():
        pytest.skip(f"no recording of MuscleMimic's environment at {path}")
    return Replay(request.param, path)


def test_size(replay: Replay) -> None:
    assert replay.task.obs_dim == SIZE[replay.name] == replay.record["obs"].shape[1]


@pytest.mark.skipif(not SAME_MUJOCO, reason="needs MuJoCo 3.4.0, as in `make parity`")
def test_every_entry_term_and_flag_under_the_recording_release(replay: Replay) -> None:
    for row in range(60):
        if replay.fresh[row]:
            replay.reset(row)
        error = replay.observation_error(row)
        assert error.max() < 1e-4, (row, int(error.argmax()), error.max())
        outcome = replay.step(row)
        for term in replay.task.reward.kernels:
            recorded = replay.info[TERMS[term]][row]
            assert float(outcome.terms[term]) == pytest.approx(recorded, rel=1e-4), (row, term)
        assert float(outcome.reward) == pytest.approx(replay.record["reward"][row], rel=1e-4)
        assert bool(outcome.terminated) == bool(replay.record["absorbing"][row]), row


def test_observation_on_the_reference(replay: Replay) -> None:
    """Right after a reset nothing has been stepped: all but changed tendons must agree."""
    entries = replay.entries()
    rows = [row for row in range(60) if replay.fresh[row]]
    assert len(rows) >= 3
    for row in rows:
        replay.reset(row)
        error = replay.observation_error(row)
        muscles = error[entries["muscles"]].reshape(replay.sim.embodiment.model.nu, -1)
        error[entries["muscles"]] = 0
        assert error.max() < 1e-4, (row, int(error.argmax()))
        changed = muscles.max(axis=1) > 1e-4
        names = [n for n, c in zip(replay.sim.embodiment.muscle_names, changed, strict=True) if c]
        assert set(names) <= (set() if SAME_MUJOCO else CHANGED_TENDONS), row


def test_state_entries_on_recorded_states(replay: Replay) -> None:
    """What is a function of the recorded state alone agrees in every row."""
    entries = replay.entries()
    derived = {"muscles", "touch", "site_pos_world", "site_rot", "site_vel_musclemimic"}
    for row in range(60):
        replay.anchor(row)
        replay.task.clip[:] = 0
        error = replay.observation_error(row)
        for name, where in entries.items():
            if name not in derived:
                assert error[where].max() < 1e-4, (row, name)
        # Excitation and activation lie among the muscle entries.
        own = replay.task.body
        np.testing.assert_allclose(own.act[0], replay.record["act"][row], rtol=1e-12)


def test_reward_terms_and_flags_from_recorded_states(replay: Replay) -> None:
    """Each step starts on the recorded state; only the step itself is of another release."""
    differences: dict[str, list[float]] = {}
    for row in range(60):
        if replay.fresh[row]:
            replay.reset(row)
        else:
            replay.anchor(row)
        outcome = replay.step(row)
        for term in replay.task.reward.kernels:
            recorded = replay.info[TERMS[term]][row]
            difference = abs(float(outcome.terms[term]) - recorded)
            differences.setdefault(term, []).append(difference)
        assert bool(outcome.terminated) == bool(replay.record["absorbing"][row]), row
    for term, values in differences.items():
        assert np.median(values) < 2e-3, (term, np.median(values))
