from __future__ import annotations

import numpy as np
import pytest

from retarget import load_motion_set
from sim.embodiment import Embodiment
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def demo_walk(fullbody: Embodiment) -> np.ndarray:
    """The first 60 frames (60, nq) of the demo walk."""
    return load_motion_set(ROOT / "data" / "demo" / "fullbody", fullbody)[0].qpos[:60]
