"""Physics that differs from episode to episode, and bodies with weak muscles, from the settings."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from cfg.errors import UserError
from sim.embodiment import Embodiment
from sim.world_parameters import PARAMETERS, check_ranges, weakened


def parameter_ranges(config: DictConfig) -> dict[str, tuple[float, float]]:
    """Return the lowest and highest multiplier of each parameter that is to be drawn.

    Raises:
        UserError: a setting that is not two numbers, in order and in its range.
    """
    section = OmegaConf.to_container(config.randomization)
    ranges = {}
    for name in PARAMETERS:
        given = section[name]
        if given is None:
            continue
        if len(given) != 2:
            raise UserError(f"randomization.{name}={given}: expected [lo, hi], as in [0.8, 1.2]")
        ranges[name] = (given[0], given[1])
    try:
        check_ranges(ranges)
    except ValueError as error:
        raise UserError(f"randomization: {error}") from error
    return ranges


def weakened_body(config: DictConfig, embodiment: Embodiment) -> Embodiment:
    """Return the body with the muscles that `randomization.weakness` names made weak.

    Raises:
        UserError: a name that is no muscle and no muscle group, or a negative factor.
    """
    try:
        return weakened(embodiment, OmegaConf.to_container(config.randomization.weakness))
    except ValueError as error:
        raise UserError(f"randomization.weakness: {error}") from error


def draw(
    ranges: Mapping[str, tuple[float, float]], nworld: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return multipliers (nworld,) of each parameter, float64, uniform in its range.

    They are on the generator's device. Every parameter takes `nworld` numbers from the generator,
    whichever worlds they are for, so that nothing waits for a CUDA device.
    """
    multipliers = {}
    for name, (low, high) in ranges.items():
        share = torch.rand(nworld, generator=generator, device=generator.device)
        # Rounding must not leave the range.
        multipliers[name] = (low + (high - low) * share.double()).clamp(low, high)
    return multipliers
