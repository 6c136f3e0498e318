"""Which OpenGL MuJoCo renders videos with: it reads that when it is imported, so ask first."""

from __future__ import annotations

import ctypes.util
import os
import sys

ADVICE = "install libegl1 or libosmesa6 and set MUJOCO_GL=egl or osmesa"


def choose_offscreen() -> None:
    """Set MUJOCO_GL to what renders without a display, where that has to be chosen.

    It has to on Linux; macOS and Windows have one OpenGL, which needs no display.
    """
    if sys.platform == "linux" and "MUJOCO_GL" not in os.environ:
        os.environ["MUJOCO_GL"] = "egl" if ctypes.util.find_library("EGL") else "osmesa"
