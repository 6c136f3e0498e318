"""`python -m retarget show`: the source skeleton beside the result, as a video."""

from __future__ import annotations

import copy
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
from omegaconf import DictConfig, OmegaConf

from cfg import UserError, load_settings
from cfg.help import describe
from cfg.opengl import ADVICE
from cfg.option import opt
from retarget.motion import Motion
from retarget.pipeline import Retargeter, Source
from retarget.settings import RetargetConfig
from retarget.skeleton import BODY_JOINTS
from retarget.video import check_video, write_video
from sim.embodiment import EMBODIMENTS, Embodiment, load_embodiment

USAGE = """
usage: python -m retarget show CLIP video=FILE.mp4 [key=value]

CLIP is a motion file that `python -m retarget` wrote. Left the captured skeleton with the body's
proportions, right the result; soles that stand are marked green.

Settings (key=default  meaning):
"""
_LEFT, _RIGHT, _TRUNK = (0.16, 0.53, 0.85, 1.0), (0.86, 0.35, 0.24, 1.0), (0.55, 0.55, 0.6, 1.0)
_STANDING = (0.1, 0.8, 0.3, 0.9)
#: Where the camera looks, from where the body faces (degrees).
_VIEWS = {"follow": 140.0, "side": 90.0, "front": 180.0}


@dataclass
class ShowConfig:
    video: str | None = opt(None, "MP4 file to write")
    motions: str | None = opt(None, "the source clip, where it is no longer where it was")
    body_model: str | None = opt(None, "folder of body models, likewise")
    width: int = opt(960, "pixels of both views together", low=64, high=4096)
    height: int = opt(480, "pixels", low=64, high=4096)
    fps: float = opt(25.0, "frames a second of the video", low=1.0, high=240.0)
    speed: float = opt(1.0, "speed of playback; 0.25 shows a quarter", low=0.01, high=100.0)
    start: float = opt(0.0, "first second of the clip to show", low=0.0)
    seconds: float | None = opt(None, "how many to show; null: to the end", low=0.001)
    camera: str = opt(
        "follow",
        "follow (three-quarter, turns with the body), side or front",
        choices=tuple(_VIEWS),
    )
    azimuth: float | None = opt(None, "world direction to look in (degrees), in place of camera=")
    muscles: bool = opt(False, "draw the muscles, coloured by activation")
    allow_pickle: bool = opt(False, "read a .pkl body model; unpickling runs code from the file")


def main(arguments: Sequence[str]) -> int:
    """Render a clip and return the exit status."""
    if not arguments or {"-h", "--help", "help"} & set(arguments):
        print(USAGE.strip() + "\n" + "\n".join(describe(ShowConfig)))
        return 0
    if "=" in arguments[0]:
        raise UserError(f"{arguments[0]}: expected a motion file first, then settings")
    config = load_settings(ShowConfig, arguments[1:])
    if config.video is None:
        raise UserError("video= is missing: give the .mp4 file to write")
    check_video(Path(config.video))
    clip = Path(arguments[0])
    motion, body = load_result(clip)
    source = load_source(motion, body, clip, config)
    frames = chosen_frames(motion, config.start, config.seconds, config.fps, config.speed)
    view = SideBySide(body, motion, source, config)
    try:
        write_video(Path(config.video), view.images(frames), config.fps)
    except OSError as error:
        raise UserError(f"video={config.video}: cannot be written ({error})") from error
    finally:
        view.close()
    print(f"{config.video}: {len(frames)} frames of {motion.name}")
    return 0


def load_result(path: Path) -> tuple[Motion, Embodiment]:
    """Read a motion file and build its body.

    Raises:
        UserError: the file cannot be used.
    """
    motion = Motion.load(path)  # of which body, it says itself
    if motion.embodiment not in EMBODIMENTS:
        expected = " or ".join(EMBODIMENTS)
        raise UserError(f"{path}: is of {motion.embodiment!r}, not {expected}: retarget it again")
    for fingers in (False, True):
        body = load_embodiment(motion.embodiment, fingers)
        if body.joint_names == motion.joint_names:
            return Motion.load(path, body), body
    raise UserError(f"{path}: its joints are not those of {motion.embodiment}: retarget it again")


def load_source(motion: Motion, body: Embodiment, path: Path, config: DictConfig) -> Source:
    """Pose the source skeleton of a result again.

    Raises:
        UserError: the result does not say what it was made from, or that is gone.
    """
    if not motion.provenance:
        raise UserError(f"{path}: does not say what it was made from: show it with mm_torch.play")
    try:
        record = json.loads(motion.provenance)
        varied = record.get("variant_of")
        if not varied:
            clip, model = str(record["source"]), str(record["body_model"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{path}: damaged provenance ({reason}): retarget it again") from error
    if varied:
        raise UserError(f"{path}: is a variant of {varied}: show that, or this with mm_torch.play")
    for key, place in (("motions", clip), ("body_model", model)):
        if config[key] is not None and not Path(config[key]).exists():
            raise UserError(f"{key}={config[key]}: does not exist")
        if config[key] is None and not Path(place).exists():
            raise UserError(f"{path}: was made from {place}, which is gone: give {key}=")
    clip, model = Path(config.motions or clip), config.body_model or model
    if not clip.is_file():
        raise UserError(f"motions={clip}: is a folder, expected the one .npz clip of {path}")
    digest = hashlib.sha256(clip.read_bytes()).hexdigest()
    if not digest.startswith(str(record.get("source_sha256", ""))):
        print(f"warning: {clip} is not the file that {path} was made from", file=sys.stderr)
    # Permission to unpickle is the viewer's to give: a motion file may come from anyone.
    values = {"body_model": model, "embodiment": motion.embodiment, "fingers": body.fingers,
              "fps": motion.fps, "allow_pickle": config.allow_pickle}  # fmt: skip
    base = load_settings(RetargetConfig, [])
    return Retargeter(OmegaConf.merge(base, values)).prepare(clip, motion.name)


def chosen_frames(
    motion: Motion, start: float, seconds: float | None, fps: float, speed: float
) -> np.ndarray:
    """Frames of the clip that a video shows.

    Raises:
        UserError: it would show none.
    """
    end = motion.duration if seconds is None else min(start + seconds, motion.duration)
    if start >= end:
        raise UserError(f"start={start:g}: the clip is {motion.duration:.2f} s long")
    times = np.arange(start, end + 1e-9, speed / fps)
    return np.minimum(np.round(times * motion.fps).astype(int), len(motion) - 1)


def heading(across: np.ndarray) -> np.ndarray:
    """Directions (T, 2) that a body faces on the floor; shorter where it is unsure.

    Args:
        across: (T, 3) from the right to the left hip or shoulder (m), z up.
    """
    return np.stack((across[:, 1], -across[:, 0]), axis=1)


def smooth(track: np.ndarray, width: float) -> np.ndarray:
    """A track (T, K) averaged over Gaussian windows of `width` frames, without delay."""
    reach = int(3 * width) + 1
    window = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    padded = np.pad(track, ((reach, reach), (0, 0)), mode="edge")
    columns = [np.convolve(column, window / window.sum(), "valid") for column in padded.T]
    return np.stack(columns, axis=1)


class SideBySide:
    """Draws both, each from the same place."""

    def __init__(
        self, body: Embodiment, motion: Motion, source: Source, config: DictConfig
    ) -> None:
        """Open an off-screen context (EGL or OSMesa, by MUJOCO_GL)."""
        self.body, self.motion, self.config = body, motion, config
        self.model = copy.copy(body.model)
        # H.264 wants even sizes: each view is half as wide, so only the height can be odd.
        height, width = config.height // 2 * 2, config.width // 2
        # Without a display the processor draws: multisampling would be half of its work.
        self.model.vis.quality.offsamples = 0
        self.model.vis.global_.offwidth = max(width, self.model.vis.global_.offwidth)
        self.model.vis.global_.offheight = max(height, self.model.vis.global_.offheight)
        self.data = mujoco.MjData(self.model)
        try:
            self.renderer = mujoco.Renderer(self.model, height, width, max_geom=20000)
        except Exception as error:  # each OpenGL backend fails in its own way
            raise UserError(f"no off-screen OpenGL ({type(error).__name__}): {ADVICE}") from error
        for effect in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self.renderer.scene.flags[effect] = 0
        self.option = mujoco.MjvOption()
        self.option.sitegroup[:] = 0
        self.option.flags[mujoco.mjtVisFlag.mjVIS_TENDON] = int(config.muscles)
        self.camera = mujoco.MjvCamera()
        self.camera.distance = 3.0 if body.has_root else 1.9
        self.camera.elevation = -10.0
        count = min(len(source.joints), len(motion))
        drawn = source.joints.shape[1] if body.fingers else BODY_JOINTS
        joints = source.joints[:count].numpy()[:, :drawn].copy()
        if body.has_root:
            # The floors agree where the main sites do, half of the time.
            gap = motion.site_pos[:count, 0, 2] - source.position[:count, 0, 2].numpy()
            joints[..., 2] += np.median(gap)
        self._joints = joints
        skeleton = source.skeleton
        # What is not moved by the base, such as the legs below a fixed chest, is not shown.
        shown = _from_base(skeleton.parents, skeleton.base)
        self._bones = [
            (parent, joint, skeleton.names[joint])
            for joint, parent in enumerate(skeleton.parents[:drawn])
            if parent in shown
        ]
        part = "hip" if body.has_root else "shoulder"
        left, right = (skeleton.names.index(f"{side}_{part}") for side in ("left", "right"))
        facing = heading(joints[:, left] - joints[:, right])
        turning = config.camera == "follow"
        facing = smooth(facing, motion.fps) if turning else facing.mean(0, keepdims=True)
        self._azimuth = np.degrees(np.arctan2(facing[:, 1], facing[:, 0])) + _VIEWS[config.camera]
        if config.azimuth is not None:
            self._azimuth = np.array([config.azimuth])
        self._lookat = smooth(motion.site_pos[:, 0].astype(float), 0.4 * motion.fps)

    def images(self, frames: np.ndarray) -> Iterator[np.ndarray]:
        """Yield an image (height, width, 3) uint8 for each frame."""
        for frame in frames:
            self.data.qpos[:] = self.motion.qpos[frame]
            if self.config.muscles:
                self._colour_muscles(frame)
            # All of it, lights and tendons included: kinematics alone leaves the scene dark.
            mujoco.mj_fwdPosition(self.model, self.data)
            self.camera.lookat[:] = self._lookat[frame]
            self.camera.azimuth = self._azimuth[min(frame, len(self._azimuth) - 1)]
            self._set_scene(mujoco.mjtCatBit.mjCAT_STATIC)
            self._draw_skeleton(self._joints[min(frame, len(self._joints) - 1)])
            source = self.renderer.render().copy()
            self._set_scene(mujoco.mjtCatBit.mjCAT_ALL)
            self._mark_standing(frame)
            yield np.concatenate((source, self.renderer.render()), axis=1)

    def close(self) -> None:
        """Free the context."""
        self.renderer.close()

    def _set_scene(self, what: mujoco.mjtCatBit) -> None:
        """The world with the body, or (static) without it."""
        mujoco.mjv_updateScene(
            self.model, self.data, self.option, None, self.camera, int(what), self.renderer.scene
        )

    def _colour_muscles(self, frame: int) -> None:
        act = self.motion.act
        share = np.zeros(self.model.nu) if act is None else np.clip(act[frame], 0, 1)
        rest, active = np.array([0.25, 0.35, 0.65, 1.0]), np.array([0.95, 0.15, 0.10, 1.0])
        tendon = self.model.actuator_trnid[:, 0]
        self.model.tendon_rgba[tendon] = rest + share[:, None] * (active - rest)

    def _draw_skeleton(self, joints: np.ndarray) -> None:
        for parent, joint, name in self._bones:
            colour = {"left": _LEFT, "right": _RIGHT}.get(name.partition("_")[0], _TRUNK)
            capsule = mujoco.mjtGeom.mjGEOM_CAPSULE
            geom, width = self._new_geom(colour, capsule), 0.02 if joint < BODY_JOINTS else 0.007
            mujoco.mjv_connector(geom, capsule, width, joints[parent], joints[joint])

    def _mark_standing(self, frame: int) -> None:
        """Green discs under the heels and toes that stand."""
        if self.motion.contact is None:
            return
        bodies = ("calcn_l", "toes_l", "calcn_r", "toes_r")
        for name, stands in zip(bodies, self.motion.contact[frame], strict=True):
            if stands:
                place = self.data.body(name).xpos * [1, 1, 0] + [0, 0, 0.002]
                disc = mujoco.mjtGeom.mjGEOM_CYLINDER
                self._new_geom(_STANDING, disc, (0.05, 0.002, 0), place)

    def _new_geom(
        self, colour: tuple[float, ...], kind: mujoco.mjtGeom, size: Sequence[float] = (0, 0, 0),
        place: Sequence[float] = (0, 0, 0),
    ) -> mujoco.MjvGeom:  # fmt: skip
        scene = self.renderer.scene
        geom = scene.geoms[scene.ngeom]
        scene.ngeom += 1
        rgba, axes = np.array(colour, dtype=np.float32), np.eye(3).ravel()
        mujoco.mjv_initGeom(geom, kind, np.array(size, float), np.array(place, float), axes, rgba)
        return geom


def _from_base(parents: Sequence[int], base: int) -> set[int]:
    found = {base}
    for joint, parent in enumerate(parents):
        if parent in found:
            found.add(joint)
    return found
