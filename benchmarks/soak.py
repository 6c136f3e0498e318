"""`python -m benchmarks.soak`: abuse of the environment, to find NaN, leaks and spreading faults.

The training environment is driven by random and adversarial excitations, worlds are reset at
random, and faults are injected: NaN in one world's velocity, an absurd velocity, and on MuJoCo-Warp
an overflow of a constraint buffer that is too small. Prints one JSON line; the exit status is 1 if
a NaN was handed out, a fault was missed, spread or survived its reset, or memory grew.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import mujoco
import numpy as np
import torch
from torch import Tensor

from agents.vec_env import StepResult
from cfg import UserError, load_config
from mm_torch.build import make_embodiment, make_task
from mm_torch.command_line import run_command, split_arguments
from mm_torch.env import ImitationEnv
from sim.embodiment import Embodiment
from sim.faults import KINDS
from sim.independent import joint_limits
from sim.simulator import Simulator

USAGE = """
usage: python -m benchmarks.soak [minutes=30] [cfg=bimanual] [key=value ...]

Abuses the training environment for the given time; see the module's text. Settings are those of
training; sim.backend=warp or mujoco chooses the simulator.
"""
PATTERNS = ("gentle", "uniform", "bang-bang", "all on", "alternating", "saturated noise")
_PATTERN_STEPS, _INJECT_EVERY, _OVERFLOW_EVERY, _RESET_SHARE = 100, 37, 400, 0.01
_TOLERANCE = 0.02  # growth of resident memory
_SENT = ("qpos", "qvel", "act", "ctrl", "site_pos", "site_rot", "site_vel", "muscle_length",
         "muscle_velocity", "muscle_force", "touch")  # fmt: skip


def excitations(
    pattern: str, step: int, shape: tuple[int, int], generator: torch.Generator
) -> Tensor:
    """Return excitations (nworld, nu) of a pattern, 0 to 1."""
    draw = torch.rand(shape, generator=generator)
    if pattern == "gentle":
        return 0.1 * draw
    if pattern == "bang-bang":
        return (draw < 0.5).float()
    if pattern == "all on":
        return torch.ones(shape)
    if pattern == "alternating":
        odd = torch.arange(shape[1]) % 2 == (step // 10) % 2
        return odd.float().expand(shape)
    if pattern == "saturated noise":
        return (0.5 + 5 * torch.randn(shape, generator=generator)).clamp(0, 1)
    return draw


def corrupt(simulator: Simulator, world: int, kind: str) -> None:
    """Write NaN (kind "nonfinite") or a huge velocity (kind "speed") into one world."""
    mask = torch.zeros(simulator.nworld, dtype=torch.bool)
    mask[world] = True
    qvel = simulator.qvel.clone()
    qvel[world, -1] = float("nan") if kind == "nonfinite" else 1e5
    simulator.reset(mask, simulator.qpos.clone(), qvel, simulator.act.clone())


def findings(result: StepResult, simulator: Simulator, expected: int | None) -> list[str]:
    """Return what is wrong with a step.

    Args:
        result: of the environment.
        simulator: after the step and the resets.
        expected: the world that a fault was injected into, or None.
    """
    faulty = torch.stack([result.info[f"fault_{kind}"] for kind in KINDS[1:]]).any(0)
    wrong = []
    if expected is not None:
        if not faulty[expected]:
            wrong.append("an injected fault was not noticed")
        if faulty.sum() > faulty[expected]:
            wrong.append("a fault spread to another world")
        if not result.terminated[expected]:
            wrong.append("a faulty world was not ended")
    sound = ~faulty
    for name in ("obs", "reward", "final_obs"):
        value = getattr(result, name)
        if not value[sound if name == "final_obs" else slice(None)].isfinite().all():
            wrong.append(f"{name} is not finite")
    wrong += [f"info {k} is not finite" for k, v in result.info.items() if not v.isfinite().all()]
    wrong += [k for k in _SENT if not getattr(simulator, k).isfinite().all()]
    if simulator.invalid.any():
        wrong.append("a world is faulty after its reset")
    return wrong


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


class Soak:
    """An environment under abuse, and the record of it."""

    def __init__(self, settings: Sequence[str], minutes: float) -> None:
        self.config = load_config(settings)
        self.body = make_embodiment(self.config)
        self.env = self._environment(self.config)
        self.seconds = 60 * minutes
        self.generator = torch.Generator().manual_seed(self.config.seed)
        self.steps, self.injected, self.noticed = 0, Counter(), Counter()
        self.natural, self.failures = Counter(), Counter()
        self.memory: list[tuple[float, int]] = []
        self.overflow = self._overflow_environment()

    def _environment(self, config) -> ImitationEnv:
        env = ImitationEnv(make_task(config, self.body), seed=config.seed)
        env.reset()
        return env

    def _overflow_environment(self) -> ImitationEnv | None:
        """Make a few worlds whose constraint buffer holds all poses but the worst one."""
        if not hasattr(self.env.task.simulator, "overflow_counts"):
            return None
        library = self.env.task.library
        clips = range(len(library))
        poses = [
            library.frames(torch.tensor(clip), torch.tensor(frame)).qpos.double().numpy()
            for clip in clips
            for frame in range(0, int(library.lengths[clip]), 10)
        ]
        usual = max(constraint_rows(self.body, pose) for pose in poses)
        worst = constraint_rows(self.body, _worst_pose(self.body))
        config = self.config.copy()
        config.sim.njmax, config.sim.nworld = (usual + worst) // 2, 3
        return self._environment(config)

    def run(self) -> dict[str, object]:
        """Go on until the time is over; return the record."""
        start, sampled = time.monotonic(), 0.0
        while (elapsed := time.monotonic() - start) < self.seconds:
            self.step()
            if elapsed - sampled > 1.0:
                self.memory.append((elapsed, resident_bytes()))
                sampled = elapsed
            if self.overflow is not None and self.steps % _OVERFLOW_EVERY == _OVERFLOW_EVERY // 2:
                self.overflow_step()
        return self.record()

    def step(self) -> None:
        """Take one step of the environment, with a fault injected into one world now and then."""
        env, simulator = self.env, self.env.task.simulator
        pattern = PATTERNS[self.steps // _PATTERN_STEPS % len(PATTERNS)]
        expected = None
        if self.steps % _INJECT_EVERY == _INJECT_EVERY - 1:
            kind = ("nonfinite", "speed")[self.steps // _INJECT_EVERY % 2]
            expected = int(torch.randint(env.num_envs, (), generator=self.generator))
            corrupt(simulator, expected, kind)
            self.injected[kind] += 1
        shape = (env.num_envs, env.action_dim)
        wanted = excitations(pattern, self.steps, shape, self.generator)
        result = env.step(wanted.clamp(1e-6, 1 - 1e-6).logit())
        self._note(result, simulator, expected)
        mask = torch.rand(env.num_envs, generator=self.generator) < _RESET_SHARE
        env.restart(mask)
        self.steps += 1

    def overflow_step(self) -> None:
        """Put one of the few worlds where its constraints do not fit, and take a step."""
        env, simulator = self.overflow, self.overflow.task.simulator
        env.reset()
        expected = int(torch.randint(env.num_envs, (), generator=self.generator))
        pose = torch.as_tensor(_worst_pose(self.body), dtype=torch.float32)
        mask = torch.arange(env.num_envs) == expected
        simulator.reset(mask, pose.expand_as(simulator.qpos), torch.zeros_like(simulator.qvel))
        self.injected["overflow"] += 1
        result = env.step(torch.full((env.num_envs, env.action_dim), -4.0))
        self._note(result, simulator, expected)

    def _note(self, result: StepResult, simulator: Simulator, expected: int | None) -> None:
        for kind in KINDS[1:]:
            marks = result.info[f"fault_{kind}"]
            self.noticed[kind] += int(marks[expected]) if expected is not None else 0
            self.natural[kind] += int(marks.sum()) - (
                int(marks[expected]) if expected is not None else 0
            )
        self.failures.update(findings(result, simulator, expected))

    def record(self) -> dict[str, object]:
        """Return what was seen; `ok` says whether all was well."""
        growth = memory_growth(self.memory)
        ok = not self.failures and (growth is None or growth < _TOLERANCE)
        ok &= sum(self.noticed.values()) == sum(self.injected.values())
        return {
            "ok": bool(ok),
            "embodiment": self.body.name,
            "simulator": type(self.env.task.simulator).__name__,
            "worlds": self.env.num_envs,
            "seconds": self.seconds,
            "environment_steps": self.steps,
            "injected": dict(self.injected),
            "noticed": {k: v for k, v in self.noticed.items() if v},
            "other_faults": {k: v for k, v in self.natural.items() if v},
            "failures": dict(self.failures),
            "resident_megabytes": round(self.memory[-1][1] / 1e6, 1) if self.memory else None,
            "memory_growth": growth,
        }


def memory_growth(samples: Sequence[tuple[float, int]]) -> float | None:
    """Return the relative growth of memory from the second fifth of the time to the last fifth."""
    if len(samples) < 10:
        return None
    end = samples[-1][0]
    early = [size for at, size in samples if 0.2 * end <= at < 0.4 * end]
    late = [size for at, size in samples if at >= 0.8 * end]
    return round(statistics.median(late) / statistics.median(early) - 1, 5)


def constraint_rows(body: Embodiment, qpos: np.ndarray) -> int:
    """Return how many constraint rows MuJoCo has in a pose (nq,)."""
    data = mujoco.MjData(body.model)
    data.qpos[:] = qpos
    mujoco.mj_forward(body.model, data)
    return data.nefc


def _worst_pose(body: Embodiment) -> np.ndarray:
    """Return (nq,) a pose in which every independent joint is a little past a limit."""
    lower, _ = joint_limits(body)
    qpos = body.model.qpos0.copy()
    finite = np.isfinite(lower)
    qpos[body.independent_qpos[finite]] = lower[finite] - 0.05
    return body.couplings.complete_qpos(qpos)


def main(arguments: Sequence[str]) -> int:
    """Run, print, and return the exit status."""
    own, settings = split_arguments(arguments, ("minutes",))
    try:
        minutes = float(own.get("minutes", 30))
    except ValueError as error:
        raise UserError(f"minutes={own['minutes']}: expected a number") from error
    if not any(setting.startswith("cfg=") for setting in settings):
        settings = ["cfg=bimanual", *settings]
    torch.set_num_threads(1)
    record = Soak(settings, minutes).run()
    print(json.dumps(record))
    return 0 if record["ok"] else 1


if __name__ == "__main__":
    sys.exit(run_command(main, USAGE))
