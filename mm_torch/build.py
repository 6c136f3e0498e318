"""Makes the parts of a run from its configuration."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from agents import PPO, ActorCritic, PPOConfig
from agents.amp import AMP, AMPConfig
from agents.world_model import WorldModelAgent, WorldModelConfig
from cfg import UserError
from mm_torch.action import INVERSES, MAPPINGS
from mm_torch.env import ImitationEnv
from mm_torch.goal_task import GoalTask
from mm_torch.imagined_task import ImaginedImitation
from mm_torch.motion_library import MotionLibrary
from mm_torch.randomization import parameter_ranges, weakened_body
from mm_torch.style import Judge, make_judge
from mm_torch.task import ImitationTask
from mm_torch.task_state import Layout
from retarget.activations import has_activations, with_activations
from retarget.motion import Motion
from retarget.motion_set import load_motion_set
from sim.embodiment import Embodiment, load_embodiment
from sim.simulator import SimOptions, make_simulator, resolve_backend


def demo_folder(embodiment: str) -> Path:
    """Return the folder of the demo motions, in a checkout or in an installed package."""
    here = Path(__file__).resolve().parent.parent
    for folder in (here / "data" / "demo", here / "mm_torch_data" / "demo"):
        if (folder / embodiment).is_dir():
            return folder / embodiment
    raise UserError(f"no demo motions of {embodiment}: make them with python -m retarget.demo")


def load_motions(sets: str, embodiment: Embodiment) -> list[Motion]:
    """Read the clips of motion sets, of all of them after one another.

    Args:
        sets: folders, files or "demo", with commas between them.
        embodiment: the body that every clip must fit.

    Raises:
        UserError: an unusable set, or two clips of one name.
    """
    # A path may have a comma of its own.
    names = [sets] if Path(sets).exists() else sets.split(",")
    folders = [demo_folder(embodiment.name) if n == "demo" else Path(n) for n in names]
    motions = [motion for folder in folders for motion in load_motion_set(folder, embodiment)]
    for name, count in Counter(motion.name for motion in motions).items():
        if count > 1:
            raise UserError(
                f"motions={sets}: {count} clips are called {name}: leave all but one out"
            )
    return motions


def make_embodiment(config: DictConfig) -> Embodiment:
    """Return the body that a configuration asks for."""
    return load_embodiment(config.embodiment, config.fingers, config.phantom_inertia)


def number_of_worlds(config: DictConfig) -> int:
    """Return how many worlds a configuration simulates: many on CUDA, few on a CPU.

    Raises:
        UserError: unknown backend or device.
    """
    if config.sim.nworld is not None:
        return config.sim.nworld
    _, device = _resolve(config)
    return config.sim.nworld_cuda if device.type == "cuda" else config.sim.nworld_cpu


def _resolve(config: DictConfig) -> tuple[str, torch.device]:
    try:
        return resolve_backend(config.sim.backend, config.device)
    except ValueError as error:
        raise UserError(str(error)) from error


def make_task(
    config: DictConfig,
    embodiment: Embodiment,
    nworld: int | None = None,
    evaluation: bool = False,
) -> ImitationTask:
    """Return the task that a configuration asks for, on its simulator and motion set.

    Args:
        config: a complete configuration.
        embodiment: the body.
        nworld: number of worlds in place of the configuration's; 0 = one a clip, at most that.
        evaluation: whether the termination rules are those of evaluation, and the body is the
            same in every world.

    Raises:
        UserError: an unusable motion set, backend, term or randomization.
    """
    motions = load_motions(config.motions, embodiment)
    embodiment = weakened_body(config, embodiment)
    if config.reset.activation == "statics":
        motions = _explained(motions, embodiment)
    most = number_of_worlds(config)
    nworld = most if nworld is None else nworld or min(len(motions), most)
    settings = OmegaConf.to_container(config.sim)
    for key in ("backend", "nworld", "nworld_cuda", "nworld_cpu"):
        settings.pop(key)
    settings["parameter_ranges"] = {} if evaluation else parameter_ranges(config)
    backend, device = _resolve(config)
    library = MotionLibrary(motions, Layout.of(embodiment, device), device)
    try:
        simulator = make_simulator(embodiment, nworld, backend, str(device), SimOptions(**settings))
    except ValueError as error:
        raise UserError(str(error)) from error
    kind = ImitationTask if config.task.name == "imitation" else GoalTask
    return kind(config, simulator, library, evaluation)


def _explained(motions: Sequence[Motion], embodiment: Embodiment) -> list[Motion]:
    """Every motion with the activations by which this body makes it."""
    missing = [motion for motion in motions if not has_activations(motion, embodiment)]
    if missing:
        warnings.warn(
            f"{len(missing)} of {len(motions)} motions ({sum(map(len, missing))} frames) have no "
            f"activations of this body: finding them takes up to 20 ms a frame on one core; "
            f"python -m retarget writes them to its files",
            stacklevel=3,
        )
    return [with_activations(motion, embodiment) for motion in motions]


def make_env(config: DictConfig, task: ImitationTask) -> ImitationEnv:
    """Return the training environment, with the judge that agent.name=amp needs."""
    judge = _judge(config, task) if config.agent.name == "amp" else None
    return ImitationEnv(task, seed=config.seed, start=config.reset.start, judge=judge)


def _judge(config: DictConfig, task: ImitationTask) -> Judge:
    if config.amp.kind == "add" and isinstance(task, GoalTask):
        raise UserError(
            f"amp.kind=add: judges tracking errors, which task.name={config.task.name} does not "
            f"have: use amp.kind=amp, or task.name=imitation"
        )
    return make_judge(config.amp.kind, task)


def make_policy(config: DictConfig, task: ImitationTask) -> ActorCritic:
    """Return the untrained policy; the same seed gives the same weights.

    Raises:
        UserError: network settings out of range.
    """
    network = OmegaConf.to_container(config.network)
    generator = torch.Generator().manual_seed(config.seed)
    try:
        policy = ActorCritic(task.obs_dim, task.action_dim, generator=generator, **network)
    except ValueError as error:
        raise UserError(f"network: {error}") from error
    return policy.to(task.simulator.device)


def make_ppo_config(config: DictConfig, worlds: int) -> PPOConfig:
    """Return PPO's hyperparameters for a number of worlds.

    A pass over the rollout is split into as many equal minibatches as leave each at least
    `agent.minibatch_size` samples, so that any number of worlds trains.

    Raises:
        UserError: a value out of range.
    """
    settings = OmegaConf.to_container(config.agent)
    settings.pop("name")
    samples = settings["num_steps"] * worlds
    most = max(1, samples // settings.pop("minibatch_size"))
    if settings["optimizer"] == "auto":
        settings["optimizer"] = "muon" if _resolve(config)[1].type == "cuda" else "adam"
    settings["minibatches"] = next(n for n in range(most, 0, -1) if samples % n == 0)
    try:
        return PPOConfig(**settings)
    except ValueError as error:
        raise UserError(f"agent: {error}") from error


def make_agent(config: DictConfig, task: ImitationTask) -> PPO | AMP | WorldModelAgent:
    """Return the untrained agent that a configuration asks for.

    Raises:
        UserError: settings out of range, or terms that the agent cannot do with.
    """
    worlds = task.simulator.nworld
    policy = make_policy(config, task)
    if config.agent.name == "ppo":
        return PPO(policy, make_ppo_config(config, worlds), worlds, seed=config.seed)
    if config.agent.name == "amp":
        judge = _judge(config, task)
        try:
            amp = AMPConfig(**OmegaConf.to_container(config.amp))
        except ValueError as error:
            raise UserError(f"amp: {error}") from error
        return AMP(
            policy, make_ppo_config(config, worlds), amp, worlds, judged_dim=judge.dim,
            expert=judge.expert, judged_name=judge.name, seed=config.seed,
        )  # fmt: skip
    if isinstance(task, GoalTask):
        raise UserError(
            f"agent=world_model: imagines the imitation task only, not task.name={config.task.name}"
        )
    mapping = config.action.mapping
    if mapping not in INVERSES:
        raise UserError(
            f"action.mapping={mapping}: agent=world_model needs one of {', '.join(INVERSES)}"
        )
    settings = OmegaConf.to_container(config.world_model)
    settings["model_hidden"] = tuple(settings["model_hidden"])
    try:
        hyperparameters = WorldModelConfig(**settings)
    except ValueError as error:
        raise UserError(f"world_model: {error}") from error
    imagined = ImaginedImitation(
        task, OmegaConf.to_object(config.observation), config.world_model.objective
    )
    return WorldModelAgent(
        policy, make_policy(config, task), imagined.physics, imagined, hyperparameters, worlds,
        excite=MAPPINGS[mapping], unexcite=INVERSES[mapping], seed=config.seed,
    )  # fmt: skip
