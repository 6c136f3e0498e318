"""A captured walk, retargeted; tests that ask for it are skipped where the data is absent."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from retarget.pipeline import Retargeter
from retarget.quality import Quality
from retarget.settings import RetargetConfig


def walk_quality(shared: Path, **settings: object) -> Quality:
    """Retarget the walk 02_01 to the full body with these settings; how good it is."""
    clip = shared / "data" / "amass" / "CMU" / "02" / "02_01_poses.npz"
    models = shared / "data" / "body_models"
    if not clip.exists() or not models.exists():
        pytest.skip(f"no captured motion at {clip}, or no body model at {models}")
    config = RetargetConfig(
        motions=str(clip), body_model=str(models), activations=False, **settings
    )
    retargeter = Retargeter(OmegaConf.structured(config))
    source = retargeter.prepare(clip)
    motion, result = retargeter.finish(source, retargeter.solve([source])[0], 0.0)
    assert len(motion) == 286
    return result.quality
