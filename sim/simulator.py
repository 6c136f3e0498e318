"""The interface that both simulators share, and the function that makes one.

State lives in torch tensors that a simulator updates in place: take them once, read them at any
time, clone what must outlive the next step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from sim.embodiment import CONTROL_HZ, Embodiment
from sim.world_parameters import WorldParameters, check_ranges


@dataclass(frozen=True)
class SimOptions:
    """Options of a simulator; see `SimConfig` in cfg/schema.py for their meaning and defaults.

    `parameter_ranges` switches on physical parameters that differ between worlds, by name (see
    `sim.world_parameters.PARAMETERS`), with the lowest and highest multiplier of each.
    """

    threads: int = 0
    timestep: float | None = None
    iterations: int | None = None
    ls_iterations: int | None = None
    euler_damping: bool = True
    refresh_derived: bool = True
    nconmax: int | None = None
    njmax: int | None = None
    lean: bool = True
    reset_touch: bool = True
    deterministic: bool = False
    parameter_ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)


class Simulator(ABC):
    """Many copies ("worlds") of one embodiment, stepped together.

    Attributes, all tensors on `device`, updated in place by `step` and `reset`:
        qpos: (nworld, nq) positions; free root = xyz (m) and unit quaternion (w, x, y, z), then
            joint angles (rad) and slides (m).
        qvel: (nworld, nv) velocities; free root = linear (world axes, m/s) and angular (body axes,
            rad/s), then joints.
        last_qvel: (nworld, nv) velocities before the last step; after a reset, those of the state.
        act: (nworld, nu) muscle activations, 0 to 1.
        ctrl: (nworld, nu) excitations as last set.
        site_pos: (nworld, nsite, 3) mimic-site positions (m, world).
        site_rot: (nworld, nsite, 3, 3) mimic-site rotation matrices (site to world).
        site_vel: (nworld, nsite, 6) angular (rad/s) then linear (m/s) velocity of each mimic site,
            world axes, at the site.
        muscle_length: (nworld, nu) musculotendon lengths (m).
        muscle_velocity: (nworld, nu) lengthening velocities (m/s).
        muscle_force: (nworld, nu) muscle forces (N), negative when pulling.
        touch: (nworld, ntouch) foot touch forces (N) of the last physics substep.
        fault: (nworld,) uint8, what went wrong in the last step: codes of `sim.faults.KINDS`.
        invalid: (nworld,) bool, worlds with a fault. They must be reset before they are used.
        parameters: the physical parameters of every world; None where none is switched on.
    """

    qpos: Tensor
    qvel: Tensor
    last_qvel: Tensor
    act: Tensor
    ctrl: Tensor
    site_pos: Tensor
    site_rot: Tensor
    site_vel: Tensor
    muscle_length: Tensor
    muscle_velocity: Tensor
    muscle_force: Tensor
    touch: Tensor
    fault: Tensor
    invalid: Tensor
    parameters: WorldParameters | None = None

    def __init__(
        self, embodiment: Embodiment, nworld: int, device: torch.device, options: SimOptions
    ) -> None:
        if nworld < 1:
            raise ValueError(f"sim.nworld is {nworld}: expected at least one world")
        check_ranges(options.parameter_ranges)
        self.embodiment = embodiment
        self.nworld = nworld
        self.device = device
        self.options = options
        timestep = options.timestep or embodiment.model.opt.timestep
        self.substeps = max(1, round(1.0 / (CONTROL_HZ * timestep)))
        self.control_dt = self.substeps * timestep
        if abs(self.control_dt * CONTROL_HZ - 1.0) > 1e-6:
            raise ValueError(
                f"sim.timestep={timestep:g} s does not divide the control step of "
                f"{1 / CONTROL_HZ:g} s: use 0.002 or 0.001"
            )

    @abstractmethod
    def step(self, excitations: Tensor) -> None:
        """Advance every world by one control step (10 ms) under constant excitations.

        Args:
            excitations: (nworld, nu), in [0, 1].
        """

    @abstractmethod
    def reset(self, mask: Tensor, qpos: Tensor, qvel: Tensor, act: Tensor | None = None) -> None:
        """Put the worlds of `mask` into a state; the others are untouched.

        Derived quantities (sites, muscles, touch) of the reset worlds are those of the new state;
        touch, which takes a solve of the contacts, is zero there if `options.reset_touch` is false.

        Args:
            mask: (nworld,) bool.
            qpos: (nworld, nq); rows outside the mask are ignored.
            qvel: (nworld, nv).
            act: (nworld, nu) activations; zero if left out. Excitations are set to them.
        """

    def set_parameters(
        self, mask: Tensor, multipliers: Mapping[str, Tensor], check: bool = True
    ) -> None:
        """Change physical parameters of the worlds of `mask`, from the next step or reset on.

        Args:
            mask: (nworld,) bool.
            multipliers: of the embodiment's own values, by parameter: (nworld,) or, for strength
                and time constants, (nworld, nu); rows outside the mask are ignored. Parameters not
                named keep their values.
            check: look whether the values are within `options.parameter_ranges`: on CUDA this
                waits for the device.

        Raises:
            ValueError: a parameter that is not switched on, a wrong shape, a value out of range.
        """
        if self.parameters is None:
            raise ValueError(
                "no parameter of this simulator differs between worlds: name those that shall in "
                "SimOptions.parameter_ranges, as in {'mass': (0.8, 1.2)}"
            )
        self.parameters.set(mask, multipliers, check)

    def _load_parameters(self, state: Mapping[str, Tensor]) -> None:
        """Take the parameters from a state, which must have those that are switched on."""
        own = {} if self.parameters is None else self.parameters.state_dict()
        theirs = {name: value for name, value in state.items() if name.startswith("parameter.")}
        if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in theirs.items()}:
            raise ValueError(
                f"simulator state has parameters of worlds {sorted(theirs) or 'none'}, expected "
                f"{sorted(own) or 'none'}: it was saved under another randomization"
            )
        if self.parameters is not None:
            self.parameters.load_state_dict(state)

    @abstractmethod
    def state_dict(self) -> dict[str, Tensor]:
        """Return everything that continues the simulation exactly."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from what `state_dict` returned, for the same embodiment and world count."""

    def close(self) -> None:  # noqa: B027 - nothing to release unless a simulator says so
        """Release threads and device memory."""


def cuda_usable() -> bool:
    """Whether torch sees a CUDA device."""
    return torch.cuda.is_available()


def resolve_backend(backend: str, device: str) -> tuple[str, torch.device]:
    """Turn ``auto`` settings into a backend ("warp" or "mujoco") and a torch device.

    `auto` takes Warp on CUDA where there is CUDA, and MuJoCo C on the CPU elsewhere.

    Raises:
        ValueError: unknown backend, or a CUDA device where there is none.
    """
    if backend not in ("auto", "warp", "mujoco"):
        raise ValueError(f"sim.backend is {backend!r}: expected auto, warp or mujoco")
    if device == "auto":
        device = "cuda" if cuda_usable() and backend != "mujoco" else "cpu"
    resolved = torch.device(device)
    if resolved.type == "cuda" and not cuda_usable():
        raise ValueError(f"device is {device!r} but torch sees no CUDA device: use device=cpu")
    if backend == "auto":
        backend = "warp" if resolved.type == "cuda" else "mujoco"
    return backend, resolved


def make_simulator(
    embodiment: Embodiment,
    nworld: int,
    backend: str = "auto",
    device: str = "auto",
    options: SimOptions | None = None,
) -> Simulator:
    """Make the simulator that `backend` and `device` ask for (see :func:`resolve_backend`).

    `MujocoSim` computes on the CPU; with a CUDA `device` its tensors are still on the CPU, so it is
    refused there.
    """
    backend, torch_device = resolve_backend(backend, device)
    options = options or SimOptions()
    if backend == "mujoco":
        if torch_device.type != "cpu":
            raise ValueError("sim.backend=mujoco computes on the CPU: use device=cpu with it")
        from sim.mujoco_sim import MujocoSim

        return MujocoSim(embodiment, nworld, options)
    try:
        from sim.warp_sim import WarpSim
    except ImportError as error:
        raise ValueError(
            f"sim.backend=warp needs MuJoCo-Warp ({error}): pip install 'mm-torch[warp]'"
        ) from error
    return WarpSim(embodiment, nworld, torch_device, options)


def site_velocities(cvel: Tensor, subtree_com: Tensor, site_pos: Tensor) -> Tensor:
    """Return site velocities (..., nsite, 6), angular then linear, world axes, at the sites.

    MuJoCo's body velocities are expressed at the centre of mass of the kinematic tree: the linear
    part is moved to the site by v_site = v_com + w x (p_site - p_com).

    Args:
        cvel: (..., nsite, 6) `MjData.cvel` of the bodies that carry the sites.
        subtree_com: (..., nsite, 3) `MjData.subtree_com` of the root bodies of these bodies.
        site_pos: (..., nsite, 3) site positions.
    """
    angular = cvel[..., :3]
    linear = cvel[..., 3:] + torch.linalg.cross(angular, site_pos - subtree_com)
    return torch.cat((angular, linear), dim=-1)


def apply_options(model, options: SimOptions) -> None:
    """Write the solver options into an `MjModel` (a copy of the embodiment's own)."""
    import mujoco

    if options.timestep is not None:
        model.opt.timestep = options.timestep
    if options.iterations is not None:
        model.opt.iterations = options.iterations
    if options.ls_iterations is not None:
        model.opt.ls_iterations = options.ls_iterations
    if not options.euler_damping:
        model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_EULERDAMP


def tree_roots(embodiment: Embodiment) -> np.ndarray:
    """Return the (nsite,) root bodies of the trees that the mimic sites belong to."""
    return embodiment.model.body_rootid[embodiment.site_body_ids]
