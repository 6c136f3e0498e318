"""Settings of the task: what the policy sees, does and is paid for, and when an episode ends.

Which observation, reward and termination terms are on, and with what weights, is set by the MDP
presets in cfg/mdp/.
"""

from __future__ import annotations

from dataclasses import dataclass

from cfg.option import opt, section


@dataclass
class ActionConfig:
    mapping: str = opt(
        "sigmoid",
        "raw action to excitation: sigmoid, linear (clip (a+1)/2), or musclemimic (clip a to ±1)",
        choices=("sigmoid", "linear", "musclemimic"),
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
    lookahead_steps: int = opt(5, "look-ahead frames, the current one included", low=1)
    lookahead_stride: int = opt(20, "control steps between look-ahead frames", low=1)


@dataclass
class Kernel:
    weight: float = opt(0.0, "weight of the term; 0 switches it off", low=0.0)
    sharpness: float = opt(1.0, "b in exp(-b d)", low=0.0)


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
    action_bounds: float = opt(0.0, "penalty on mean squared excess of |action| over 1", low=0.0)
    action_rate: float = opt(0.0, "penalty on mean squared change of excitation a step", low=0.0)
    activation_energy: float = opt(0.0, "penalty on mean squared activation", low=0.0)
    joint_acceleration: float = opt(
        0.0, "penalty on summed squared joint velocity change / dt", low=0.0
    )
    penalty_floor: float = opt(
        -1.0, "the penalties together never take off more than this", high=0.0
    )


@dataclass
class TerminationConfig:
    site_deviation: float | None = opt(
        None, "end when relative sites are off by more than this on average (m)", above=0
    )
    site_deviation_world: float | None = opt(
        None, "end when world sites are off by more than this on average (m)", above=0
    )
    root_deviation: float | None = opt(None, "end when the main site is off by more (m)", above=0)
    root_rotation: float | None = opt(None, "end when the root is turned by more (rad)", above=0)
    max_steps: int = opt(1000, "truncate an episode after this many control steps", low=1)


@dataclass
class ResetConfig:
    start: str = opt(
        "random",
        "first frame of an episode: random, first (of the clip), or failures (more often where "
        "episodes fail)",
        choices=("random", "first", "failures"),
    )
    activation: str = opt(
        "statics",
        "initial activation: zero, constant, or statics (static optimisation of the reference)",
        choices=("zero", "constant", "statics"),
    )
    activation_level: float = opt(0.05, "activation with activation=constant", low=0.0, high=1.0)


@dataclass
class TaskConfig:
    name: str = opt(
        "imitation",
        "imitation, reach (bimanual), steer or location (fullbody), or a goal of your own, "
        "MODULE:CLASS",
        choices=("imitation", "reach", "steer", "location"),
        other=("MODULE:CLASS", r"\w+(\.\w+)*:\w+"),
    )
    resample: list[float] = opt(
        [2.0, 4.0], "[lo, hi]: seconds until a new command, in training", above=0, length=2
    )
    hold: float = opt(
        0.5, "success is to stay within the goal's tolerance for so long (s)", low=0.0
    )
    episodes: int = opt(64, "episodes of an evaluation, one command each", low=1)
    pace: float = opt(
        0.5, "speed of the point that leads a hand to its target (m/s; reach)", above=0
    )
    leash: float = opt(
        0.15, "training gives up on a hand further from that point (m; reach)", above=0
    )
    speed: list[float] = opt(
        [0.8, 1.5], "[lo, hi]: commanded speed (m/s; steer)", low=0.0, length=2
    )
    turn: float = opt(
        90.0, "largest change of direction in a command (degrees; steer)", low=0.0, high=180.0
    )
    range: list[float] = opt(
        [1.0, 5.0], "[lo, hi]: distance of the point (m; location)", low=0.0, length=2
    )
    fall_height: float = opt(0.6, "an episode ends when the root is lower (m; fullbody)", low=0.0)
