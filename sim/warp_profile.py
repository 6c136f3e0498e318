"""What a WarpSim costs: device memory, kernel launches, and the time of each stage of a step."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import mujoco_warp as mjw
import warp as wp
from mujoco_warp._src import warp_util
from torch import Tensor

from sim.warp_graph import WarpWork
from sim.warp_sim import WarpSim

#: Stage of each of MuJoCo-Warp's functions. What is not named here belongs to the function that
#: calls it, and at the top to the rest of the simulation.
STAGE_OF = {
    "kinematics": "kinematics",
    "com_pos": "kinematics",
    "camlight": "kinematics",
    "flex": "kinematics",
    "tendon": "tendon",
    "crb": "inertia",
    "tendon_armature": "inertia",
    "factor_m": "inertia",
    # The forces added up, the inertia matrix factored and the unconstrained acceleration solved.
    "fwd_acceleration": "inertia",
    "collision": "collision",
    "make_constraint": "constraint",
    "fwd_velocity": "velocity",
    "transmission": "actuation",
    "fwd_actuation": "actuation",
    "solve": "solve",
    "euler": "integrate",
    "implicit": "integrate",
}

#: A nested event trace: of each function the milliseconds of its calls, and the trace within it.
Trace = Mapping[str, tuple[tuple[float, ...], "Trace"]]


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes that a simulator's `Data` occupies.

    Attributes:
        worlds: in arrays with a row for each world.
        pools: in arrays that all worlds share and that are sized by them: contacts.
        fixed: in arrays that do not depend on the number of worlds.
        nworld: number of worlds.
        addresses: where the arrays lie, to tell tensors that view them from tensors of their own.
    """

    worlds: int
    pools: int
    fixed: int
    nworld: int
    addresses: frozenset[int]

    @property
    def per_world(self) -> float:
        """Bytes that one more world takes."""
        return (self.worlds + self.pools) / self.nworld


def device_memory(simulator: WarpSim) -> DeviceMemory:
    """Count the bytes of a simulator's `Data`, shared arrays once.

    The declared shape of an array tells of which kind it is, so that a size that happens to equal
    the number of worlds confuses nothing. Scratch memory of a step is not in `Data`, and not here.
    """
    totals: Counter[str] = Counter()
    seen: set[int] = set()
    for declared, array in _arrays(simulator._data):
        if array.ptr is None or array.ptr in seen:
            continue
        seen.add(array.ptr)
        kind = {"nworld": "worlds", "naconmax": "pools", "naccdmax": "pools"}.get(declared, "fixed")
        totals[kind] += array.capacity
    return DeviceMemory(
        worlds=totals["worlds"],
        pools=totals["pools"],
        fixed=totals["fixed"],
        nworld=simulator.nworld,
        addresses=frozenset(seen),
    )


def _arrays(part: object) -> Iterator[tuple[object, wp.array]]:
    """Yield every array of `Data`, parts included, with its first declared dimension."""
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if dataclasses.is_dataclass(value):
            yield from _arrays(value)
        elif isinstance(value, wp.array):
            shape = getattr(field.type, "shape", ())
            yield (shape[0] if shape else None), value


def tensor_bytes(
    root: object, nworld: int, skip_types: tuple[type, ...] = (), skip: frozenset[int] = frozenset()
) -> int:
    """Return the bytes of the tensors that an object of this project holds and worlds multiply.

    Those are the tensors with `nworld` as first or second dimension, each storage counted once.

    Args:
        root: where to start; attributes, lists, tuples and dictionaries are followed.
        nworld: number of worlds.
        skip_types: objects that are not followed.
        skip: addresses of storages that are not counted.
    """
    total, seen, waiting = 0, set(skip), [root]
    visited: set[int] = set()
    while waiting:
        part = waiting.pop()
        if isinstance(part, Tensor):
            storage = part.untyped_storage()
            if nworld in part.shape[:2] and storage.data_ptr() not in seen:
                seen.add(storage.data_ptr())
                total += storage.nbytes()
        elif id(part) in visited or isinstance(part, skip_types):
            continue
        else:
            visited.add(id(part))
            if isinstance(part, dict):
                waiting += part.values()
            elif isinstance(part, (list, tuple)):
                waiting += part
            elif type(part).__module__.split(".")[0] in ("agents", "mm_torch", "sim"):
                waiting += vars(part).values() if hasattr(part, "__dict__") else ()
    return total


def control_step(simulator: WarpSim) -> None:
    """Launch the kernels of one control step one by one, as if there were no graph.

    The results stay in the simulator's own arrays: nothing is handed out, overflows are not read.
    """
    with wp.ScopedDevice(simulator._wp_device):
        simulator._launch_step()


def count_launches(function: Callable[[], None]) -> Counter[str]:
    """Return how often `function` launches each kernel, by name.

    Launches over no threads, which Warp leaves out, are not counted; nor are memory operations
    (zeroing, copying). Where a solver loop ends early, so do its launches: the count is of the
    states at hand. Not to be used during a capture, or while other threads launch.
    """
    counts: Counter[str] = Counter()

    def counted(launch: Callable[..., object]) -> Callable[..., object]:
        def wrapper(kernel: wp.Kernel, *args: object, **kwargs: object) -> object:
            if _threads(args[0] if args else kwargs["dim"]):
                counts[_name(kernel)] += 1
            return launch(kernel, *args, **kwargs)

        return wrapper

    saved = wp.launch, wp.launch_tiled
    wp.launch, wp.launch_tiled = (counted(launch) for launch in saved)
    try:
        function()
    finally:
        wp.launch, wp.launch_tiled = saved
    return counts


def launches_per_step(simulator: WarpSim) -> Counter[str]:
    """Return the kernel launches of one control step; the worlds are put back afterwards."""
    with _put_back(simulator):
        return count_launches(lambda: control_step(simulator))


def _threads(dim: object) -> bool:
    return all(size > 0 for size in dim) if isinstance(dim, (tuple, list)) else bool(dim)


def _name(kernel: wp.Kernel) -> str:
    # A kernel made by a factory is called "kernel": its qualified name also tells the factory.
    name = kernel.func.__qualname__.replace(".<locals>.", ".")
    return f"{kernel.func.__module__.rsplit('.', 1)[-1]}.{name}"


def stage_functions() -> list[tuple[object, str, str]]:
    """Return (module, name, stage) of every place where a stage's function is looked up.

    A clock put around each of them measures the stages inside a real step. It measures the device
    only where launches are synchronous: on Warp's CPU device.

    Raises:
        RuntimeError: MuJoCo-Warp has no function of a name any more.
    """
    modules = [
        module
        for name, module in sys.modules.items()
        if name == "mujoco_warp" or name.startswith("mujoco_warp._src.")
    ]
    places = []
    for name, stage in STAGE_OF.items():
        found = [module for module in modules if _is_stage(vars(module).get(name))]
        if not found:
            raise RuntimeError(
                f"mujoco_warp {mjw.__version__} has no stage function {name!r}: update "
                f"sim.warp_profile.STAGE_OF"
            )
        places += [(module, name, stage) for module in found]
    return places


def _is_stage(candidate: object) -> bool:
    # Modules of the same name (mujoco_warp._src.island and so on) are no functions.
    return callable(candidate) and getattr(candidate, "__module__", "").startswith("mujoco_warp")


def traced_stages(simulator: WarpSim, steps: int) -> dict[str, float]:
    """Return seconds a control step of each stage, by the event trace of a graph of its own.

    Needs CUDA. The worlds advance by `steps` control steps under their present excitations, and
    are put back afterwards.

    Args:
        simulator: the worlds, on CUDA.
        steps: control steps to average over.

    Raises:
        ValueError: the simulator is on Warp's CPU device, which has no events.
    """
    device = simulator._wp_device
    if not device.is_cuda:
        raise ValueError("event traces need CUDA: put a clock around stage_functions() instead")
    totals: Counter[str] = Counter()
    with _put_back(simulator), warp_util.EventTracer() as tracer:
        step = WarpWork(simulator._launch_step, device)
        step.capture()
        for _ in range(steps):
            step()
            # The events of a graph hold the times of its last launch.
            wp.synchronize_device(device)
            totals.update(sum_stages(tracer.trace()))
    return {stage: seconds / steps for stage, seconds in totals.items()}


def capture_seconds(simulator: WarpSim) -> float | None:
    """Return the time to record a control step as a graph, kernels loaded; None on the CPU."""
    if not simulator._wp_device.is_cuda:
        return None
    start = time.perf_counter()
    WarpWork(simulator._launch_step, simulator._wp_device).capture()
    return time.perf_counter() - start


def sum_stages(trace: Trace, stage: str | None = None) -> dict[str, float]:
    """Return the seconds of each stage in a trace, those of functions of no stage under "rest".

    Args:
        trace: what `EventTracer.trace` returned.
        stage: that calls of unknown functions belong to.
    """
    totals: Counter[str] = Counter()
    for name, (milliseconds, inner) in trace.items():
        own = STAGE_OF.get(name, stage)
        within = sum(sum(calls) for calls, _ in inner.values())
        totals[own or "rest"] += (sum(milliseconds) - within) / 1000
        totals.update(sum_stages(inner, own))
    return dict(totals)


@contextmanager
def _put_back(simulator: WarpSim) -> Iterator[None]:
    """Restore the worlds and the counts of overflows: profiling steps are nobody's steps."""
    state, counts = simulator.state_dict(), simulator._monitor.counts.clone()
    try:
        yield
    finally:
        simulator.load_state_dict(state)
        simulator._monitor.poll()
        simulator._monitor.counts.copy_(counts)
