"""The benchmark: sweeps, stages that add up, one line of JSON, one-line errors."""

from __future__ import annotations

import json
import time

import pytest
import torch

from cfg import UserError
from mm_torch import bench
from mm_torch.command_line import run_command
from mm_torch.stage_clock import StageClock
from mm_torch.stage_times import SIMULATION, STAGES, mujoco_shares
from sim.embodiment import Embodiment
from sim.mujoco_sim import MujocoSim
from sim.simulator import SimOptions

TINY = [
    "cfg=demo", "network.actor_hidden=[16]", "network.critic_hidden=[16]", "agent.num_steps=4",
    "agent.minibatch_size=8", "agent.epochs=1", "device=cpu", "seconds=0.05",
]  # fmt: skip


def _run(capsys: pytest.CaptureFixture, *arguments: str) -> tuple[list[str], list[dict]]:
    assert run_command(bench.main, "", [*TINY, *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    return lines, json.loads(lines[-1])


def _check_row(row: dict, nworld: int) -> None:
    assert row["nworld"] == nworld
    for phase in bench.PHASES:
        assert row[f"{phase}_steps_per_second"] > 0
    stages = row["stage_seconds_per_step"]
    assert tuple(stages) == STAGES
    # "reset" is zero while no episode ends, everything else takes time.
    assert all(seconds > 0 for name, seconds in stages.items() if name != "reset")
    assert row["startup_seconds"] > 0 and row["first_step_seconds"] > 0


@pytest.mark.parametrize("embodiment", ["bimanual", "fullbody"])
def test_sweep_on_mujoco(embodiment: str, capsys: pytest.CaptureFixture) -> None:
    here = (f"embodiment={embodiment}", "sim.backend=mujoco", "nworld=2,3")
    lines, rows = _run(capsys, *here)
    assert len(rows) == 2
    for row, nworld in zip(rows, (2, 3), strict=True):
        _check_row(row, nworld)
        assert row["simulator"] == "MujocoSim" and row["embodiment"] == embodiment
        assert "launches_per_step" not in row
        assert "MuJoCo's timers" in row["stages_measured_by"]
    for stage in STAGES:
        assert any(line.startswith(stage) for line in lines), stage


@pytest.mark.parametrize("embodiment", ["bimanual", "fullbody"])
def test_row_on_warp(embodiment: str, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("mujoco_warp")
    lines, rows = _run(capsys, f"embodiment={embodiment}", "sim.backend=warp", "sim.nworld=2")
    (row,) = rows
    _check_row(row, 2)
    assert row["simulator"] == "WarpSim"
    assert "one by one" in row["stages_measured_by"]
    sizes = row["bytes_per_world"]
    assert sizes["total"] == sizes["simulator"] + sizes["environment"] + sizes["learner"]
    # A rollout of four steps holds observations and actions in float32, at the least.
    assert sizes["learner"] > 4 * 4 * row["muscles"]
    assert len(row["launches_by_kernel"]) == 10
    assert row["launches_per_step"] > sum(row["launches_by_kernel"].values())
    assert row["capture_seconds"] is None
    assert any("kernel launches" in line for line in lines)


def test_stages_add_up_to_the_training_step(capsys: pytest.CaptureFixture) -> None:
    _, (row,) = _run(capsys, "sim.backend=mujoco", "sim.nworld=4")
    total = sum(row["stage_seconds_per_step"].values())
    # Measured in other steps than the training rate, and on a busy machine: a loose bound, which
    # a time of one world in place of all four would still break.
    assert 1 / 3 < total * row["training_steps_per_second"] / 4 < 3


@pytest.mark.timing
def test_mujoco_shares_are_parts_of_the_step(bimanual: Embodiment) -> None:
    simulator = MujocoSim(bimanual, 2, SimOptions(threads=1))
    excitations = torch.full_like(simulator.ctrl, 0.1)

    def simulate() -> int:
        simulator.step(excitations)
        return 2

    shares = mujoco_shares(simulator, simulate, 0.2)
    simulator.close()
    assert set(shares) == set(SIMULATION) - {"rest of simulation"}
    assert all(share > 0 for share in shares.values())
    # One thread, so nothing runs beside the timers; the refresh is extrapolated, hence the slack.
    assert 0.3 < sum(shares.values()) < 1.05
    # Wrapping of 64 muscles over 36 joints outweighs integration by far.
    assert shares["tendon"] > 3 * shares["integrate"]


@pytest.mark.timing
def test_clock_gives_an_inner_stage_its_own_time() -> None:
    class Work:
        def outer(self) -> None:
            time.sleep(0.02)
            self.inner()
            self.reset()

        def inner(self) -> None:
            time.sleep(0.03)

        def reset(self) -> None:
            self.inner()

    work, clock = Work(), StageClock(torch.device("cpu"))
    places = [(work, name, name) for name in ("outer", "inner", "reset")]
    start = time.perf_counter()
    with clock.around(places):
        work.outer()
    wall = time.perf_counter() - start
    # What a reset calls belongs to the reset: the second call of `inner` is not its own.
    assert clock.seconds["inner"] >= 0.03 and clock.seconds["reset"] >= 0.03
    assert clock.seconds["outer"] >= 0.02
    assert clock.seconds.total() == pytest.approx(wall, abs=1e-2)
    assert not vars(work), "the functions were not put back"


def test_clock_puts_functions_back_after_an_error() -> None:
    class Work:
        def fail(self) -> None:
            raise ZeroDivisionError

    work, clock = Work(), StageClock(torch.device("cpu"))
    with pytest.raises(ZeroDivisionError), clock.around([(work, "fail", "a")]):
        work.fail()
    assert not vars(work)
    with pytest.raises(AttributeError), clock.around([(work, "fail", "a"), (work, "none", "b")]):
        pass
    assert not vars(work)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seconds=x"], "seconds=x: expected a number"),
        (["nworld=4,x"], "nworld=4,x: expected numbers of worlds"),
        (["nworld=0"], "nworld=0: expected numbers of worlds"),
        (["nworld=2", "sim.nworld=2"], "both given"),
    ],
)
def test_errors(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        bench.main(["cfg=demo", *arguments])
