"""Reference motions: SMPL motion capture to motions of a body, the motion file, the motion set.

Standalone: imports neither mm_torch nor agents, and no Warp.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "Motion": "retarget.motion",
    "MotionError": "retarget.motion",
    "load_motion_set": "retarget.motion_set",
    "write_motion_set": "retarget.motion_set",
}

__all__ = ["Motion", "MotionError", "load_motion_set", "write_motion_set"]


def __getattr__(name: str) -> Any:
    # On use: `python -m retarget show` chooses MuJoCo's OpenGL before MuJoCo is imported.
    if name not in _HOME:
        raise AttributeError(f"module 'retarget' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
