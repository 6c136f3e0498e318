"""Where the time of a training step goes: the stages of simulation, environment and learner."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import mujoco

from agents import PPO
from mm_torch.env import ImitationEnv
from mm_torch.stage_clock import StageClock, repeat
from sim.mujoco_sim import MujocoSim

#: Stages of a control step of the simulator.
SIMULATION = (
    "kinematics", "tendon", "inertia", "collision", "constraint", "velocity", "actuation", "solve",
    "integrate", "rest of simulation",
)  # fmt: skip
#: All stages, in the order of the table.
STAGES = (*SIMULATION, "observation", "reward", "reset", "rest of environment", "policy", "update")
# MuJoCo's own timers of each stage.
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


def stage_times(
    env: ImitationEnv,
    agent: PPO,
    simulate: Callable[[], int],
    train: Callable[[], int],
    seconds: float,
) -> tuple[dict[str, float], str]:
    """Return seconds per control step of all worlds by stage, and how they were measured.

    Args:
        env: the worlds; started anew in between.
        agent: its learner.
        simulate: steps the simulator once; returns the number of worlds.
        train: one iteration of the agent; returns the control steps over all worlds.
        seconds: to run each of them for, at least.
    """
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
        samples, _ = repeat(train, seconds, device)
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
    _, wall = repeat(simulate, seconds, simulator.device)
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
