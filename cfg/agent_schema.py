"""Settings of the agents: their networks, PPO, AMP, a first lesson, the world model."""

from __future__ import annotations

from dataclasses import dataclass

from cfg.option import opt


@dataclass
class NetworkConfig:
    actor_hidden: list[int] = opt([256, 256], "hidden widths of the policy", low=1)
    critic_hidden: list[int] = opt([256, 256], "hidden widths of the value function", low=1)
    residual: str = opt(
        "none", "residual blocks: none, fixed or gated", choices=("none", "fixed", "gated")
    )
    direct: bool = opt(False, "add a linear path from observation to action to the policy")
    init_mean: float = opt(0.0, "initial mean of the raw action")
    init_std: float = opt(1.0, "initial standard deviation of the raw action")
    min_std: float = opt(0.01, "lower bound of the standard deviation")
    max_std: float = opt(5.0, "upper bound of the standard deviation")
    obs_clip: float = opt(10.0, "normalised observations are clipped to ± this", above=0)


@dataclass
class AgentConfig:
    name: str = opt(
        "ppo",
        "the learner: ppo, world_model or amp; agent=NAME loads its preset",
        choices=("ppo", "world_model", "amp"),
    )
    num_steps: int = opt(20, "control steps a world in each iteration", low=1)
    epochs: int = opt(1, "passes over the rollout")
    minibatch_size: int = opt(
        1280, "least samples of a gradient step; a pass has equal shares", low=1
    )
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
        choices=("auto", "muon", "adam"),
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
        choices=("linear", "constant", "adaptive"),
    )
    lr_floor: float = opt(0.05, "last learning rate as a fraction of the first")
    normalize_advantage: bool = opt(True, "advantages are standardised in each minibatch")
    desired_kl: float | None = opt(None, "skip further epochs above this KL; null = never")
    reward_scaling: bool = opt(False, "divide rewards by the running std of the return")
    mixed_precision: bool = opt(False, "networks in bfloat16")


@dataclass
class AmpConfig:
    kind: str = opt(
        "amp",
        "amp: judge pairs of consecutive moments; add: judge tracking errors",
        choices=("amp", "add"),
    )
    loss: str = opt(
        "least_squares",
        "discriminator loss: least_squares or logistic",
        choices=("least_squares", "logistic"),
    )
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
        0,
        "rounds of acting and of learning to excite as a teacher does, before training; 0 = none",
        low=0,
    )
    minutes: float = opt(
        0.0, "end it after so many minutes, after a whole round; 0 = no limit", low=0.0
    )
    teacher: str = opt(
        "statics",
        "statics (the activations that explain the reference) or muscle_control (computed muscle "
        "control, which corrects and balances; bodies that walk)",
        choices=("statics", "muscle_control"),
    )
    processes: int = opt(0, "processes that compute muscle control; 0 = one a core", low=0)
    statics_share: float = opt(
        1.0,
        "part of the activations that explain the reference to which those of muscle control are "
        "held close on the way (all of them where the body stands); with phantom_inertia=1 "
        "captured walks were walked further with 0.5",
        low=0.0,
        high=1.0,
    )
    steadiness: float = opt(
        0.0,
        "price that muscle control puts on a squared change of activation in a step; with 1500 "
        "excitations on captured motions were easier to learn",
        low=0.0,
    )
    travel: float = opt(
        2.3,
        "natural frequency (rad/s) with which muscle control comes back to where the reference is; "
        "a walk that drifts away from it may need 3 to 4",
        low=0.0,
    )
    root_weight: float = opt(
        4.0,
        "how much the root counts in muscle control; less, about 3, lets it go with the joints",
        low=0.0,
    )
    aside: float = opt(
        0.09,
        "how much further aside muscle control puts the next foot per metre that the body is off",
        low=0.0,
    )
    sideways: float = opt(
        0.32, "the same per m/s that it moves aside (s); a walk that weaves may need 0.4", low=0.0
    )
    damping: float = opt(
        0.92,
        "damping ratio with which muscle control brings a body back that does not stand",
        above=0,
    )
    smoothing_hz: float = opt(
        4.0, "frequency (Hz) at which muscle control halves the motion's velocities", above=0
    )
    landing_hz: float | None = opt(
        None,
        "the same of a leg about its landing, where 8 keeps what slows a foot down; null = as "
        "elsewhere",
        above=0,
    )
    yielding: float = opt(
        0.0,
        "seconds before a foot lands within which muscle control lets go of its leg; with 0.2 it "
        "kicks no knee straight at the end of swing, but a body under noise falls sooner",
        low=0.0,
    )
    led_rounds: int = opt(0, "first rounds in which the teacher acts in the policy's place", low=0)
    steps: int = opt(20, "control steps a world in each round", low=1)
    every: int = opt(1, "ask the teacher at every so many of the policy's control steps", low=1)
    mirror: bool = opt(False, "learn from the mirror image of every state as well")
    updates: int = opt(100, "updates of the policy in each round", low=1)
    batch: int = opt(512, "states of an update", low=1)
    loss: str = opt(
        "squared",
        "how far excitations are off counts by its square, or by its root mean square in every "
        "state (root), by which falls count less: bending, a body stayed up longer so",
        choices=("squared", "root"),
    )
    precision: str = opt(
        "auto",
        "of the network in updates: float32, bfloat16 (parameters stay float32), or auto: bfloat16 "
        "where the processor has instructions for it",
        choices=("auto", "float32", "bfloat16"),
    )
    lr: float = opt(1e-3, "learning rate", above=0)
    lr_floor: float = opt(1.0, "share of it that is left in the last round", low=0.0, high=1.0)


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
        choices=("log", "reward"),
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
    optimizer: str = opt("adam", "muon (hidden matrices by Muon) or adam", choices=("muon", "adam"))
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
