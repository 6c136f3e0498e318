"""Nothing in the training loop waits for the device: found on the CPU, confirmed on CUDA.

On CUDA a value that the host asks for (`item`, `bool(tensor)`, a boolean mask as an index) makes it
wait until the device has caught up, and so does data copied from Python lists; both are cheap on
the CPU and therefore not noticed there. `Synchronizations` finds them without a GPU.
"""

from __future__ import annotations

import math
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from agents import PPO
from agents.world_model import WorldModelAgent
from mm_torch.build import make_agent, make_env, make_policy, make_ppo_config
from mm_torch.env import ImitationEnv
from tests.mm_torch.helpers import small_config, small_task

WORLDS = 4
gpu = pytest.mark.gpu
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")

# Operators whose result the host needs, or whose output size depends on values.
_WAITING = {
    "aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero", "aten::masked_select",
    "aten::_unique2", "aten::unique_dim", "aten::unique_consecutive", "aten::equal",
    "aten::bincount", "aten::repeat_interleave.Tensor",
    # Python data made a tensor: a copy from pageable memory, for which the host waits.
    "aten::lift_fresh",
}  # fmt: skip
# Methods that never reach an operator on the CPU.
_HOST_METHODS = {"tolist", "numpy", "cpu", "__array__", "item"}
_ROOT = Path(__file__).parents[2]
_PACKAGES = {"agents", "cfg", "mm_torch", "retarget", "sim", "tests"}


def _is_ours(file: str) -> bool:
    # A virtual environment may lie inside the checkout.
    path = Path(file)
    return path.is_relative_to(_ROOT) and path.relative_to(_ROOT).parts[0] in _PACKAGES


class Synchronizations:
    """Records the places in the project that would make the host wait for CUDA.

    Attributes:
        places: "file:line operator" of each, in order.
    """

    def __init__(self) -> None:
        self.places: list[str] = []
        outer = self

        class Functions(TorchFunctionMode):
            def __torch_function__(self, function, types, args=(), kwargs=None):
                name, kwargs = getattr(function, "__name__", ""), kwargs or {}
                # To the device where a tensor is already costs nothing, and torch itself does it.
                caller = sys._getframe(1).f_code.co_filename
                moved = name == "to" and _is_ours(caller) and any(
                    isinstance(value, str | torch.device) for value in (*args[1:], *kwargs.values())
                )  # fmt: skip
                if name in _HOST_METHODS or moved:
                    outer._note(name)
                return function(*args, **kwargs)

        class Operators(TorchDispatchMode):
            def __torch_dispatch__(self, function, types, args=(), kwargs=None):
                masks = function._schema.name in ("aten::index", "aten::index_put",
                                                  "aten::index_put_")  # fmt: skip
                if function._schema.name in _WAITING or function.name() in _WAITING:
                    outer._note(function.name())
                elif masks and any(
                    index is not None and index.dtype in (torch.bool, torch.uint8)
                    for index in args[1]
                ):
                    outer._note(f"{function.name()} by a mask")
                return function(*args, **(kwargs or {}))

        self._modes = Functions(), Operators()

    def __enter__(self) -> Synchronizations:
        for mode in self._modes:
            mode.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(*error)

    def _note(self, what: str) -> None:
        ours = [
            f"{Path(frame.filename).relative_to(_ROOT)}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_stack()
            if _is_ours(frame.filename) and frame.name != "_note"
            and "__torch_" not in frame.name
        ]  # fmt: skip
        self.places.append(f"{ours[-1] if ours else '?'} {what}")


def _env(*arguments: str) -> ImitationEnv:
    pytest.importorskip("mujoco_warp")
    task = small_task(arguments[0], "sim.backend=warp", f"sim.nworld={WORLDS}", *arguments[1:])
    return ImitationEnv(task, seed=0)


def _pretend_cuda(env: ImitationEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the paths of CUDA: not those on which the CPU looks at a mask to save work."""
    env.device = env.task.simulator.device = torch.device("cuda")
    monkeypatch.setattr(torch.Tensor, "is_cuda", property(lambda tensor: True))


def _force_ends(env: ImitationEnv) -> None:
    env.task.frame = env.task.frame + 10**6  # past the end of every clip


@pytest.mark.parametrize(
    ("what", "function"),
    [
        ("item", lambda x: x.sum().item()),
        ("_local_scalar_dense", lambda x: 1 if x.any() else 0),
        ("_local_scalar_dense", lambda x: float(x[0])),
        ("_local_scalar_dense", lambda x: [1, 2, 3, 4][x.argmax()]),
        ("by a mask", lambda x: x[x > 1]),
        ("by a mask", lambda x: x.clone().index_put_((x > 1,), x[:2])),
        ("nonzero", lambda x: torch.where(x > 1)),
        ("masked_select", lambda x: x.masked_select(x > 1)),
        ("tolist", lambda x: x.tolist()),
        ("numpy", lambda x: x.numpy()),
        ("__array__", lambda x: np.asarray(x)),
        ("cpu", lambda x: x.cpu()),
        ("to", lambda x: x.to("cpu")),
        ("to", lambda x: x.to(device=torch.device("cpu"))),
        ("lift_fresh", lambda x: x * torch.tensor([1.0, 2.0, 3.0, 4.0])),
        ("lift_fresh", lambda x: x * x.new_tensor([1.0, 2.0, 3.0, 4.0])),
        ("equal", lambda x: torch.equal(x, x)),
    ],
)
def test_the_detector_finds_what_waits(what: str, function: Callable) -> None:
    values = torch.arange(4.0)
    with Synchronizations() as found:
        function(values)
    assert any(what in place for place in found.places), found.places
    assert all("tests/mm_torch/test_cuda.py" in place for place in found.places)


def test_the_detector_passes_what_does_not_wait() -> None:
    values, mask = torch.arange(4.0), torch.arange(4) > 1
    with Synchronizations() as found:
        torch.where(mask, values, 0.0).sum()
        values.masked_fill(mask, 0.0)[torch.arange(3)] += 1.0
        values.to(torch.float64).clamp(0, 1)
        torch.full_like(values, 2.0).copy_(values)
        torch.as_tensor(values)
    assert found.places == []


@pytest.mark.parametrize("mdp", ["default", "musclemimic"])
@pytest.mark.parametrize("embodiment", ["bimanual", "fullbody"])
def test_environment_steps_do_not_wait(
    embodiment: str, mdp: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = _env(embodiment, f"mdp={mdp}")
    action = torch.zeros(WORLDS, env.action_dim)
    env.reset()
    env.step(action)  # what is made once may wait
    _pretend_cuda(env, monkeypatch)
    with Synchronizations() as found:
        env.step(action)
        _force_ends(env)
        ended = env.step(action)
    assert found.places == []
    assert ended.truncated.logical_or(ended.terminated).all()
    assert (env.task.steps == 0).all(), "nothing was reset: the masked path was not taken"


@pytest.mark.parametrize(
    ("embodiment", "arguments"),
    [
        ("bimanual", ("task.name=reach", "agent.name=amp")),
        ("fullbody", ("task.name=steer", "agent.name=amp")),
        ("fullbody", ("task.name=location", "agent.name=amp")),
        ("bimanual", ("agent.name=amp", "amp.kind=add", "reset.start=failures")),
    ],
)
def test_goals_and_judges_do_not_wait(
    embodiment: str, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mujoco_warp")
    settings = ("sim.backend=warp", f"sim.nworld={WORLDS}", *arguments)
    env = make_env(small_config(embodiment, *settings), small_task(embodiment, *settings))
    action = torch.zeros(WORLDS, env.action_dim)
    env.reset()
    env.step(action)  # what is made once may wait
    _pretend_cuda(env, monkeypatch)
    with Synchronizations() as found:
        env.step(action)
        env.task.steps = env.task.steps + 10**6
        ended = env.step(action)
    assert found.places == []
    assert ended.truncated.logical_or(ended.terminated).all() and ended.judged is not None
    assert (env.task.steps == 0).all(), "nothing was reset: the masked path was not taken"


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_collection_and_update_wait_once_each(
    optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = (f"agent.optimizer={optimizer}", "agent.desired_kl=null",
                 "agent.reward_scaling=true", "agent.num_steps=2", "agent.minibatch_size=4",
                 "network.actor_hidden=[16,16]", "sim.backend=warp")  # fmt: skip
    env = _env("bimanual")
    config = small_config("bimanual", *arguments)
    agent = PPO(make_policy(config, env.task), make_ppo_config(config, WORLDS), WORLDS, seed=0)
    obs = env.reset()
    rollout, obs, _ = agent.collect(env, obs)
    agent.update(rollout)  # makes the optimisers' states
    _pretend_cuda(env, monkeypatch)
    with Synchronizations() as collecting:
        rollout, obs, _ = agent.collect(env, obs)
    with Synchronizations() as updating:
        agent.update(rollout)
    # The statistics of an iteration reach the host together.
    for found in (collecting, updating):
        assert len(found.places) == 1 and "to_floats tolist" in found.places[0], found.places


def _world_model(embodiment: str, *arguments: str) -> tuple[ImitationEnv, WorldModelAgent]:
    pytest.importorskip("mujoco_warp")
    settings = ("agent=world_model", "sim.backend=warp", f"sim.nworld={WORLDS}",
                "world_model.num_steps=4", "world_model.model_updates=6",
                "world_model.window_updates=6", "world_model.window=2", "world_model.replay=64",
                "world_model.policy_updates=5", "world_model.horizon=3", "world_model.gate=0",
                "world_model.model_batch=16", "world_model.window_batch=16",
                "world_model.policy_batch=16", "world_model.critic_weight=0.5",
                "world_model.critic_window=2",
                *arguments)  # fmt: skip
    config = small_config(embodiment, *settings)
    task = small_task(embodiment, *settings)
    return make_env(config, task), make_agent(config, task)


def test_the_world_model_waits_for_statistics_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    env, agent = _world_model("bimanual", "world_model.overlap=false")
    obs = env.reset()
    for _ in range(2):
        seen, obs, _ = agent.collect(env, obs)
        agent.update(seen)  # makes the optimisers' states
    _pretend_cuda(env, monkeypatch)
    with Synchronizations() as collecting:
        seen, obs, _ = agent.collect(env, obs)
    with Synchronizations() as updating:
        agent.update(seen)
    assert len(collecting.places) == 1 and "to_floats tolist" in collecting.places[0]
    assert all("to_floats tolist" in place for place in updating.places), updating.places
    assert len(updating.places) <= 3, updating.places


@gpu
@needs_cuda
@pytest.mark.parametrize("embodiment", ["bimanual", "fullbody"])
def test_the_world_model_learns_by_graphs(embodiment: str) -> None:
    """They are captured, and do what the functions do: equal losses on equal draws."""
    env, agent = _world_model(embodiment, "device=cuda")
    _, plain = _world_model(embodiment, "device=cuda")
    obs = env.reset()
    for _ in range(2):
        seen, obs, collected = agent.collect(env, obs)
        metrics = collected | agent.update(seen)
        assert all(math.isfinite(value) for value in metrics.values()), metrics
    assert all(graph.captured for graph in agent.updates.graphs.values())
    plain.load_state_dict(agent.state_dict())
    for graph in plain.updates.graphs.values():
        graph._stream = None  # call the function
    graphed, called = agent._learn(), plain._learn()
    assert graphed.keys() == called.keys()
    for name, value in called.items():
        assert graphed[name] == pytest.approx(value, rel=2e-2, abs=1e-4), name
    pairs = zip(agent.learner.parameters(), plain.learner.parameters(), strict=True)
    assert all(torch.allclose(a, b, rtol=1e-2, atol=1e-3) for a, b in pairs)


@gpu
@needs_cuda
@pytest.mark.parametrize("mdp", ["default", "musclemimic"])
@pytest.mark.parametrize("embodiment", ["bimanual", "fullbody"])
def test_hundred_steps_on_cuda_do_not_wait(embodiment: str, mdp: str) -> None:
    env = _env(embodiment, f"mdp={mdp}", "device=cuda")
    assert env.task.simulator.captured, "the control step is not one CUDA graph"
    action = torch.zeros(WORLDS, env.action_dim, device=env.device)
    env.reset()
    _force_ends(env)
    env.step(action)
    torch.cuda.synchronize()
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for index in range(100):
            if index % 10 == 9:
                _force_ends(env)
            result = env.step(action)
    finally:
        torch.cuda.set_sync_debug_mode(before)
    torch.cuda.synchronize()
    assert result.truncated.logical_or(result.terminated).all()
    assert (env.task.steps == 0).all()
    assert result.obs.isfinite().all() and not result.info["invalid_worlds"].any()


@gpu
@needs_cuda
@pytest.mark.parametrize("optimizer", ["adam", "muon"])
@pytest.mark.parametrize("embodiment", ["bimanual", "fullbody"])
def test_an_iteration_on_cuda_gives_finite_metrics(embodiment: str, optimizer: str) -> None:
    env = _env(embodiment, "device=cuda")
    config = small_config(embodiment, "device=cuda", f"agent.optimizer={optimizer}",
                          "network.actor_hidden=[16,16]", "sim.backend=warp")  # fmt: skip
    agent = PPO(make_policy(config, env.task), make_ppo_config(config, WORLDS), WORLDS, seed=0)
    obs = env.reset()
    for _ in range(2):
        rollout, obs, collected = agent.collect(env, obs)
        metrics = collected | agent.update(rollout)
        assert all(math.isfinite(value) for value in metrics.values()), metrics
        assert metrics["skipped_updates"] == 0 and metrics["nonfinite_obs"] == 0
        assert metrics["first_ratio_error"] < 1e-3
    assert obs.device.type == "cuda"
