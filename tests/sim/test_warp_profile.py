"""What profiling a WarpSim counts: against counts by hand, and without disturbing the worlds."""

from __future__ import annotations

import dataclasses

import pytest
import torch

pytest.importorskip("mujoco_warp")

import mujoco_warp as mjw
import warp as wp

from sim import warp_profile
from sim.simulator import SimOptions
from sim.warp_sim import WarpSim

_CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def simulator(bimanual):
    simulator = WarpSim(bimanual, 2, _CPU)
    yield simulator
    simulator.close()


@wp.kernel
def _fill(values: wp.array(dtype=float), value: float):
    values[wp.tid()] = value


def test_memory_is_linear_in_worlds_and_covers_all_of_data(bimanual, simulator):
    memory = warp_profile.device_memory(simulator)
    five = WarpSim(bimanual, 5, _CPU)
    larger = warp_profile.device_memory(five)
    five.close()
    assert memory.per_world == larger.per_world
    assert memory.fixed == larger.fixed
    assert memory.worlds * 5 == larger.worlds * 2
    data = simulator._data
    arrays = [getattr(data, field.name) for field in dataclasses.fields(data)]
    top = sum(array.capacity for array in arrays if isinstance(array, wp.array))
    nested = [getattr(part, field.name) for part in (data.efc, data.contact)
              for field in dataclasses.fields(part)]  # fmt: skip
    parts = sum(array.capacity for array in nested if isinstance(array, wp.array))
    assert memory.worlds + memory.pools + memory.fixed == top + parts


def test_contacts_are_pools_and_rows_are_of_worlds(bimanual, simulator):
    small = warp_profile.device_memory(simulator)
    wide = WarpSim(bimanual, 2, _CPU, SimOptions(nconmax=64, njmax=192))
    large = warp_profile.device_memory(wide)
    wide.close()
    # Every pool is sized by nconmax alone, which is four times the default of 16.
    assert large.pools == 4 * small.pools > 0
    assert large.worlds > small.worlds
    assert large.fixed == small.fixed


def test_tensors_that_view_the_simulator_are_not_counted_twice(simulator):
    addresses = warp_profile.device_memory(simulator).addresses
    counted = warp_profile.tensor_bytes(simulator, 2, skip=addresses)
    own = ("site_pos", "site_rot", "site_vel", "muscle_length", "muscle_velocity", "muscle_force",
           "touch", "fault", "invalid", "last_qvel")  # fmt: skip
    copies = (getattr(simulator, name) for name in own)
    expected = sum(tensor.nbytes for tensor in copies) + simulator._mask_view.nbytes
    assert counted == expected


def test_tensor_bytes_counts_what_worlds_multiply_once():
    base = torch.zeros(3, 7)
    held = {"a": base, "view": base[:, 2:], "rollout": [torch.zeros(5, 3, 2)],
            "weights": torch.zeros(7, 7), "skipped": torch.zeros(3)}  # fmt: skip
    skip = frozenset({held["skipped"].untyped_storage().data_ptr()})
    assert warp_profile.tensor_bytes(held, 3, skip=skip) == 4 * (3 * 7 + 5 * 3 * 2)
    assert warp_profile.tensor_bytes(held, 3, skip_types=(dict,)) == 0


def test_launches_are_counted_by_kernel_and_launch_is_restored():
    values, launch = wp.zeros(4, dtype=float, device="cpu"), wp.launch

    def work():
        wp.launch(_fill, dim=4, inputs=[values, 1.0], device="cpu")
        wp.launch(_fill, 4, [values, 2.0], device="cpu")
        wp.launch(_fill, dim=(0,), inputs=[values, 3.0], device="cpu")
        wp.launch_tiled(_fill, dim=[4], inputs=[values, 5.0], block_dim=1, device="cpu")

    counts = warp_profile.count_launches(work)
    assert counts == {"test_warp_profile._fill": 3}
    assert values.numpy()[0] == 5.0
    with pytest.raises(ZeroDivisionError):
        warp_profile.count_launches(lambda: 1 / 0)
    assert wp.launch is launch


def test_a_control_step_launches_substeps_and_the_refresh(bimanual, simulator):
    launches = warp_profile.launches_per_step(simulator)
    plain = WarpSim(bimanual, 2, _CPU, SimOptions(refresh_derived=False))
    without = warp_profile.launches_per_step(plain)
    plain.close()
    # The tendon pass runs in each substep and once more in the refresh; integration does not.
    tendons = next(name for name in launches if "tendon" in name and name.startswith("smooth"))
    assert launches[tendons] % (simulator.substeps + 1) == 0
    assert without[tendons] % simulator.substeps == 0
    assert launches["forward._next_velocity"] == simulator.substeps
    assert launches.total() > without.total() > 10 * simulator.substeps


def test_profiling_leaves_the_worlds_as_they_were(simulator):
    excitations = torch.full_like(simulator.ctrl, 0.3)
    simulator.step(excitations)
    before = simulator.state_dict()
    counts = simulator._monitor.counts.clone()
    warp_profile.launches_per_step(simulator)
    for name, value in simulator.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert torch.equal(simulator._monitor.counts, counts)
    simulator.step(excitations)
    after = simulator.state_dict()
    simulator.load_state_dict(before)
    simulator.step(excitations)
    assert torch.equal(simulator.qpos, after["qpos"])


def test_stage_functions_are_those_that_a_step_calls(simulator, monkeypatch):
    called = set()
    for module, name, stage in warp_profile.stage_functions():
        function = getattr(module, name)

        def noted(*args, function=function, stage=stage, **kwargs):
            called.add(stage)
            return function(*args, **kwargs)

        monkeypatch.setattr(module, name, noted)
    mjw.step(simulator._model, simulator._data)
    assert called == set(warp_profile.STAGE_OF.values())


def test_stage_functions_say_what_a_new_version_lacks(monkeypatch):
    monkeypatch.setitem(warp_profile.STAGE_OF, "gone", "tendon")
    with pytest.raises(RuntimeError, match="no stage function 'gone'"):
        warp_profile.stage_functions()


def test_trace_is_summed_by_stage_without_counting_twice():
    solve = {"_solver_iteration": ((4.0,), {})}
    forward = {"tendon": ((2.0, 3.0), {}), "solve": ((6.0,), solve), "sensor_pos": ((1.0,), {})}
    trace = {"step": ((20.0,), {"forward": ((15.0,), forward), "euler": ((2.0,), {})})}
    trace["tendon"] = ((0.5,), {})
    found = warp_profile.sum_stages(trace)
    expected = {"tendon": 0.0055, "solve": 0.006, "integrate": 0.002, "rest": 0.007}
    assert found == pytest.approx(expected)
    assert sum(found.values()) == pytest.approx(0.0205)


@pytest.mark.skipif(torch.cuda.is_available(), reason="tells what a machine without CUDA lacks")
def test_event_traces_and_captures_need_cuda(simulator):
    assert warp_profile.capture_seconds(simulator) is None
    with pytest.raises(ValueError, match="need CUDA"):
        warp_profile.traced_stages(simulator, 1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_event_trace_on_cuda(bimanual):
    simulator = WarpSim(bimanual, 64, torch.device("cuda"))
    stages = warp_profile.traced_stages(simulator, 3)
    assert stages["tendon"] > 0 and stages["solve"] > 0
    assert warp_profile.capture_seconds(simulator) > 0
    simulator.close()
