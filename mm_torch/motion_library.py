"""A motion set on the device: any frame of any clip, for all worlds at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cfg.errors import UserError
from mm_torch.task_state import Kinematics, Layout
from retarget.motion import Motion
from sim.embodiment import CONTROL_HZ
from sim.rotations import quat_to_matrix


class MotionLibrary:
    """Clips joined into flat tensors.

    Attributes:
        names: clip names.
        lengths: (nclip,) frames of each clip.
        starts: (nclip,) index of each clip's first frame in the flat tensors.
    """

    def __init__(
        self,
        motions: Sequence[Motion],
        layout: Layout,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Join clips, which must run at the control rate.

        Raises:
            UserError: a clip of another rate.
        """
        for motion in motions:
            if abs(motion.fps - CONTROL_HZ) > 1e-3:
                raise UserError(
                    f"motion {motion.name}: {motion.fps:g} frames/s, expected {CONTROL_HZ:g} (the "
                    f"control rate): retarget it again"
                )
        self.names = [motion.name for motion in motions]
        lengths = torch.tensor([len(motion) for motion in motions])
        self.lengths = lengths.to(device)
        self.starts = (lengths.cumsum(0) - lengths).to(device)
        self._layout = layout

        def join(name: str) -> Tensor:
            array = np.concatenate([getattr(motion, name) for motion in motions])
            return torch.from_numpy(array).to(device=device, dtype=dtype)

        self._qpos, self._qvel = join("qpos"), join("qvel")
        self._site_pos, self._site_vel = join("site_pos"), join("site_vel")
        self._site_rot = quat_to_matrix(join("site_quat"))
        explained = all(motion.act is not None for motion in motions)
        self._act = join("act") if explained else None

    def __len__(self) -> int:
        return len(self.names)

    def index_of(self, name: str) -> int:
        """Return which clip is called so.

        Raises:
            UserError: none is.
        """
        if name not in self.names:
            raise UserError(f"clip={name}: the motion set has {', '.join(self.names[:8])}")
        return self.names.index(name)

    def frames(self, clip: Tensor, frame: Tensor, origin: Tensor | None = None) -> Kinematics:
        """Return frames of clips; frames past the end are the last one.

        Args:
            clip: (...,) clip indices.
            frame: (...,) frame indices, >= 0.
            origin: (..., 2) ground point (m) that becomes xy = (0, 0), for a body with a root.
        """
        index = self._index(clip, frame)
        qpos, site_pos = self._qpos[index], self._site_pos[index]
        if origin is not None and self._layout.root_nq:
            qpos[..., :2] -= origin
            site_pos[..., :2] -= origin.unsqueeze(-2)
        return Kinematics(
            self._layout, qpos, self._qvel[index], site_pos, self._site_rot[index],
            self._site_vel[index],
        )  # fmt: skip

    def root_xy(self, clip: Tensor, frame: Tensor) -> Tensor:
        """Return the (..., 2) ground position of the root in a frame (zeros without a root)."""
        if not self._layout.root_nq:
            return self._qpos.new_zeros(*clip.shape, 2)
        return self._qpos[self.starts[clip] + frame, :2]

    @property
    def has_activations(self) -> bool:
        """Whether every clip has activations."""
        return self._act is not None

    def activations(self, clip: Tensor, frame: Tensor) -> Tensor:
        """Return the (..., nu) activations that explain frames of clips.

        Frames past the end are the last one.

        Raises:
            ValueError: a clip has none.
        """
        if self._act is None:
            raise ValueError("the motion set has clips without activations")
        return self._act[self._index(clip, frame)]

    def sample_clips(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw `count` clips uniformly; the generator lives on the library's device."""
        return torch.randint(len(self), (count,), generator=generator, device=self.lengths.device)

    def sample_frames(self, clip: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a start frame uniformly in each clip, the last frame excepted."""
        draw = torch.rand(clip.shape, generator=generator, device=clip.device)
        return (draw * (self.lengths[clip] - 1)).long()

    def _index(self, clip: Tensor, frame: Tensor) -> Tensor:
        """Row of a frame of a clip; of the last one where it is past the end."""
        return self.starts[clip] + torch.minimum(frame, self.lengths[clip] - 1)
