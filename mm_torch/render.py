"""Draws a body with its muscles coloured by activation, and the reference as a ghost."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import mujoco
import numpy as np

from mm_torch.goals.goal import Marker
from sim.embodiment import Embodiment

_GHOST_RGBA = np.array([0.47, 0.38, 0.81, 0.35], dtype=np.float32)
_REST, _ACTIVE = np.array([0.25, 0.35, 0.65, 1.0]), np.array([0.95, 0.15, 0.10, 1.0])


class Scene:
    """The body and its ghost as MuJoCo data, and what a camera looks at."""

    def __init__(self, embodiment: Embodiment, ghost: bool = True) -> None:
        """Prepare a copy of the model for drawing."""
        self.model = copy.copy(embodiment.model)
        self.data = mujoco.MjData(self.model)
        self._ghost = mujoco.MjData(self.model) if ghost else None
        # The ghost shows bones only: a second set of muscles would hide the body's own.
        self._ghost_option = mujoco.MjvOption()
        self._ghost_option.flags[mujoco.mjtVisFlag.mjVIS_TENDON] = 0
        self.option = mujoco.MjvOption()
        # Mimic sites and tendon via points are aids of computation, not anatomy.
        self.option.sitegroup[:] = 0
        self._ghost_option.sitegroup[:] = 0
        self._perturb = mujoco.MjvPerturb()
        self._tendon = self.model.actuator_trnid[:, 0]
        self._main_body = int(embodiment.site_body_ids[0])
        self._lookat: np.ndarray | None = None
        self._markers: Sequence[Marker] = ()

    def update(
        self,
        qpos: np.ndarray,
        act: np.ndarray,
        reference: np.ndarray,
        markers: Sequence[Marker] = (),
    ) -> None:
        """Pose the body and its ghost, and colour the muscles.

        Args:
            qpos: (nq,) the body.
            act: (nu,) activations, 0 to 1.
            reference: (nq,) the ghost.
            markers: spheres that show what the body is told.
        """
        self._markers = markers
        self.data.qpos[:] = qpos
        mujoco.mj_fwdPosition(self.model, self.data)
        share = np.clip(act, 0.0, 1.0)[:, None]
        self.model.tendon_rgba[self._tendon] = _REST + share * (_ACTIVE - _REST)
        if self._ghost is not None:
            self._ghost.qpos[:] = reference
            mujoco.mj_kinematics(self.model, self._ghost)

    def add_ghost(self, scene: mujoco.MjvScene) -> None:
        """Add the markers and the ghost's bones to an abstract scene."""
        for marker in self._markers:
            geom = scene.geoms[scene.ngeom]
            mujoco.mjv_initGeom(
                geom, mujoco.mjtGeom.mjGEOM_SPHERE, np.full(3, marker.radius),
                np.array(marker.position), np.eye(3).ravel(),
                np.array(marker.rgba, dtype=np.float32),
            )  # fmt: skip
            scene.ngeom += 1
        if self._ghost is None:
            return
        first = scene.ngeom
        mujoco.mjv_addGeoms(
            self.model, self._ghost, self._ghost_option, self._perturb,
            int(mujoco.mjtCatBit.mjCAT_DYNAMIC), scene,
        )  # fmt: skip
        for index in range(first, scene.ngeom):
            scene.geoms[index].rgba = _GHOST_RGBA

    def point_camera(self, camera: mujoco.MjvCamera) -> None:
        """Look at the body's main site, following it smoothly."""
        target = self.data.xpos[self._main_body].copy()
        if self._lookat is None:
            self._lookat = target
        self._lookat += 0.1 * (target - self._lookat)
        camera.lookat[:] = self._lookat


class VideoRenderer:
    """Renders scenes to images without a display."""

    def __init__(self, scene: Scene, height: int = 480, width: int = 640) -> None:
        """Open an off-screen context (EGL or OSMesa, by MUJOCO_GL)."""
        self.scene = scene
        # Without a display, rendering is mostly done by the CPU, for which multisampling, shadows
        # and reflections would be half the work.
        scene.model.vis.quality.offsamples = 0
        scene.model.vis.global_.offwidth = max(width, scene.model.vis.global_.offwidth)
        scene.model.vis.global_.offheight = max(height, scene.model.vis.global_.offheight)
        self._renderer = mujoco.Renderer(scene.model, height, width, max_geom=20000)
        for effect in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._renderer.scene.flags[effect] = 0
        self._camera = mujoco.MjvCamera()
        self._camera.distance = 3.2 if scene.model.nkey else 1.9
        self._camera.azimuth, self._camera.elevation = 60.0, -12.0

    def frame(self) -> np.ndarray:
        """Return the image (height, width, 3) uint8 of the scene as it is now."""
        self.scene.point_camera(self._camera)
        self._renderer.update_scene(self.scene.data, self._camera, self.scene.option)
        self.scene.add_ghost(self._renderer.scene)
        return self._renderer.render()

    def close(self) -> None:
        """Free the context."""
        self._renderer.close()
