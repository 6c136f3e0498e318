"""MujocoSim: MuJoCo C on a pool of threads, one chunk of worlds each.

The reference simulator, and the default without CUDA. A world's full integration state (float64)
is kept in one array; a thread loads it into its own `MjData`, steps, and stores it back. The same
inputs give the same outputs bit for bit, whatever the number of threads.
"""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import mujoco
import numpy as np
import torch
from torch import Tensor

from sim.cores import available_cores
from sim.embodiment import Embodiment
from sim.faults import NONE, classify
from sim.simulator import SimOptions, Simulator, apply_options, site_velocities, tree_roots
from sim.world_parameters import WorldParameters, fields_of, host_array

_STATE = mujoco.mjtState.mjSTATE_INTEGRATION


class MujocoSim(Simulator):
    """Worlds simulated by MuJoCo C; see :class:`sim.simulator.Simulator` for the interface."""

    def __init__(
        self,
        embodiment: Embodiment,
        nworld: int,
        options: SimOptions | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Make `nworld` worlds in the reference pose.

        Args:
            embodiment: the body.
            nworld: number of worlds.
            options: solver options; `threads` = 0 takes one a core.
            dtype: of the tensors handed out; the state itself is always float64.
        """
        super().__init__(embodiment, nworld, torch.device("cpu"), options or SimOptions())
        self.model = copy.copy(embodiment.model)
        apply_options(self.model, self.options)
        # MuJoCo would put a diverged world silently back into its reference pose; we report it.
        self.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
        model, nsite = self.model, len(embodiment.mimic_sites)
        threads = min(self.options.threads or available_cores(), nworld)
        self._pool = ThreadPoolExecutor(threads)
        self._data = [mujoco.MjData(model) for _ in range(threads)]
        # Worlds that differ need models that do: each thread writes a world's into one of its own.
        self._models, self._bound = [model] * threads, [[] for _ in range(threads)]
        ranges = self.options.parameter_ranges
        if ranges:
            arrays = {
                name: torch.from_numpy(np.repeat(host_array(model, name)[None], nworld, axis=0))
                for name in fields_of(model, ranges)
            }
            self.parameters = WorldParameters(model, ranges, arrays, nworld, self.device)
            self._models = [copy.copy(model) for _ in range(threads)]
            self._bound = [self.parameters.bind(own) for own in self._models]
        self._chunks = np.array_split(np.arange(nworld), threads)
        self._state = np.zeros((nworld, mujoco.mj_stateSize(model, _STATE)))
        mujoco.mj_getState(model, self._data[0], self._state[0], _STATE)
        self._state[:] = self._state[0]
        self._roots = tree_roots(embodiment)
        # What a thread copies out of its MjData after a step, one row a world.
        self._raw = {
            "qpos": np.zeros((nworld, model.nq)),
            "qvel": np.zeros((nworld, model.nv)),
            "last_qvel": np.zeros((nworld, model.nv)),
            "act": np.zeros((nworld, model.na)),
            "ctrl": np.zeros((nworld, model.nu)),
            "site_xpos": np.zeros((nworld, nsite, 3)),
            "site_xmat": np.zeros((nworld, nsite, 9)),
            "cvel": np.zeros((nworld, nsite, 6)),
            "subtree_com": np.zeros((nworld, nsite, 3)),
            "actuator_length": np.zeros((nworld, model.nu)),
            "actuator_velocity": np.zeros((nworld, model.nu)),
            "actuator_force": np.zeros((nworld, model.nu)),
            "touch": np.zeros((nworld, len(embodiment.touch_addresses))),
        }

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(nworld, *shape, dtype=dtype)

        self.qpos, self.qvel = zeros(model.nq), zeros(model.nv)
        self.last_qvel = zeros(model.nv)
        self.act, self.ctrl = zeros(model.na), zeros(model.nu)
        self.site_pos, self.site_rot = zeros(nsite, 3), zeros(nsite, 3, 3)
        self.site_vel = zeros(nsite, 6)
        self.muscle_length, self.muscle_velocity = zeros(model.nu), zeros(model.nu)
        self.muscle_force, self.touch = zeros(model.nu), zeros(len(embodiment.touch_addresses))
        self.fault = torch.zeros(nworld, dtype=torch.uint8)
        self.invalid = torch.zeros(nworld, dtype=torch.bool)
        self._run(self._compute, np.arange(nworld))
        self._publish()

    def step(self, excitations: Tensor) -> None:
        ctrl = excitations.detach().to(torch.float64).numpy()
        refresh, last_qvel = self.options.refresh_derived, self._raw["last_qvel"]

        def advance(model: mujoco.MjModel, data: mujoco.MjData, world: int) -> None:
            data.ctrl[:] = ctrl[world]
            last_qvel[world] = data.qvel
            mujoco.mj_step(model, data, self.substeps)
            if refresh:
                _refresh_derived(model, data)

        self._run(advance, np.arange(self.nworld))
        self._publish()

    def reset(self, mask: Tensor, qpos: Tensor, qvel: Tensor, act: Tensor | None = None) -> None:
        worlds = torch.nonzero(mask).flatten().numpy()
        if not len(worlds):
            return
        positions = qpos.detach().to(torch.float64).numpy()
        velocities = qvel.detach().to(torch.float64).numpy()
        activations = None if act is None else act.detach().to(torch.float64).numpy()

        def place(model: mujoco.MjModel, data: mujoco.MjData, world: int) -> None:
            mujoco.mj_resetData(model, data)
            data.qpos[:], data.qvel[:] = positions[world], velocities[world]
            self._raw["last_qvel"][world] = data.qvel
            if activations is not None:
                data.act[:] = data.ctrl[:] = activations[world]
            self._compute(model, data, world)

        self._run(place, worlds)
        self._publish()

    def state_dict(self) -> dict[str, Tensor]:
        state = {"state": torch.from_numpy(self._state.copy())}
        if self.parameters is not None:
            state |= self.parameters.state_dict()
        return state | {name: torch.from_numpy(raw.copy()) for name, raw in self._raw.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if tuple(state["state"].shape) != self._state.shape:
            raise ValueError(
                f"simulator state has shape {tuple(state['state'].shape)}, "
                f"expected {self._state.shape}: it is of another body or number of worlds"
            )
        self._load_parameters(state)
        self._state[:] = state["state"].numpy()
        # States saved by earlier versions have no velocities of the step before.
        state = {"last_qvel": state["qvel"], **state}
        for name, raw in self._raw.items():
            raw[:] = state[name].numpy()
        self._publish()

    def close(self) -> None:
        self._pool.shutdown()

    def _compute(self, model: mujoco.MjModel, data: mujoco.MjData, world: int) -> None:
        """Compute what is handed out of a world that was put into a state."""
        if self.options.reset_touch:
            mujoco.mj_forward(model, data)
        else:
            _refresh_derived(model, data)
            data.sensordata[:] = 0.0

    def _run(self, action, worlds: np.ndarray) -> None:
        """Call action(model, data, world) on every world of `worlds`, each thread on its own."""

        def work(
            model: mujoco.MjModel,
            bound: list[tuple[np.ndarray, np.ndarray]],
            data: mujoco.MjData,
            chunk: np.ndarray,
        ) -> None:
            for world in chunk:
                for view, rows in bound:
                    view[...] = rows[world]
                mujoco.mj_setState(model, data, self._state[world], _STATE)
                action(model, data, world)
                mujoco.mj_getState(model, data, self._state[world], _STATE)
                self._copy_out(data, world)

        chunks = (
            np.array_split(worlds, len(self._data)) if len(worlds) < self.nworld else self._chunks
        )
        # list() waits for the threads and raises what one of them raised.
        list(self._pool.map(work, self._models, self._bound, self._data, chunks))

    def _copy_out(self, data: mujoco.MjData, world: int) -> None:
        raw, body = self._raw, self.embodiment
        for name in ("qpos", "qvel", "act", "ctrl",
                     "actuator_length", "actuator_velocity", "actuator_force"):  # fmt: skip
            raw[name][world] = getattr(data, name)
        raw["site_xpos"][world] = data.site_xpos[body.site_ids]
        raw["site_xmat"][world] = data.site_xmat[body.site_ids]
        raw["cvel"][world] = data.cvel[body.site_body_ids]
        raw["subtree_com"][world] = data.subtree_com[self._roots]
        raw["touch"][world] = data.sensordata[body.touch_addresses]

    def _publish(self) -> None:
        """Copy the raw float64 results into the tensors that are handed out."""
        raw = {name: torch.from_numpy(array) for name, array in self._raw.items()}
        for name in ("qpos", "qvel", "last_qvel", "act", "ctrl", "touch"):
            getattr(self, name).copy_(raw[name])
        self.site_pos.copy_(raw["site_xpos"])
        self.site_rot.copy_(raw["site_xmat"].view(self.site_rot.shape))
        self.site_vel.copy_(site_velocities(raw["cvel"], raw["subtree_com"], raw["site_xpos"]))
        self.muscle_length.copy_(raw["actuator_length"])
        self.muscle_velocity.copy_(raw["actuator_velocity"])
        self.muscle_force.copy_(raw["actuator_force"])
        self.fault.copy_(classify(raw["qpos"], raw["qvel"], raw["act"]))
        self.invalid.copy_(self.fault != NONE)


def _refresh_derived(model: mujoco.MjModel, data: mujoco.MjData) -> None:
    """Recompute what the environment reads, at the state after integration.

    `mj_step` leaves these one substep behind. Contact forces (touch) stay those of the last
    substep: they are a result of the step, and another solve would cost a fifth of it.
    """
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    mujoco.mj_tendon(model, data)
    mujoco.mj_transmission(model, data)
    mujoco.mj_fwdVelocity(model, data)
    mujoco.mj_fwdActuation(model, data)
