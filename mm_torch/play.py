"""`python -m mm_torch.play`: watch a trained policy, in a window or as an MP4."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from cfg.opengl import ADVICE, choose_offscreen

# MuJoCo reads it when it is imported.
if any(argument.startswith("video=") for argument in sys.argv):
    choose_offscreen()

import numpy as np
import torch

from cfg import UserError
from mm_torch.command_line import flag, positive, run_command, split_arguments
from mm_torch.goal_task import GoalTask
from mm_torch.goals import Marker
from mm_torch.mover import ARGUMENTS, Mover, make_mover
from mm_torch.policy_loading import LoadedPolicy
from mm_torch.render import Scene, VideoRenderer
from retarget.video import check_video, write_video

USAGE = """
usage: python -m mm_torch.play checkpoint=FILE [video=FILE.mp4] [motions=SET] [key=value ...]
       python -m mm_torch.play cfg=lesson motions=SET [video=FILE.mp4] [key=value ...]

Shows a trained policy, or with cfg= computed muscle control, which needs no training: muscles
coloured by activation (blue at rest, red when active), the reference as a violet ghost or what the
body is told as spheres. Without video=, opens a window.
  video=FILE.mp4    render without a display (EGL or OSMesa; MUJOCO_GL chooses)
  teacher=true      computed muscle control in place of the checkpoint's policy
  clip=NAME         one clip in place of all
  ghost=true        draw the reference
  seconds=N         stop after N seconds of each clip (of a task with a goal: 20)
  fps=25            frames a second of the video
  size=640x480      width and height of the video
Other key=value settings override the checkpoint's or the configuration's, such as
sim.backend=mujoco.
"""
_OWN = (*ARGUMENTS, "video", "clip", "ghost", "seconds", "fps", "size")


def main(arguments: Sequence[str]) -> int:
    """Play; return the exit status."""
    own, settings = split_arguments(arguments, _OWN)
    seconds = positive(own, "seconds", float("inf"))
    ghost = flag(own.get("ghost", "true"), "ghost")
    video = Path(own["video"]) if "video" in own else None
    if video is not None:
        check_video(video)
    elif sys.platform == "linux" and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        raise UserError("no display for a window: give video=FILE.mp4")
    mover = make_mover(own, settings, nworld=1)
    clips = _clips(mover, own.get("clip"))
    goal = isinstance(mover.task, GoalTask)
    if goal:
        mover.task.renew = True
        clips = clips if "clip" in own else clips[:1]
        seconds = min(seconds, 20.0) if "seconds" not in own else seconds
    scene = Scene(mover.task.simulator.embodiment, ghost and not goal)
    if video is not None:
        fps, (width, height) = positive(own, "fps", 25.0), _size(own.get("size", "640x480"))
        _write_video(mover, scene, clips, seconds, video, fps, width, height)
        print(f"wrote {video}")
    else:
        _show_window(mover, scene, clips, seconds)
    return 0


@torch.no_grad()
def states(
    mover: Mover | LoadedPolicy, clip: int, seconds: float
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, Sequence[Marker]]]:
    """Yield (qpos, activations, reference qpos, markers) of each control step, world 0.

    A clip is played from its first frame; a task with a goal starts there, and goes on.
    """
    task = mover.task
    device = task.simulator.device
    everywhere = torch.ones(task.simulator.nworld, dtype=torch.bool, device=device)
    clips = torch.full((task.simulator.nworld,), clip, device=device)
    task.place(everywhere, clips, torch.zeros_like(clips))
    goal = task.goal if isinstance(task, GoalTask) else None
    last = int(task.library.lengths[clip]) - 1 if goal is None else float("inf")
    markers: Sequence[Marker] = ()
    for _ in range(int(min(last, seconds / task.simulator.control_dt))):
        outcome = task.step(mover.act(task.observe()))
        tensors = (task.simulator.qpos, task.simulator.act, task.reference().qpos)
        if goal is not None:
            markers = goal.markers(task.body, 0)
        yield (*(tensor[0].cpu().numpy().astype(np.float64) for tensor in tensors), markers)
        if bool(outcome.terminated[0]):
            return


def _write_video(
    mover: Mover, scene: Scene, clips: list[int], seconds: float, path: Path, fps: float,
    width: int, height: int,
) -> None:  # fmt: skip
    try:
        renderer = VideoRenderer(scene, height, width)
    except Exception as error:  # each OpenGL backend fails in its own way
        raise UserError(f"no off-screen OpenGL ({type(error).__name__}): {ADVICE}") from error
    stride = max(1, round(1.0 / (mover.task.simulator.control_dt * fps)))
    rate = 1.0 / (mover.task.simulator.control_dt * stride)

    def images() -> Iterator[np.ndarray]:
        for clip in clips:
            for moment in islice(states(mover, clip, seconds), 0, None, stride):
                scene.update(*moment)
                yield renderer.frame()

    try:
        write_video(path, images(), rate)
    finally:
        renderer.close()


def _show_window(mover: Mover, scene: Scene, clips: list[int], seconds: float) -> None:
    from mujoco import viewer

    try:
        opened = viewer.launch_passive(scene.model, scene.data)
    except RuntimeError as error:  # macOS draws windows from the first thread only
        raise UserError(f"no window: {error}: use mjpython -m mm_torch.play, or video=") from error
    with opened as window:
        window.opt.sitegroup[:] = 0
        while window.is_running():
            for clip in clips:
                for moment in states(mover, clip, seconds):
                    start = time.perf_counter()
                    if not window.is_running():
                        return
                    with window.lock():
                        scene.update(*moment)
                        window.user_scn.ngeom = 0
                        scene.add_ghost(window.user_scn)
                    window.sync()
                    wait = mover.task.simulator.control_dt - (time.perf_counter() - start)
                    time.sleep(max(0.0, wait))


def _clips(mover: Mover, name: str | None) -> list[int]:
    library = mover.task.library
    return list(range(len(library))) if name is None else [library.index_of(name)]


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise UserError(f"size={text}: expected WIDTHxHEIGHT, as in 640x480")
    return int(width) // 2 * 2, int(height) // 2 * 2


if __name__ == "__main__":
    sys.exit(run_command(main, USAGE, settings=False))
