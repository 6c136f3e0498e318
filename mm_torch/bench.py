"""`python -m mm_torch.bench`: control steps a second of simulation, environment and training."""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable, Sequence

import torch
from omegaconf import DictConfig

from agents import PPO
from cfg import UserError, load_config
from mm_torch.build import make_embodiment, make_policy, make_ppo_config, make_task
from mm_torch.command_line import run_command, split_arguments
from mm_torch.env import ImitationEnv
from mm_torch.table import format_table

USAGE = """
usage: python -m mm_torch.bench cfg=NAME [seconds=10] [key=value ...]

Measures control steps a second, over all worlds, of
  simulation   the simulator alone, random excitations
  environment  observation, reward, termination and resets around it, random actions
  training     policy, rollout and PPO update around that
and prints a table and one JSON line. Each is warmed up, then timed for at least `seconds`.
"""


def main(arguments: Sequence[str]) -> int:
    """Measure and print; return the exit status."""
    own, settings = split_arguments(arguments, ("seconds",))
    try:
        seconds = float(own.get("seconds", 10))
    except ValueError as error:
        raise UserError(f"seconds={own['seconds']}: expected a number") from error
    config = load_config(settings)
    if config.torch_threads:
        torch.set_num_threads(config.torch_threads)
    record = measure(config, seconds)
    rows = [
        (stage, f"{record[f'{stage}_steps_per_second']:,.0f}",
         f"{1000 * record['nworld'] / record[f'{stage}_steps_per_second']:.2f}")
        for stage in ("simulation", "environment", "training")
    ]  # fmt: skip
    print(
        f"{record['embodiment']}: {record['muscles']} muscles, {record['nworld']} worlds on "
        f"{record['simulator']}, {record['machine']}"
    )
    print(format_table(("stage", "control steps/s", "ms a step of all worlds"), rows))
    print(json.dumps(record))
    return 0


def measure(config: DictConfig, seconds: float) -> dict[str, object]:
    """Return the measurement as plain values."""
    embodiment = make_embodiment(config)
    task = make_task(config, embodiment)
    env = ImitationEnv(task, seed=config.seed, start=config.reset.start)
    policy = make_policy(config, task)
    device, worlds = env.device, env.num_envs
    agent = PPO(policy, make_ppo_config(config, worlds), worlds, seed=config.seed)
    generator = torch.Generator(device).manual_seed(config.seed)
    obs = env.reset()

    def simulate() -> int:
        draw = torch.rand(worlds, env.action_dim, generator=generator, device=device)
        task.simulator.step(0.2 * draw)
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

    rates = {}
    for stage, action in (("simulation", simulate), ("environment", interact), ("training", train)):
        # Every stage starts on the reference: fallen bodies have other contacts, so other costs.
        obs = env.reset()
        rates[f"{stage}_steps_per_second"] = round(_rate(action, seconds, device), 1)
    name = type(task.simulator).__name__
    task.simulator.close()
    return {
        "embodiment": embodiment.name,
        "muscles": embodiment.model.nu,
        "nworld": worlds,
        "simulator": name,
        "machine": _machine(device),
        **rates,
    }


def _rate(action: Callable[[], int], seconds: float, device: torch.device) -> float:
    """Return control steps a second of an action that says how many it made."""
    action()
    _wait(device)
    start, count = time.perf_counter(), 0
    while True:
        count += action()
        _wait(device)
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return count / elapsed


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    import os

    return f"{len(os.sched_getaffinity(0))} CPU cores ({platform.machine()})"


if __name__ == "__main__":
    sys.exit(run_command(main, USAGE))
