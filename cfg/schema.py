"""Every setting: its type, its default and one line that says what it is.

The YAML files and the command line may set these keys and no others. Which observation, reward and
termination terms are on, and with what weights, is set by the MDP presets in cfg/mdp/.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def opt(default: Any, text: str) -> Any:
    """A field with a default and a line of documentation."""
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata={"help": text})
    return field(default=default, metadata={"help": text})


def section(cls: type, text: str) -> Any:
    """A nested group of settings."""
    return field(default_factory=cls, metadata={"help": text})


@dataclass
class SimConfig:
    backend: str = opt("auto", "simulator: warp, mujoco, or auto (warp with CUDA, else mujoco)")
    nworld: int | None = opt(
        None, "worlds simulated in parallel; null = nworld_cuda on CUDA, nworld_cpu elsewhere"
    )
    nworld_cuda: int = opt(4096, "worlds on CUDA, where sim.nworld is null")
    nworld_cpu: int = opt(32, "worlds on the CPU, where sim.nworld is null")
    threads: int = opt(0, "threads of the mujoco backend; 0 = one a core")
    timestep: float | None = opt(None, "physics time step (s); null = the model's (0.002)")
    iterations: int | None = opt(None, "cap on solver iterations; null = the model's (100)")
    ls_iterations: int | None = opt(None, "cap on line-search iterations; null = the model's (50)")
    euler_damping: bool = opt(True, "integrate joint damping implicitly (MuJoCo's default)")
    refresh_derived: bool = opt(
        True, "recompute sites and muscles after integration; false leaves them one substep behind"
    )
    nconmax: int | None = opt(None, "contact budget a world on Warp; null = measured default")
    njmax: int | None = opt(None, "constraint budget a world on Warp; null = measured default")
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
class ActionConfig:
    mapping: str = opt(
        "sigmoid",
        "raw action to excitation: sigmoid, linear (clip (a+1)/2), or musclemimic (clip a to ±1)",
    )


@dataclass
class ObservationConfig:
    # The order of these fields is the order of the entries in the observation.
    root_height: bool = opt(False, "root height (m), 1")
    root_quaternion: bool = opt(False, "root quaternion in the world, w first, 4")
    root_tilt: bool = opt(False, "root orientation relative to its heading, two columns, 6")
    joint_pos_all: bool = opt(False, "every joint but the root (rad, m)")
    joint_pos: bool = opt(False, "independent joints (rad)")
    root_velocity_world: bool = opt(False, "root qvel: linear in the world, angular in the body, 6")
    root_velocity: bool = opt(False, "root velocity, linear then angular, heading frame, 6")
    joint_vel_all: bool = opt(False, "velocity of every joint but the root")
    joint_vel: bool = opt(False, "velocity of the independent joints (rad/s)")
    root_acceleration: bool = opt(False, "of root_velocity, mean over the last step, 6")
    joint_acceleration: bool = opt(False, "of joint_vel, mean over the last step (rad/s²)")
    muscle_length: bool = opt(False, "musculotendon lengths (m)")
    muscle_velocity: bool = opt(False, "musculotendon velocities (m/s)")
    muscle_force: bool = opt(False, "muscle forces (N)")
    muscle_excitation: bool = opt(False, "excitations last applied")
    muscle_activation: bool = opt(False, "activations")
    touch: bool = opt(False, "foot touch sensors (N), 4")
    site_pos_world: bool = opt(False, "mimic sites relative to the main one, world axes")
    site_pos: bool = opt(False, "mimic sites relative to the main one, heading frame (m)")
    site_rot: bool = opt(False, "rotation vectors from the main site to the others (rad)")
    site_vel_musclemimic: bool = opt(
        False, "relative site velocities in MuscleMimic's mixed frames"
    )
    site_vel: bool = opt(False, "site velocities relative to the main one, heading frame")
    root_pos_error: bool = opt(False, "reference minus body root position, heading frame (m), 3")
    root_rot_error: bool = opt(False, "rotation vector from body to reference root (rad), 3")
    joint_pos_error: bool = opt(False, "reference minus body, independent joints (rad)")
    joint_vel_error: bool = opt(False, "reference minus body, independent joints (rad/s)")
    ahead_musclemimic_fullbody: bool = opt(False, "MuscleMimic's concise look-ahead (full body)")
    ahead_musclemimic_bimanual: bool = opt(False, "MuscleMimic's look-ahead (arms)")
    ahead_root_pos: bool = opt(False, "look-ahead: root relative to the body's, heading frame (m)")
    ahead_root_rot: bool = opt(False, "look-ahead: root orientation from the body's heading, 6")
    ahead_root_vel: bool = opt(False, "look-ahead: root velocity in the body's heading frame, 6")
    ahead_joint_pos: bool = opt(False, "look-ahead: independent joints minus the body's (rad)")
    ahead_joint_vel: bool = opt(False, "look-ahead: independent joint velocities (rad/s)")
    ahead_site_pos: bool = opt(False, "look-ahead: relative mimic sites, body's heading frame (m)")
    ahead_activation: bool = opt(False, "activations by statics of the reference's next frame")
    phase: bool = opt(False, "frame over clip length, 1")
    lookahead_steps: int = opt(5, "look-ahead frames, the current one included")
    lookahead_stride: int = opt(20, "control steps between look-ahead frames")


@dataclass
class Kernel:
    weight: float = opt(0.0, "weight of the term; 0 switches it off")
    sharpness: float = opt(1.0, "b in exp(-b d)")


@dataclass
class RewardConfig:
    joint_pos: Kernel = section(Kernel, "independent joint positions, mean square (rad²)")
    joint_vel: Kernel = section(Kernel, "independent joint velocities, mean square")
    root_pos: Kernel = section(Kernel, "root position, mean square (m²)")
    root_rot: Kernel = section(Kernel, "root orientation, squared geodesic angle (rad²)")
    root_vel: Kernel = section(Kernel, "root velocity, linear and angular, mean square")
    site_pos: Kernel = section(Kernel, "relative site positions, mean square (m²)")
    site_rot: Kernel = section(Kernel, "relative site orientations, mean square angle (rad²)")
    site_vel_ang: Kernel = section(Kernel, "relative angular site velocities, mean square")
    site_vel_lin: Kernel = section(Kernel, "relative linear site velocities, mean square")
    mm_qpos: Kernel = section(Kernel, "MuscleMimic: all of qpos, followers included")
    mm_qvel: Kernel = section(Kernel, "MuscleMimic: all of qvel, followers included")
    mm_root_vel: Kernel = section(Kernel, "MuscleMimic: root velocity, linear in the root frame")
    mm_rquat: Kernel = section(Kernel, "MuscleMimic: difference of relative rotation vectors")
    mm_rvel_rot: Kernel = section(Kernel, "MuscleMimic: relative angular velocity, mixed frames")
    mm_rvel_lin: Kernel = section(Kernel, "MuscleMimic: relative linear velocity, mixed frames")
    action_bounds: float = opt(0.0, "penalty on mean squared excess of |action| over 1")
    action_rate: float = opt(0.0, "penalty on mean squared change of excitation a step")
    activation_energy: float = opt(0.0, "penalty on mean squared activation")
    joint_acceleration: float = opt(0.0, "penalty on summed squared joint velocity change / dt")
    penalty_floor: float = opt(-1.0, "the penalties together never take off more than this")


@dataclass
class TerminationConfig:
    site_deviation: float | None = opt(
        None, "end when relative sites are off by more than this on average (m)"
    )
    site_deviation_world: float | None = opt(
        None, "end when world sites are off by more than this on average (m)"
    )
    root_deviation: float | None = opt(None, "end when the main site is off by more (m)")
    root_rotation: float | None = opt(None, "end when the root is turned by more (rad)")
    max_steps: int = opt(1000, "truncate an episode after this many control steps")


@dataclass
class ResetConfig:
    start: str = opt(
        "random",
        "first frame of an episode: random, first (of the clip), or failures (more often where "
        "episodes fail)",
    )
    activation: str = opt(
        "statics",
        "initial activation: zero, constant, or statics (static optimisation of the reference)",
    )
    activation_level: float = opt(0.05, "activation with activation=constant")


@dataclass
class NetworkConfig:
    actor_hidden: list[int] = opt([256, 256], "hidden widths of the policy")
    critic_hidden: list[int] = opt([256, 256], "hidden widths of the value function")
    residual: str = opt("none", "residual blocks: none, fixed or gated")
    direct: bool = opt(False, "add a linear path from observation to action to the policy")
    init_mean: float = opt(0.0, "initial mean of the raw action")
    init_std: float = opt(1.0, "initial standard deviation of the raw action")
    min_std: float = opt(0.01, "lower bound of the standard deviation")
    max_std: float = opt(5.0, "upper bound of the standard deviation")
    obs_clip: float = opt(10.0, "normalised observations are clipped to ± this")


@dataclass
class AgentConfig:
    name: str = opt("ppo", "the learner: ppo, world_model or amp; agent=NAME loads its preset")
    num_steps: int = opt(20, "control steps a world in each iteration")
    epochs: int = opt(1, "passes over the rollout")
    minibatch_size: int = opt(1280, "least samples of a gradient step; a pass has equal shares")
    gamma: float = opt(0.99, "discount a control step")
    lam: float = opt(0.95, "lambda of generalized advantage estimation")
    clip: float = opt(0.2, "PPO clip range of the probability ratio")
    value_clip: float | None = opt(0.2, "clip range of the value update; null = no limit")
    value_coef: float = opt(0.5, "weight of the value loss")
    critic_warmup: int = opt(
        0, "first iterations that train the critic alone, for a policy that was trained elsewhere"
    )
    entropy_coef: float = opt(0.0, "weight of the entropy bonus")
    max_grad_norm: float = opt(1.0, "global gradient norm is clipped to this")
    optimizer: str = opt(
        "auto",
        "muon (hidden matrices by Muon, the rest by Adam), adam, or auto: muon on CUDA, adam on a "
        "CPU, which takes a second for Muon's step of a wide network",
    )
    lr: float = opt(4e-4, "learning rate of Adam")
    critic_lr: float | None = opt(
        None, "learning rate of the critic, by Adam, untouched by an adaptive schedule; null = lr"
    )
    muon_lr: float = opt(4e-4, "learning rate of Muon")
    muon_momentum: float = opt(0.95, "momentum of Muon")
    noise_correlation: float = opt(
        0.0, "correlation of the action noise from step to step; 0 = white"
    )
    schedule: str = opt(
        "linear",
        "learning-rate schedule: linear, constant, or adaptive (keeps the KL near desired_kl)",
    )
    lr_floor: float = opt(0.05, "last learning rate as a fraction of the first")
    normalize_advantage: bool = opt(True, "advantages are standardised in each minibatch")
    desired_kl: float | None = opt(None, "skip further epochs above this KL; null = never")
    reward_scaling: bool = opt(False, "divide rewards by the running std of the return")
    mixed_precision: bool = opt(False, "networks in bfloat16")


@dataclass
class TaskConfig:
    name: str = opt("imitation", "imitation, reach (bimanual), steer or location (fullbody)")
    resample: list[float] = opt([2.0, 4.0], "[lo, hi]: seconds until a new command, in training")
    hold: float = opt(0.5, "success is to stay within the goal's tolerance for so long (s)")
    episodes: int = opt(64, "episodes of an evaluation, one command each")
    pace: float = opt(0.5, "speed of the point that leads a hand to its target (m/s; reach)")
    leash: float = opt(0.15, "training gives up on a hand further from that point (m; reach)")
    speed: list[float] = opt([0.8, 1.5], "[lo, hi]: commanded speed (m/s; steer)")
    turn: float = opt(90.0, "largest change of direction in a command (degrees; steer)")
    range: list[float] = opt([1.0, 5.0], "[lo, hi]: distance of the point (m; location)")
    fall_height: float = opt(0.6, "an episode ends when the root is lower (m; fullbody)")


@dataclass
class AmpConfig:
    kind: str = opt("amp", "amp: judge pairs of consecutive moments; add: judge tracking errors")
    loss: str = opt("least_squares", "discriminator loss: least_squares or logistic")
    hidden: list[int] = opt([1024, 512], "hidden widths of the discriminator")
    lr: float = opt(1e-4, "its learning rate")
    grad_penalty: float = opt(5.0, "weight of the squared gradient of its logit")
    logit_reg: float = opt(0.01, "weight of its last layer's squared weights")
    weight_decay: float = opt(1e-4, "weight of all its squared weights")
    replay: int = opt(200_000, "past samples of the policy that are kept")
    batch_size: int = opt(512, "real, fresh and past samples of an update, each")
    updates: int = opt(0, "its updates an iteration; 0 = as many as the policy has")
    task_weight: float = opt(0.5, "weight of the task's reward")
    style_weight: float = opt(0.5, "weight of the style reward")
    style_scale: float = opt(2.0, "factor of the style reward")
    style_clip: float = opt(9.2, "bound of the style reward before that factor")


@dataclass
class PretrainingConfig:
    rounds: int = opt(
        0, "rounds of acting and of learning to excite as a teacher does, before training; 0 = none"
    )
    minutes: float = opt(0.0, "end it after so many minutes, after a whole round; 0 = no limit")
    teacher: str = opt(
        "statics",
        "statics (the activations that explain the reference) or muscle_control (computed muscle "
        "control, which corrects and balances; bodies that walk)",
    )
    processes: int = opt(0, "processes that compute muscle control; 0 = one a core")
    statics_share: float = opt(
        1.0,
        "part of the activations that explain the reference to which those of muscle control are "
        "held close on the way (all of them where the body stands); with phantom_inertia=1 "
        "captured walks were walked further with 0.5",
    )
    steadiness: float = opt(
        0.0,
        "price that muscle control puts on a squared change of activation in a step; with 1500 "
        "excitations on captured motions were easier to learn",
    )
    travel: float = opt(
        2.3,
        "natural frequency (rad/s) with which muscle control comes back to where the reference is; "
        "a walk that drifts away from it may need 3 to 4",
    )
    root_weight: float = opt(
        4.0, "how much the root counts in muscle control; less, about 3, lets it go with the joints"
    )
    aside: float = opt(
        0.09,
        "how much further aside muscle control puts the next foot per metre that the body is off",
    )
    sideways: float = opt(
        0.32, "the same per m/s that it moves aside (s); a walk that weaves may need 0.4"
    )
    led_rounds: int = opt(0, "first rounds in which the teacher acts in the policy's place")
    steps: int = opt(20, "control steps a world in each round")
    every: int = opt(1, "ask the teacher at every so many of the policy's control steps")
    mirror: bool = opt(False, "learn from the mirror image of every state as well")
    updates: int = opt(100, "updates of the policy in each round")
    batch: int = opt(512, "states of an update")
    loss: str = opt(
        "squared",
        "how far excitations are off counts by its square, or by its root mean square in every "
        "state (root), by which falls count less: bending, a body stayed up longer so",
    )
    precision: str = opt(
        "auto",
        "of the network in updates: float32, bfloat16 (parameters stay float32), or auto: bfloat16 "
        "where the processor has instructions for it",
    )
    lr: float = opt(1e-3, "learning rate")
    lr_floor: float = opt(1.0, "share of it that is left in the last round")


@dataclass
class WorldModelConfig:
    num_steps: int = opt(32, "control steps a world in each iteration")
    replay: int = opt(100_000, "real steps kept, over all worlds")
    noise: float = opt(0.08, "standard deviation of excitation noise, real and imagined")
    noise_correlation: float = opt(0.0, "correlation of the real noise from step to step")
    model_hidden: list[int] = opt([384, 384, 384], "hidden widths of the dynamics model")
    model_rank: int = opt(128, "rank of its term affine in the activations; 0 = none")
    members: int = opt(1, "networks of the dynamics model, which share every batch")
    model_updates: int = opt(100, "one-step updates of the model an iteration")
    model_batch: int = opt(512, "transitions of such an update")
    window_updates: int = opt(4, "free-running updates of the model an iteration")
    window_batch: int = opt(128, "windows of such an update")
    window: int = opt(8, "steps of a window")
    model_lr: float = opt(1e-3, "learning rate of the model")
    horizon: int = opt(16, "imagined steps of a policy update")
    policy_updates: int = opt(12, "policy updates an iteration")
    policy_batch: int = opt(128, "imagined worlds of a policy update")
    recent: int | None = opt(None, "imagination starts in the last so many steps; null = all kept")
    policy_lr: float = opt(1e-3, "learning rate of the policy")
    objective: str = opt(
        "reward",
        "what imagination increases: reward, sum of w exp(-b d), or log, sum of "
        "w (1 - log(1 + b d)), whose slope does not vanish far from the reference",
    )
    gamma: float = opt(0.99, "discount an imagined step")
    average: float = opt(0.99, "decay of the policy's weight average, which acts; 0 = none")
    state_grad_clip: float | None = opt(None, "bound of a state's gradient a world; null = none")
    critic_weight: float = opt(0.0, "weight of the value at the horizon; 0 = no critic")
    critic_lr: float = opt(1e-3, "learning rate of the critic")
    critic_window: int = opt(
        16, "real steps of the windows the critic learns from besides imagined ones; 0 = none"
    )
    gate: float = opt(0.0, "no policy update while the model's R2 on fresh steps is below this")
    optimizer: str = opt("adam", "muon (hidden matrices by Muon) or adam")
    lr_floor: float = opt(0.1, "last learning rates as a fraction of the first")
    overlap: bool = opt(True, "on a CPU, learn in a second thread while the simulation runs")
    compile: bool = opt(
        False,
        "compile the imagined step (torch.compile; needs a C++ compiler on a CPU): minutes at the "
        "first start, then faster",
    )
    health_interval: int = opt(5, "iterations between measurements of the model's errors")
    probe_interval: int = opt(
        0,
        "iterations between probes of whether the model can be exploited, in which some worlds are "
        "excited as the model likes best; 0 = none",
    )
    probe_worlds: int = opt(8, "worlds of a probe")
    probe_updates: int = opt(20, "updates of their excitations")


@dataclass
class RunConfig:
    root: str = opt("runs", "folder of all runs")
    dir: str | None = opt(None, "folder of this run; null = ROOT/NAME/DATE-TIME")
    minutes: float | None = opt(
        None,
        "stop after so many minutes of collecting and learning; the learning rates then end with "
        "the minutes or with total_steps, whichever is first; null = total_steps alone",
    )
    checkpoint_interval: int = opt(25, "iterations between checkpoints")
    evaluate_interval: int = opt(0, "iterations between evaluations; 0 = at the end only")
    evaluate_worlds: int = opt(0, "worlds of an evaluation; 0 = one a clip, at most sim.nworld")
    evaluate_to_end: bool = opt(
        False, "evaluations play on after a termination: errors are over whole clips"
    )
    progress_interval: float = opt(5.0, "seconds between progress lines when not on a terminal")


@dataclass
class Config:
    name: str = opt("run", "name of the run's folder")
    embodiment: str = opt("bimanual", "body: fullbody or bimanual")
    fingers: bool = opt(False, "fingers with joints and muscles")
    phantom_inertia: float = opt(
        0.01,
        "rotational inertia (kg m²) of each of the eight bodies of 1 g that carry the shoulders' "
        "joints; 1 stands for the published body as it is, its trunk too heavy to turn and a left "
        "back muscle on the right. Activations of motions made for another body are found anew",
    )
    motions: str = opt("demo", "motion set: a folder, one motion file, or demo")
    mdp: str = opt("default", "observation, reward, termination preset: default or musclemimic")
    seed: int = opt(1, "seed of everything random")
    device: str = opt("auto", "torch device: auto, cpu, cuda")
    total_steps: int = opt(
        1_000_000, "control steps to train for, over all worlds, after a first lesson; 0 = it alone"
    )
    torch_threads: int = opt(0, "torch CPU threads; 0 = torch's own choice")
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


#: Allowed values of text settings, checked when a configuration is loaded.
CHOICES: dict[str, tuple[str, ...]] = {
    "embodiment": ("fullbody", "bimanual"),
    "pretraining.teacher": ("statics", "muscle_control"),
    "pretraining.loss": ("squared", "root"),
    "pretraining.precision": ("auto", "float32", "bfloat16"),
    "sim.backend": ("auto", "warp", "mujoco"),
    "action.mapping": ("sigmoid", "linear", "musclemimic"),
    "reset.start": ("random", "first", "failures"),
    "reset.activation": ("zero", "constant", "statics"),
    "network.residual": ("none", "fixed", "gated"),
    "agent.name": ("ppo", "world_model", "amp"),
    "task.name": ("imitation", "reach", "steer", "location"),
    "amp.kind": ("amp", "add"),
    "amp.loss": ("least_squares", "logistic"),
    "agent.optimizer": ("auto", "muon", "adam"),
    "world_model.optimizer": ("muon", "adam"),
    "world_model.objective": ("log", "reward"),
    "agent.schedule": ("linear", "constant", "adaptive"),
}

#: Settings that must lie in a range, as (lowest, highest).
RANGES: dict[str, tuple[float, float]] = {
    "phantom_inertia": (0.001, 1.0),
    "total_steps": (0, float("inf")),
    "sim.nworld": (1, float("inf")),
    "sim.nworld_cuda": (1, float("inf")),
    "sim.nworld_cpu": (1, float("inf")),
    "sim.threads": (0, float("inf")),
    "observation.lookahead_steps": (1, float("inf")),
    "observation.lookahead_stride": (1, float("inf")),
    "termination.max_steps": (1, float("inf")),
    "reset.activation_level": (0.0, 1.0),
    "task.hold": (0.0, float("inf")),
    "task.episodes": (1, float("inf")),
    "pretraining.rounds": (0, float("inf")),
    "pretraining.minutes": (0.0, float("inf")),
    "pretraining.processes": (0, float("inf")),
    "pretraining.statics_share": (0.0, 1.0),
    "pretraining.steadiness": (0.0, float("inf")),
    "pretraining.travel": (0.0, float("inf")),
    "pretraining.root_weight": (0.0, float("inf")),
    "pretraining.aside": (0.0, float("inf")),
    "pretraining.sideways": (0.0, float("inf")),
    "pretraining.led_rounds": (0, float("inf")),
    "pretraining.steps": (1, float("inf")),
    "pretraining.every": (1, float("inf")),
    "pretraining.lr_floor": (0.0, 1.0),
    "pretraining.updates": (1, float("inf")),
    "pretraining.batch": (1, float("inf")),
    "agent.minibatch_size": (1, float("inf")),
    "agent.num_steps": (1, float("inf")),
    "run.minutes": (1e-3, float("inf")),
    "run.checkpoint_interval": (1, float("inf")),
    "run.evaluate_interval": (0, float("inf")),
    "run.evaluate_worlds": (0, float("inf")),
}
