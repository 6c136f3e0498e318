"""Physical parameters that differ from world to world, as multipliers of the embodiment's own.

Only what is switched on takes memory or time: a simulator makes room for the arrays of those
parameters when it is made, and later writes into them in place, so that captured graphs see it.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import mujoco
import numpy as np
import torch
from torch import Tensor

from sim.embodiment import Embodiment
from sim.mass_constants import MassConstants
from sim.muscle_groups import muscle_group


@dataclass(frozen=True)
class Parameter:
    """A physical parameter.

    Attributes:
        fields: arrays of `MjModel` (or of its options) that are multiplied, rows first.
        columns: which columns of their last axis; all of them if None.
        per_muscle: whether the multiplier may differ from muscle to muscle.
        zero: whether the multiplier may be zero.
        derived: arrays that `mj_setConst` computes from the fields.
    """

    fields: tuple[str, ...]
    columns: slice | None = None
    per_muscle: bool = False
    zero: bool = False
    derived: tuple[str, ...] = ()


#: What can differ. A muscle's gain and bias hold its peak force (N) in column 2, its dynamics the
#: time constants of activation and deactivation (s) in columns 0 and 1. Of what `mj_setConst`
#: derives from masses, `actuator_acc0` is read only for muscles without a peak force of their own,
#: which are refused, `dof_M0` not after compilation; the subtree masses scale as the masses do.
PARAMETERS: dict[str, Parameter] = {
    "mass": Parameter(
        ("body_mass", "body_inertia", "body_subtreemass"),
        derived=("body_invweight0", "dof_invweight0", "tendon_invweight0"),
    ),
    "friction": Parameter(("geom_friction", "pair_friction")),
    "strength": Parameter(
        ("actuator_gainprm", "actuator_biasprm"), slice(2, 3), per_muscle=True, zero=True
    ),
    "time_constants": Parameter(("actuator_dynprm",), slice(0, 2), per_muscle=True),
    "gravity": Parameter(("gravity",), zero=True),
    "damping": Parameter(("dof_damping", "dof_dampingpoly"), zero=True),
}
_STATE_PREFIX = "parameter."


def host_array(model: mujoco.MjModel, field: str) -> np.ndarray:
    """Return a view of an array of a model, by its name in :data:`PARAMETERS`."""
    return model.opt.gravity if field == "gravity" else getattr(model, field)


def fields_of(model: mujoco.MjModel, names: Mapping[str, object]) -> tuple[str, ...]:
    """Return the arrays that the named parameters change; those all zero stay zero, and shared."""
    wanted = [f for name in names for f in (*PARAMETERS[name].fields, *PARAMETERS[name].derived)]
    return tuple(field for field in wanted if host_array(model, field).any())


class WorldParameters:
    """The parameters of every world.

    Attributes:
        multipliers: of each parameter that is switched on, (nworld, 1) or, where muscles may
            differ, (nworld, nu), float64; 1 is the embodiment's own value.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        ranges: Mapping[str, tuple[float, float]],
        arrays: Mapping[str, Tensor],
        nworld: int,
        device: torch.device,
    ) -> None:
        """Take over the arrays that a simulator reads.

        Args:
            model: the simulator's model, with the embodiment's own values; it is left as it is.
            ranges: lowest and highest multiplier of each parameter that is switched on, as
                `check_ranges` allows.
            arrays: (nworld, ...) tensors that hold the model's values in every row and that the
                simulator reads, for all of `fields_of(model, ranges)`; what a simulator does not
                have may be left out.
            nworld: number of worlds.
            device: of `arrays`.

        Raises:
            ValueError: actuators that are no muscles.
        """
        _check_muscles(model)
        self._nworld, self._device = nworld, device
        self._ranges = dict(ranges)
        self._arrays = dict(arrays)
        self._nominal = {field: array[0].clone() for field, array in arrays.items()}
        self.multipliers = {
            name: torch.ones(
                self._nworld,
                model.nu if PARAMETERS[name].per_muscle else 1,
                dtype=torch.float64,
                device=self._device,
            )
            for name in ranges
        }
        self._mass: MassConstants | None = None
        if "mass" in ranges:
            wanted = [field for field in PARAMETERS["mass"].derived if field in arrays]
            self._mass = MassConstants(model, *ranges["mass"], wanted, self._device)

    def set(self, mask: Tensor, multipliers: Mapping[str, Tensor], check: bool = True) -> None:
        """Set parameters of the worlds of `mask`; parameters not named keep their values.

        Args:
            mask: (nworld,) bool.
            multipliers: by parameter, (nworld,) or, where muscles may differ, (nworld, nu); rows
                outside the mask are ignored.
            check: look whether the values are within their ranges, which waits for the device.

        Raises:
            ValueError: a parameter that is not switched on, a wrong shape, a value out of range.
        """
        for name, given in multipliers.items():
            if name not in self.multipliers:
                raise ValueError(
                    f"parameter {name!r} is not switched on: expected one of "
                    f"{', '.join(self.multipliers)}; name it when the simulator is made"
                )
            own = self.multipliers[name]
            if tuple(given.shape) not in ((self._nworld,), tuple(own.shape)):
                raise ValueError(
                    f"parameter {name!r} has shape {tuple(given.shape)}, expected "
                    f"({self._nworld},) or {tuple(own.shape)}"
                )
            value = given.detach().to(own).view(self._nworld, -1)
            low, high = self._ranges[name]
            # The other way round a NaN would pass.
            outside = mask.view(-1, 1) & ~((value >= low) & (value <= high))
            if check and bool(outside.any()):
                wrong = float(value.expand_as(outside)[outside][0])
                raise ValueError(
                    f"parameter {name!r} is {wrong:g} in a world: expected {low:g} to {high:g}, "
                    f"the range that the simulator was made with"
                )
            own.copy_(torch.where(mask.view(-1, 1), value, own))
        for name in multipliers:
            self._write(name)

    def _write(self, name: str) -> None:
        """Write a parameter into the arrays, in place; where it is unchanged, the same values."""
        parameter, scale = PARAMETERS[name], self.multipliers[name]
        columns = (..., parameter.columns or slice(None))
        for field in parameter.fields:
            if field in self._arrays:
                target, nominal = self._arrays[field][columns], self._nominal[field][columns]
                shape = (*scale.shape, *[1] * (target.dim() - 2))
                target.copy_(nominal * scale.to(target.dtype).view(shape))
        if name == "mass":
            own = scale == 1.0
            for field, value in self._mass(scale[:, 0]).items():
                target = self._arrays[field]
                flat, value = self._nominal[field].flatten(), value.to(target.dtype)
                # Interpolated values are off by rounding: the embodiment's own are exact.
                target.copy_(torch.where(own, flat, value).view(target.shape))

    def bind(self, model: mujoco.MjModel) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return (view into `model`, rows of the worlds) of each array, for arrays on the CPU.

        Copying row w of each pair into its view gives the model the parameters of world w.
        """
        return [(host_array(model, field), rows.numpy()) for field, rows in self._arrays.items()]

    def state_dict(self) -> dict[str, Tensor]:
        """Return the multipliers, under names of their own within a simulator's state."""
        return {_STATE_PREFIX + name: value.clone() for name, value in self.multipliers.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take the multipliers from a simulator's state."""
        everywhere = torch.ones(self._nworld, dtype=torch.bool, device=self._device)
        self.set(everywhere, {name: state[_STATE_PREFIX + name] for name in self.multipliers})


def check_ranges(ranges: Mapping[str, tuple[float, float]]) -> None:
    """Check the names and bounds of multipliers.

    Raises:
        ValueError: unknown parameter, or bounds that are not positive and in order.
    """
    for name, (low, high) in ranges.items():
        if name not in PARAMETERS:
            raise ValueError(f"unknown parameter {name!r}: expected one of {', '.join(PARAMETERS)}")
        zero = PARAMETERS[name].zero
        if not (0.0 <= low <= high < float("inf")) or (low == 0.0 and not zero):
            least = "0 <= lo" if zero else "0 < lo"
            raise ValueError(
                f"parameter {name!r} has range [{low:g}, {high:g}]: need {least} <= hi"
            )


def weakened(embodiment: Embodiment, weakness: Mapping[str, float]) -> Embodiment:
    """Return an embodiment some of whose muscles have other peak forces, active and passive.

    Args:
        embodiment: the body; it is left as it is.
        weakness: factor (1 = unchanged, 0 = no force) of a muscle ("soleus_r"), of a group on one
            side ("hamstrings_left") or on both ("hamstrings"). Factors of a muscle that is named
            more than once multiply.

    Raises:
        ValueError: a name that is no muscle and no group of this body, or a negative factor.
    """
    if not weakness:
        return embodiment
    model = copy.copy(embodiment.model)
    _check_muscles(model)
    muscles = _muscles_by_name(embodiment)
    strength, columns = np.ones(model.nu), PARAMETERS["strength"].columns
    for name, factor in weakness.items():
        if name not in muscles:
            close = difflib.get_close_matches(name, muscles, n=1, cutoff=0.0)[0]
            raise ValueError(
                f"{name!r} is no muscle or muscle group of {embodiment.name}: "
                f"did you mean {close!r}?"
            )
        if not 0.0 <= factor < float("inf"):
            raise ValueError(f"{name}={factor:g}: expected a factor of at least 0")
        strength[muscles[name]] *= factor
    for field in PARAMETERS["strength"].fields:
        getattr(model, field)[:, columns] *= strength[:, None]
    return replace(embodiment, model=model)


def _muscles_by_name(embodiment: Embodiment) -> dict[str, list[int]]:
    """Return the muscle indices of every muscle, of every group and of every group and side."""
    named = {name: [index] for index, name in enumerate(embodiment.muscle_names)}
    for group, indices in embodiment.muscle_groups.items():
        named[group] = list(indices)
    for index, name in enumerate(embodiment.muscle_names):
        named.setdefault(muscle_group(name), []).append(index)
    return named


def _check_muscles(model: mujoco.MjModel) -> None:
    kinds = (
        (model.actuator_gaintype, mujoco.mjtGain.mjGAIN_MUSCLE),
        (model.actuator_biastype, mujoco.mjtBias.mjBIAS_MUSCLE),
        (model.actuator_dyntype, mujoco.mjtDyn.mjDYN_MUSCLE),
    )
    muscles = all((found == expected).all() for found, expected in kinds)
    if not muscles or (model.actuator_gainprm[:, 2] < 0).any():
        raise ValueError("every actuator must be a muscle with a peak force: this body has others")
