"""WarpSim: MuJoCo-Warp, all worlds in one batch of float32 arrays.

The fast simulator on CUDA, where a control step is one graph launch. On the CPU it is slow and
serves to test. Results differ from MuJoCo C by float32 rounding; on CUDA, where contacts are
ordered by atomics, two runs also differ from each other by it unless `options.deterministic`.
"""

from __future__ import annotations

import copy

import mujoco
import mujoco_warp as mjw
import torch
import warp as wp
from torch import Tensor

from sim.embodiment import Embodiment
from sim.faults import NONE, classify
from sim.lean import lean_model
from sim.simulator import SimOptions, Simulator, apply_options, site_velocities
from sim.warp_buffers import OverflowMonitor, budgets
from sim.warp_graph import WarpWork, can_capture
from sim.world_parameters import WorldParameters, fields_of

# A huge velocity is on its way to NaN; MuJoCo's own limit is 1e10.
_MAX_SPEED = 1e6
# What continues a simulation: the arrays of `Data` that a step reads, and what was last handed out.
_STATE = ("qpos", "qvel", "act", "ctrl", "_warmstart", "_time")
_DERIVED = (
    "last_qvel",
    "site_pos",
    "site_rot",
    "site_vel",
    "muscle_length",
    "muscle_velocity",
    "muscle_force",
    "touch",
    "fault",
    "invalid",
)


class WarpSim(Simulator):
    """Worlds simulated by MuJoCo-Warp; see :class:`sim.simulator.Simulator` for the interface.

    `qpos`, `qvel`, `act` and `ctrl` are the simulator's own arrays: writing to them changes the
    worlds. The derived tensors are copies, so that a reset of some worlds leaves the others alone.

    Unless `options.lean` is false the device gets the lean model (see :mod:`sim.lean`): ids of
    geoms, sites and sensors on the device are then not those of `embodiment.model`.
    """

    def __init__(
        self,
        embodiment: Embodiment,
        nworld: int,
        device: torch.device,
        options: SimOptions | None = None,
        capture: bool = True,
    ) -> None:
        """Make `nworld` worlds in the reference pose.

        Args:
            embodiment: the body.
            nworld: number of worlds.
            device: "cuda" or "cpu".
            options: solver options and buffer sizes; `threads` is ignored.
            capture: use CUDA graphs where the device can. Without them a step may wait for the
                device, as the solver then asks it whether worlds have converged.

        Raises:
            ValueError: options out of range, or no lean model can be made of the body.
        """
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())  # Warp asks which
        super().__init__(embodiment, nworld, device, options or SimOptions())
        # One line for each kernel that is loaded, and there are sixty, would bury everything else.
        wp.config.log_level = max(wp.config.log_level, wp.LOG_WARNING)
        wp.init()
        self._wp_device = wp.device_from_torch(device)
        lean = self.options.lean
        host_model = lean_model(embodiment) if lean else copy.copy(embodiment.model)
        apply_options(host_model, self.options)
        nconmax, njmax = budgets(embodiment, self.options)
        with wp.ScopedDevice(self._wp_device):
            self._model = mjw.put_model(host_model)
            # Overflow bits are set all the same; this only stops the device from printing.
            self._model.opt.warn_overflow = 0
            # Loops that end on the device when all worlds have converged need CUDA 12.4.
            if self._wp_device.is_cuda:
                self._model.opt.graph_conditional = wp.is_conditional_graph_supported()
            self._model.opt.deterministic = self.options.deterministic
            self._data = mjw.make_data(host_model, nworld, nconmax=nconmax, njmax=njmax)
            self._reset_mask = wp.zeros(nworld, dtype=bool)
        # Up to here Warp used its own stream, from here on PyTorch's.
        wp.synchronize_device(self._wp_device)
        ranges = self.options.parameter_ranges
        if ranges:
            # Before anything is captured: a graph keeps the addresses of its arrays.
            arrays = _expand(self._model, fields_of(host_model, ranges), nworld)
            self.parameters = WorldParameters(host_model, ranges, arrays, nworld, device)
        self._take_views()
        self._allocate_derived()
        self._find_ids(host_model)

        self._advance = WarpWork(self._launch_step, self._wp_device)
        self._clear = WarpWork(self._launch_clear, self._wp_device)
        self._forward = WarpWork(self._launch_forward, self._wp_device)
        if self.options.deterministic and self._wp_device.is_cuda:
            self._try_step()
        if capture and can_capture(self._wp_device):
            for work in (self._clear, self._advance, self._forward):
                work()
                torch.cuda.synchronize(device)
                work.capture()
        everywhere = torch.ones(nworld, dtype=torch.bool, device=device)
        reference = torch.as_tensor(host_model.qpos0, dtype=torch.float32, device=device)
        self.reset(everywhere, reference.expand_as(self.qpos), torch.zeros_like(self.qvel))

    @property
    def captured(self) -> bool:
        """Whether a control step is one CUDA graph."""
        return self._advance.captured

    @property
    def overflow_counts(self) -> dict[str, Tensor]:
        """Control steps x worlds that met each limit of the simulator so far, by kind."""
        return dict(zip(self._monitor.kinds, self._monitor.counts, strict=True))

    def step(self, excitations: Tensor) -> None:
        self.ctrl.copy_(excitations.detach())
        self.last_qvel.copy_(self.qvel)
        self._advance()
        self._publish(None, self._monitor.poll())

    def reset(self, mask: Tensor, qpos: Tensor, qvel: Tensor, act: Tensor | None = None) -> None:
        # Nothing here may ask the device whether any world is to be reset: that would wait for it.
        if self.device.type == "cpu" and not mask.any():
            return
        self._mask_view.copy_(mask)
        self._clear()
        activations = torch.zeros_like(self.act) if act is None else act
        for target, value in (
            (self.qpos, qpos),
            (self.qvel, qvel),
            (self.last_qvel, qvel),
            (self.act, activations),
            (self.ctrl, activations),
        ):
            _write(target, value.detach().to(target.dtype), mask)
        # All worlds go through what is computed here. Of the others it changes nothing that a step
        # reads, and what it computes for them is not handed out.
        self._forward()
        self._publish(mask, self._monitor.poll())

    def state_dict(self) -> dict[str, Tensor]:
        own = {} if self.parameters is None else self.parameters.state_dict()
        return own | {
            name.lstrip("_"): getattr(self, name).clone() for name in (*_STATE, *_DERIVED)
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        targets = {name.lstrip("_"): getattr(self, name) for name in (*_STATE, *_DERIVED)}
        # States saved by earlier versions have no velocities of the step before.
        state = {"last_qvel": state["qvel"], **state} if "qvel" in state else state
        for name, target in targets.items():
            if name not in state:
                raise ValueError(f"simulator state has no {name!r}: it is of another simulator")
            if state[name].shape != target.shape:
                raise ValueError(
                    f"simulator state {name!r} has shape {tuple(state[name].shape)}, "
                    f"expected {tuple(target.shape)}: it is of another body or number of worlds"
                )
        self._load_parameters(state)
        for name, target in targets.items():
            target.copy_(state[name])

    def close(self) -> None:
        # The graphs hold memory of their own; the arrays go with the last tensor that views them.
        del self._advance, self._clear, self._forward

    def _launch_step(self) -> None:
        for _ in range(self.substeps):
            mjw.step(self._model, self._data)
        if self.options.refresh_derived:
            # As in MujocoSim: what the environment reads, at the state after integration, contact
            # forces (touch) left at those of the last substep.
            self._launch_derived()

    def _try_step(self) -> None:
        """Raise a ValueError that says what to do where Warp's ordered sums do not work."""
        try:
            self._advance()
        except ValueError as error:
            raise ValueError(
                f"sim.deterministic=true: this Warp cannot order sums of {self.embodiment.name} "
                f"on CUDA ({error}): set it to false, or use sim.backend=mujoco"
            ) from error

    def _launch_derived(self) -> None:
        model, data = self._model, self._data
        mjw.kinematics(model, data)
        mjw.com_pos(model, data)
        mjw.tendon(model, data)
        mjw.transmission(model, data)
        mjw.fwd_velocity(model, data)
        mjw.fwd_actuation(model, data)

    def _launch_clear(self) -> None:
        # Touch of the worlds concerned is zero from here on.
        mjw.reset_data(self._model, self._data, reset=self._reset_mask)

    def _launch_forward(self) -> None:
        # Of what is handed out only touch takes more than what is recomputed after a step; the
        # next step computes all of it anew.
        if self.options.reset_touch and len(self.embodiment.touch_sensors):
            mjw.forward(self._model, self._data)
        else:
            self._launch_derived()

    def _take_views(self) -> None:
        """Take tensors that share memory with the simulator's arrays, once."""
        data = self._data
        self.qpos, self.qvel = wp.to_torch(data.qpos), wp.to_torch(data.qvel)
        self.act, self.ctrl = wp.to_torch(data.act), wp.to_torch(data.ctrl)
        self._warmstart, self._time = wp.to_torch(data.qacc_warmstart), wp.to_torch(data.time)
        self._mask_view = wp.to_torch(self._reset_mask)
        self._monitor = OverflowMonitor(wp.to_torch(data.overflow))
        # Arrays over all bodies, sites or sensors, of which `_publish` takes a few.
        self._site_xpos, self._site_xmat = wp.to_torch(data.site_xpos), wp.to_torch(data.site_xmat)
        self._cvel, self._subtree_com = wp.to_torch(data.cvel), wp.to_torch(data.subtree_com)
        self._sensordata = wp.to_torch(data.sensordata)
        self._length = wp.to_torch(data.actuator_length)
        self._velocity = wp.to_torch(data.actuator_velocity)
        self._force = wp.to_torch(data.actuator_force)

    def _allocate_derived(self) -> None:
        body, nworld = self.embodiment, self.nworld
        nsite, nu = len(body.mimic_sites), body.model.nu

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(nworld, *shape, device=self.device)

        self.site_pos, self.site_rot = zeros(nsite, 3), zeros(nsite, 3, 3)
        self.site_vel, self.touch = zeros(nsite, 6), zeros(len(body.touch_addresses))
        self.muscle_length, self.muscle_velocity = zeros(nu), zeros(nu)
        self.muscle_force, self.last_qvel = zeros(nu), zeros(body.model.nv)
        self.fault = torch.zeros(nworld, dtype=torch.uint8, device=self.device)
        self.invalid = torch.zeros(nworld, dtype=torch.bool, device=self.device)

    def _find_ids(self, host_model: mujoco.MjModel) -> None:
        """Look up by name where the model on the device has what `_publish` takes."""
        body = self.embodiment
        sites = [host_model.site(name).id for name in body.mimic_sites]
        bodies = host_model.site_bodyid[sites]
        touch = [host_model.sensor(name).adr[0] for name in body.touch_sensors]

        def index(ids) -> Tensor:
            return torch.as_tensor(ids, dtype=torch.int64, device=self.device)

        self._site_ids, self._body_ids = index(sites), index(bodies)
        self._root_ids, self._touch_ids = index(host_model.body_rootid[bodies]), index(touch)

    def _publish(self, mask: Tensor | None, overflowed: Tensor) -> None:
        """Copy what was computed into the tensors that are handed out.

        Args:
            mask: (nworld,) bool, the worlds to publish; all of them if None.
            overflowed: (nworld,) bool, worlds that lost contacts or constraints.
        """
        site_pos = self._site_xpos.index_select(1, self._site_ids)
        cvel = self._cvel.index_select(1, self._body_ids)
        subtree_com = self._subtree_com.index_select(1, self._root_ids)
        _write(self.site_pos, site_pos, mask)
        _write(self.site_rot, self._site_xmat.index_select(1, self._site_ids), mask)
        _write(self.site_vel, site_velocities(cvel, subtree_com, site_pos), mask)
        _write(self.muscle_length, self._length, mask)
        _write(self.muscle_velocity, self._velocity, mask)
        _write(self.muscle_force, self._force, mask)
        _write(self.touch, self._sensordata.index_select(1, self._touch_ids), mask)
        _write(self.fault, classify(self.qpos, self.qvel, self.act, overflowed), mask)
        self.invalid.copy_(self.fault != NONE)


def _write(target: Tensor, value: Tensor, mask: Tensor | None) -> None:
    """Copy `value` into `target`, both (nworld, ...), in the worlds of `mask` (all if None)."""
    if mask is not None:
        value = torch.where(mask.view(-1, *[1] * (target.dim() - 1)), value, target)
    target.copy_(value)


def _expand(model: mjw.Model, fields: tuple[str, ...], nworld: int) -> dict[str, Tensor]:
    """Give arrays of a model a row for each world, in place; return tensors that view them."""
    views = {}
    for name in fields:
        owner = model.opt if name == "gravity" else model
        shared = getattr(owner, name)
        row = wp.to_torch(shared)[:1]
        views[name] = row.repeat(nworld, *[1] * (row.dim() - 1))
        setattr(owner, name, wp.from_torch(views[name], dtype=shared.dtype))
    return views
