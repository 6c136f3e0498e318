"""Every setting: its type, its default, one line that says what it is, what it may be.

The YAML files and the command line may set these keys and no others. Those of the task and of the
agents are in files of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

from cfg.agent_schema import (
    AgentConfig,
    AmpConfig,
    NetworkConfig,
    PretrainingConfig,
    WorldModelConfig,
)
from cfg.option import opt, section
from cfg.task_schema import (
    ActionConfig,
    Kernel,
    ObservationConfig,
    ResetConfig,
    RewardConfig,
    TaskConfig,
    TerminationConfig,
)

__all__ = [
    "ActionConfig",
    "AgentConfig",
    "AmpConfig",
    "Config",
    "Kernel",
    "NetworkConfig",
    "ObservationConfig",
    "PretrainingConfig",
    "RandomizationConfig",
    "ResetConfig",
    "RewardConfig",
    "RunConfig",
    "SimConfig",
    "TaskConfig",
    "TerminationConfig",
    "WorldModelConfig",
]


@dataclass
class SimConfig:
    backend: str = opt(
        "auto",
        "simulator: warp, mujoco, or auto (warp with CUDA, else mujoco)",
        choices=("auto", "warp", "mujoco"),
    )
    nworld: int | None = opt(
        None,
        "worlds simulated in parallel; null = nworld_cuda on CUDA, nworld_cpu elsewhere",
        low=1,
    )
    nworld_cuda: int = opt(4096, "worlds on CUDA, where sim.nworld is null", low=1)
    nworld_cpu: int = opt(32, "worlds on the CPU, where sim.nworld is null", low=1)
    threads: int = opt(0, "threads of the mujoco backend; 0 = one a core", low=0)
    timestep: float | None = opt(None, "physics time step (s); null = the model's (0.002)", above=0)
    iterations: int | None = opt(None, "cap on solver iterations; null = the model's (100)", low=1)
    ls_iterations: int | None = opt(
        None, "cap on line-search iterations; null = the model's (50)", low=1
    )
    euler_damping: bool = opt(True, "integrate joint damping implicitly (MuJoCo's default)")
    refresh_derived: bool = opt(
        True, "recompute sites and muscles after integration; false leaves them one substep behind"
    )
    nconmax: int | None = opt(
        None, "contact budget a world on Warp; null = measured default", low=1
    )
    njmax: int | None = opt(
        None, "constraint budget a world on Warp; null = measured default", low=1
    )
    lean: bool = opt(
        True, "leave what is only displayed, and sensors that are not read, out of Warp's model"
    )
    reset_touch: bool = opt(
        True, "solve contacts for touch after a reset; false = 0 until the next step, and cheaper"
    )
    deterministic: bool = opt(
        False, "equal results from run to run on Warp with CUDA, slower; mujoco is so anyway"
    )


@dataclass
class RandomizationConfig:
    mass: list[float] | None = opt(None, "[lo, hi]: factor of all masses and inertias")
    friction: list[float] | None = opt(None, "[lo, hi]: factor of all contact friction")
    strength: list[float] | None = opt(None, "[lo, hi]: factor of all peak muscle forces")
    time_constants: list[float] | None = opt(
        None, "[lo, hi]: factor of the time constants of activation and deactivation"
    )
    gravity: list[float] | None = opt(None, "[lo, hi]: factor of gravity")
    damping: list[float] | None = opt(None, "[lo, hi]: factor of joint damping")
    weakness: dict[str, float] = opt(
        {}, "fixed factor of peak force by muscle or group: {hamstrings_left: 0.5, soleus_r: 0}"
    )


@dataclass
class RunConfig:
    root: str = opt("runs", "folder of all runs")
    dir: str | None = opt(None, "folder of this run; null = ROOT/NAME/DATE-TIME")
    minutes: float | None = opt(
        None,
        "stop after so many minutes of collecting and learning; the learning rates then end with "
        "the minutes or with total_steps, whichever is first; null = total_steps alone",
        above=0,
    )
    checkpoint_interval: int = opt(25, "iterations between checkpoints", low=1)
    evaluate_interval: int = opt(0, "iterations between evaluations; 0 = at the end only", low=0)
    evaluate_worlds: int = opt(
        0, "worlds of an evaluation; 0 = one a clip, at most sim.nworld", low=0
    )
    evaluate_to_end: bool = opt(
        False, "evaluations play on after a termination: errors are over whole clips"
    )
    progress_interval: float = opt(
        5.0, "seconds between progress lines when not on a terminal", low=0.0
    )


@dataclass
class Config:
    name: str = opt("run", "name of the run's folder")
    embodiment: str = opt(
        "bimanual", "body: fullbody or bimanual", choices=("fullbody", "bimanual")
    )
    fingers: bool = opt(False, "fingers with joints and muscles")
    phantom_inertia: float = opt(
        0.01,
        "rotational inertia (kg m²) of each of the eight bodies of 1 g that carry the shoulders' "
        "joints; 1 stands for the published body as it is, its trunk too heavy to turn and a left "
        "back muscle on the right. Activations of motions made for another body are found anew",
        low=0.001,
        high=1.0,
    )
    motions: str = opt("demo", "motion sets, with commas between: folders, motion files, or demo")
    mdp: str = opt("default", "observation, reward, termination preset: default or musclemimic")
    seed: int = opt(1, "seed of everything random", low=0, high=2**32 - 1)
    device: str = opt("auto", "torch device: auto, cpu, cuda")
    total_steps: int = opt(
        1_000_000,
        "control steps to train for, over all worlds, after a first lesson; 0 = it alone",
        low=0,
    )
    torch_threads: int = opt(0, "torch CPU threads; 0 = torch's own choice", low=0)
    sim: SimConfig = section(SimConfig, "simulator")
    randomization: RandomizationConfig = section(
        RandomizationConfig,
        "physics drawn anew for each episode, uniformly and for the whole body; not in evaluation "
        "(but weakness is)",
    )
    action: ActionConfig = section(ActionConfig, "how actions become excitations")
    observation: ObservationConfig = section(ObservationConfig, "observation terms")
    reward: RewardConfig = section(RewardConfig, "reward terms: weight * exp(-sharpness * d)")
    termination: TerminationConfig = section(TerminationConfig, "when an episode ends")
    evaluation: TerminationConfig = section(
        TerminationConfig, "when a clip ends early in evaluation and playback"
    )
    reset: ResetConfig = section(ResetConfig, "where an episode starts")
    network: NetworkConfig = section(NetworkConfig, "policy and value networks")
    task: TaskConfig = section(TaskConfig, "what the body is asked to do")
    amp: AmpConfig = section(
        AmpConfig, "discriminator and weights of agent.name=amp, on top of PPO"
    )
    pretraining: PretrainingConfig = section(
        PretrainingConfig, "a policy's first lesson, before either agent trains it"
    )
    agent: AgentConfig = section(AgentConfig, "PPO")
    world_model: WorldModelConfig = section(
        WorldModelConfig, "the agent that learns a model of the body (agent=world_model)"
    )
    run: RunConfig = section(RunConfig, "output and bookkeeping")
