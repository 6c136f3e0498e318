"""Reference motions: the motion file, the motion set, and what makes them.

Standalone: imports neither mm_torch nor agents, and no Warp.
"""

from retarget.motion import Motion, MotionError
from retarget.motion_set import load_motion_set, write_motion_set

__all__ = ["Motion", "MotionError", "load_motion_set", "write_motion_set"]
