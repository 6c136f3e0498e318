"""OpenGL is chosen where it has to be, and nowhere else."""

from __future__ import annotations

import os
import sys

import pytest

from cfg import opengl


@pytest.mark.parametrize(
    ("platform", "found", "chosen"),
    [
        ("linux", "libEGL.so.1", "egl"),
        ("linux", None, "osmesa"),
        ("darwin", None, None),
        ("win32", None, None),
    ],
)
def test_only_linux_has_a_choice(
    monkeypatch: pytest.MonkeyPatch, platform: str, found: str | None, chosen: str | None
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(opengl.ctypes.util, "find_library", lambda name: found)
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    opengl.choose_offscreen()
    assert os.environ.get("MUJOCO_GL") == chosen
    monkeypatch.delenv("MUJOCO_GL", raising=False)


def test_what_the_user_says_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    opengl.choose_offscreen()
    assert os.environ["MUJOCO_GL"] == "glfw"
