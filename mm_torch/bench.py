"""`python -m mm_torch.bench`: speed, memory and the cost of each stage, by number of worlds."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import mujoco
import torch
from omegaconf import DictConfig

from agents import PPO, ActorCritic
from agents.optimizers import PolicyOptimizer
from cfg import UserError, load_config
from mm_torch.build import make_embodiment, make_policy, make_ppo_config, make_task
from mm_torch.command_line import run_command, split_arguments
from mm_torch.env import ImitationEnv
from mm_torch.motion_library import MotionLibrary
from mm_torch.table import format_table
from sim.embodiment import Embodiment
from sim.mujoco_sim import MujocoSim

USAGE = """
usage: python -m mm_torch.bench cfg=NAME [nworld=N,N,...] [seconds=10] [key=value ...]

Measures control steps a second, over all worlds, of
  simulation   the simulator alone, random excitations
  environment  observation, reward, termination and resets around it, random actions
  training     policy, rollout and PPO update around that
for each number of worlds, and prints a row each; then the time of each stage of a training step,
and one JSON line with everything. Each is warmed up, then timed for at least `seconds`.
On MuJoCo-Warp also: device memory a world and kernel launches a control step. Start-up is the time
to make the task with its simulator; the first number of worlds also pays for loading kernels, or
for compiling them where no cache has them.
"""
PHASES = ("simulation", "environment", "training")
SIMULATION = (
    "kinematics", "tendon", "inertia", "collision", "constraint", "velocity", "actuation", "solve",
    "integrate", "rest of simulation",
)  # fmt: skip
STAGES = (*SIMULATION, "observation", "reward", "reset", "rest of environment", "policy", "update")
_TIMERS = {
    "kinematics": ("POS_KINEMATICS",),
    "inertia": ("POS_INERTIA",),
    "collision": ("POS_COLLISION",),
    "constraint": ("POS_MAKE", "POS_PROJECT"),
    "velocity": ("VELOCITY",),
    "actuation": ("ACTUATION",),
    "solve": ("CONSTRAINT",),
    "integrate": ("ADVANCE",),
}


def main(arguments: Sequence[str]) -> int:
    """Measure and print; return the exit status."""
    own, settings = split_arguments(arguments, ("seconds", "nworld"))
    try:
        seconds = float(own.get("seconds", 10))
    except ValueError as error:
        raise UserError(f"seconds={own['seconds']}: expected a number") from error
    sweep: list[list[str]] = [[]]
    if "nworld" in own:
        if any(setting.startswith("sim.nworld=") for setting in settings):
            raise UserError("nworld= and sim.nworld= are both given: give one of them")
        sweep = [[f"sim.nworld={count}"] for count in _counts(own["nworld"])]
    configs = [load_config([*settings, *count]) for count in sweep]
    if configs[0].torch_threads:
        torch.set_num_threads(configs[0].torch_threads)
    embodiment = make_embodiment(configs[0])
    records = [measure(config, seconds, embodiment) for config in configs]
    _print(records)
    print(json.dumps(records))
    return 0


def _counts(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise UserError(f"nworld={text}: expected numbers of worlds, such as 512,1024")
    return [int(part) for part in parts]


def measure(
    config: DictConfig, seconds: float, embodiment: Embodiment | None = None
) -> dict[str, object]:
    """Return the measurement of one number of worlds as plain values: see the keys below.

    Args:
        config: a complete configuration.
        seconds: to time each phase for, at least.
        embodiment: the body of the configuration, where the caller has it already.
    """
    embodiment = embodiment or make_embodiment(config)
    start = time.perf_counter()
    task = make_task(config, embodiment)
    startup = time.perf_counter() - start
    simulator = task.simulator
    env = ImitationEnv(task, seed=config.seed, start=config.reset.start)
    device, worlds = env.device, env.num_envs
    agent = PPO(
        make_policy(config, task), make_ppo_config(config, worlds), worlds, seed=config.seed
    )
    generator = torch.Generator(device).manual_seed(config.seed)
    obs = env.reset()

    def simulate() -> int:
        draw = torch.rand(worlds, env.action_dim, generator=generator, device=device)
        simulator.step(0.2 * draw)
        return worlds

    def interact() -> int:
        noise = torch.randn(worlds, env.action_dim, generator=generator, device=device)
        env.step(noise + config.network.init_mean)
        return worlds

    def train() -> int:
        nonlocal obs
        rollout, obs, _ = agent.collect(env, obs)
        agent.update(rollout)
        return worlds * config.agent.num_steps

    start = time.perf_counter()
    simulate()
    _wait(device)
    first_step = time.perf_counter() - start
    rates = {}
    for phase, action in zip(PHASES, (simulate, interact, train), strict=True):
        # Every phase starts on the reference: fallen bodies have other contacts, so other costs.
        obs = env.reset()
        rates[f"{phase}_steps_per_second"] = round(_rate(action, seconds, device), 1)
    obs = env.reset()
    stages, how = _stages(env, agent, simulate, train, seconds)
    record = {
        "embodiment": embodiment.name,
        "muscles": embodiment.model.nu,
        "nworld": worlds,
        "simulator": type(simulator).__name__,
        "machine": _machine(device),
        **rates,
        "startup_seconds": round(startup, 3),
        "first_step_seconds": round(first_step, 4),
        "stage_seconds_per_step": {name: round(stages[name], 7) for name in STAGES},
        "stages_measured_by": how,
        **_costs(env, agent),
    }
    simulator.close()
    return record


class StageClock:
    """Adds up the time of nested stages, that of an inner one taken from the outer.

    Attributes:
        seconds: of each stage so far.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds: Counter[str] = Counter()
        self._device = device
        self._open: list[str] = []
        self._last = 0.0

    @contextmanager
    def around(self, places: Iterable[tuple[object, str, str]]) -> Iterator[None]:
        """Time the functions (owner, attribute, stage) while the block runs."""
        saved = []
        try:
            for owner, name, stage in places:
                own = name in vars(owner)
                saved.append((owner, name, getattr(owner, name), own))
                setattr(owner, name, self._timed(getattr(owner, name), stage))
            yield
        finally:
            for owner, name, function, own in reversed(saved):
                setattr(owner, name, function) if own else delattr(owner, name)

    def _timed(self, function: Callable[..., object], stage: str) -> Callable[..., object]:
        def wrapper(*args: object, **kwargs: object) -> object:
            # A reset runs stages of the simulation: they are part of the reset.
            if self._open and self._open[-1] == "reset":
                return function(*args, **kwargs)
            self._turn()
            self._open.append(stage)
            try:
                return function(*args, **kwargs)
            finally:
                self._turn()
                self._open.pop()

        return wrapper

    def _turn(self) -> None:
        """Book the time since the last turn on the stage that is open."""
        _wait(self._device)
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._last
        self._last = now


def _stages(
    env: ImitationEnv,
    agent: PPO,
    simulate: Callable[[], int],
    train: Callable[[], int],
    seconds: float,
) -> tuple[dict[str, float], str]:
    """Return seconds per control step of all worlds by stage, and how they were measured."""
    task, device, worlds = env.task, env.device, env.num_envs
    simulator = task.simulator
    places = [
        (simulator, "step", "rest of simulation"), (simulator, "reset", "reset"),
        (task, "observe", "observation"), (task.reward, "terms", "reward"),
        (task.reward, "penalty", "reward"), (task.reward, "total", "reward"),
        (task, "termination", "reward"), (env, "step", "rest of environment"),
        (agent, "collect", "policy"), (agent, "update", "update"),
    ]  # fmt: skip
    on_mujoco = isinstance(simulator, MujocoSim)
    if not on_mujoco and device.type == "cpu":
        from sim.warp_profile import stage_functions

        places += stage_functions()
    clock = StageClock(device)
    with clock.around(places):
        samples, _ = _repeat(train, seconds, device)
    stages = {name: clock.seconds[name] * worlds / samples for name in STAGES}
    whole = stages["rest of simulation"]
    env.reset()
    if on_mujoco:
        how = "MuJoCo's timers; tendon and transmission by their share of it when called alone"
        parts = {
            name: share * whole
            for name, share in mujoco_shares(simulator, simulate, seconds).items()
        }
    elif device.type == "cuda":
        from sim.warp_profile import traced_stages

        how = "event trace of the captured graph"
        parts = traced_stages(simulator, steps=20)
        parts.pop("rest", None)
    else:
        return stages, "a clock around each function, outside a graph, one by one"
    stages |= parts
    stages["rest of simulation"] = max(0.0, whole - sum(parts.values()))
    return stages, how


def mujoco_shares(
    simulator: MujocoSim, simulate: Callable[[], int], seconds: float
) -> dict[str, float]:
    """Return the share of each stage in the time of `simulate`, which steps the simulator.

    MuJoCo's own timers run in every thread's MjData. Its kinematics timer includes tendon paths
    and moment arms: they get their shares in it, by timing them alone in the states at hand.
    """
    for data in simulator._data:
        for timer in data.timer:
            timer.duration = 0.0
    _, wall = _repeat(simulate, seconds, simulator.device)
    shares = {}
    for stage, timers in _TIMERS.items():
        indices = [int(getattr(mujoco.mjtTimer, f"mjTIMER_{timer}")) for timer in timers]
        spent = sum(data.timer[i].duration for data in simulator._data for i in indices)
        shares[stage] = spent / len(simulator._data) / wall
    # The closing refresh calls the functions of the kinematics timer once more, without it.
    refresh = 1.0 + simulator.options.refresh_derived / simulator.substeps
    positions, alone = shares.pop("kinematics") * refresh, _kinematics_alone(simulator)
    for stage, spent in alone.items():
        shares[stage] = shares.get(stage, 0.0) + positions * spent / sum(alone.values())
    return shares


def _kinematics_alone(simulator: MujocoSim) -> dict[str, float]:
    """Return the seconds of what MuJoCo's kinematics timer covers, over some of the worlds."""
    model, data, spent = simulator.model, mujoco.MjData(simulator.model), Counter()
    for state in simulator.state_dict()["state"][:16].numpy():
        mujoco.mj_setState(model, data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
        for stage, names in (
            ("kinematics", ("mj_kinematics", "mj_comPos", "mj_camlight", "mj_flex")),
            ("tendon", ("mj_tendon",)),
            ("actuation", ("mj_transmission",)),
        ):
            start = time.perf_counter()
            for name in names:
                getattr(mujoco, name)(model, data)
            spent[stage] += time.perf_counter() - start
    return spent


def _costs(env: ImitationEnv, agent: PPO) -> dict[str, object]:
    """Return what a step and a world cost on Warp's device; nothing for MuJoCo C."""
    simulator = env.task.simulator
    if isinstance(simulator, MujocoSim):
        return {}
    from sim import warp_profile

    # Networks and clips are there once, whatever the number of worlds.
    shared = (MotionLibrary, ActorCritic, PolicyOptimizer, Embodiment)
    memory = warp_profile.device_memory(simulator)
    sizes = {"simulator": memory.per_world}
    for name, root in (("environment", env), ("learner", agent)):
        held = warp_profile.tensor_bytes(root, env.num_envs, shared, memory.addresses)
        sizes[name] = held / env.num_envs
    launches = warp_profile.launches_per_step(simulator)
    return {
        "bytes_per_world": sizes | {"total": sum(sizes.values())},
        "capture_seconds": warp_profile.capture_seconds(simulator),
        "launches_per_step": launches.total(),
        "launches_by_kernel": dict(launches.most_common(10)),
    }


def _print(records: Sequence[dict]) -> None:
    first = records[0]
    print(f"{first['embodiment']}: {first['muscles']} muscles on {first['simulator']}, "
          f"{first['machine']}\n\ncontrol steps a second, and seconds to start")  # fmt: skip
    starts = {"start-up": "startup_seconds", "first step": "first_step_seconds",
              "capture": "capture_seconds"}  # fmt: skip
    print(format_table(("worlds", *PHASES, *starts), [
        (row["nworld"], *(f"{row[f'{phase}_steps_per_second']:,.0f}" for phase in PHASES),
         *("-" if row.get(key) is None else row[key] for key in starts.values()))
        for row in records
    ]))  # fmt: skip
    if "bytes_per_world" in first:
        print("\nbytes a world, and kernel launches a control step")
        print(format_table(("worlds", *first["bytes_per_world"], "launches"), [
            (row["nworld"], *(f"{size:,.0f}" for size in row["bytes_per_world"].values()),
             row["launches_per_step"])
            for row in records
        ]))  # fmt: skip
    print(f"\nms a control step of all worlds; simulation by {first['stages_measured_by']}")
    print(format_table(("stage", *(f"{row['nworld']} worlds" for row in records)), [
        (stage, *(f"{1000 * row['stage_seconds_per_step'][stage]:.3f}" for row in records))
        for stage in STAGES
    ]))  # fmt: skip


def _rate(action: Callable[[], int], seconds: float, device: torch.device) -> float:
    """Return control steps a second of an action that says how many it made."""
    action()
    count, elapsed = _repeat(action, seconds, device)
    return count / elapsed


def _repeat(action: Callable[[], int], seconds: float, device: torch.device) -> tuple[int, float]:
    """Repeat an action for at least `seconds`; return how many steps it made, and the time."""
    _wait(device)
    start, count = time.perf_counter(), 0
    while True:
        count += action()
        _wait(device)
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return count, elapsed


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{len(os.sched_getaffinity(0))} CPU cores ({platform.machine()})"


if __name__ == "__main__":
    sys.exit(run_command(main, USAGE))
