"""`python -m mm_torch.bench`: speed, memory and the cost of each stage, by number of worlds."""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Sequence

import torch
from omegaconf import DictConfig

from agents import PPO, ActorCritic
from agents.optimizers import PolicyOptimizer
from cfg import UserError, load_config
from mm_torch.build import make_agent, make_embodiment, make_env, make_task
from mm_torch.command_line import run_command, split_arguments
from mm_torch.env import ImitationEnv
from mm_torch.motion_library import MotionLibrary
from mm_torch.stage_clock import rate, wait
from mm_torch.stage_times import STAGES, stage_times
from mm_torch.table import format_table
from sim.cores import available_cores
from sim.embodiment import Embodiment
from sim.mujoco_sim import MujocoSim

USAGE = """
usage: python -m mm_torch.bench cfg=NAME [nworld=N,N,...] [seconds=10] [key=value ...]

Measures control steps a second, over all worlds, of
  simulation   the simulator alone, random excitations
  environment  observation, reward, termination and resets around it, random actions
  training     policy, rollout and update (agent=ppo or amp) around that
for each number of worlds, and prints a row each; then the time of each stage of a training step,
and one JSON line with everything. Each is warmed up, then timed for at least `seconds`.
On MuJoCo-Warp also: device memory a world and kernel launches a control step. Start-up is the time
to make the task with its simulator; the first number of worlds also pays for loading kernels, or
for compiling them where no cache has them.
"""
PHASES = ("simulation", "environment", "training")


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
    env = make_env(config, task)
    device, worlds = env.device, env.num_envs
    agent = make_agent(config, task)
    if not isinstance(agent, PPO):
        raise UserError(
            f"agent.name={config.agent.name}: bench times agents that collect and learn in turns: "
            f"ppo or amp"
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
    wait(device)
    first_step = time.perf_counter() - start
    rates = {}
    for phase, action in zip(PHASES, (simulate, interact, train), strict=True):
        # Every phase starts on the reference: fallen bodies have other contacts, so other costs.
        obs = env.reset()
        rates[f"{phase}_steps_per_second"] = round(rate(action, seconds, device), 1)
    obs = env.reset()
    stages, how = stage_times(env, agent, simulate, train, seconds)
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


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{available_cores()} CPU cores ({platform.machine()})"


if __name__ == "__main__":
    sys.exit(run_command(main, USAGE))
