"""Checkpoints: one file with the configuration, the agent and what a resume needs.

Plain tensors, numbers, strings, lists and dicts: `torch.load(weights_only=True)` reads them.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from cfg import UserError
from sim.embodiment import Embodiment

FORMAT_VERSION = 1


def save_checkpoint(
    path: Path, config: DictConfig, embodiment: Embodiment, state: dict[str, Any]
) -> None:
    """Write a checkpoint; the file appears whole or not at all.

    Args:
        path: the file.
        config: the complete configuration of the run.
        embodiment: the body that was trained.
        state: what else to keep, such as the agent's state.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "format_version": FORMAT_VERSION,
        "config": OmegaConf.to_container(config),
        "embodiment": embodiment.name,
        "fingers": embodiment.fingers,
        "model": embodiment.fingerprint,
        **state,
    }
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            torch.save(content, file)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        UserError: the file is missing, damaged, or no checkpoint of this project.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for a damaged or foreign file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"checkpoint {path} cannot be read: {reason}") from error
    if not isinstance(content, dict) or "agent" not in content or "config" not in content:
        raise UserError(f"checkpoint {path}: not a checkpoint of mm_torch")
    if content.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"checkpoint {path}: format {content.get('format_version')}, expected {FORMAT_VERSION}"
        )
    return content


def check_embodiment(path: str | Path, content: dict[str, Any], embodiment: Embodiment) -> None:
    """Check that a checkpoint was trained on this body and this release of its model.

    Raises:
        UserError: it was trained on another one.
    """
    own = (content["embodiment"], content["fingers"])
    if own != (embodiment.name, embodiment.fingers):
        raise UserError(
            f"checkpoint {path}: trained on {own[0]} (fingers={str(own[1]).lower()}), expected "
            f"{embodiment.name} (fingers={str(embodiment.fingers).lower()})"
        )
    if content["model"] != embodiment.fingerprint:
        raise UserError(
            f"checkpoint {path}: trained on model {content['model']}, this is model "
            f"{embodiment.fingerprint}: install the musclemimic-models release and set the "
            f"phantom_inertia that it was trained with"
        )
