"""Moves the targets of a body above its feet, so that its weight rests on them."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np
import torch
from torch import Tensor

from retarget.levels import clip_parts
from retarget.quality_dynamics import GROUND_GAP
from retarget.quality_replay import replay
from retarget.reference import differentiate
from retarget.tracks import track_frames
from retarget.zero_moment import WIDEST, displacement, pressure
from sim.embodiment import Embodiment
from sim.leg import Leg

_FEWEST = 3  # frames, below which there is no acceleration
# Where a body stands: height (m) below which points of the feet bear it, and the share of the width
# of what bears it that a margin may take on each side.
_STANDING_GAP, _STANDING_WIDEST = 0.005, 0.3


class Balance:
    """Finds how far a body with feet should be above them, and what that asks of its parts.

    Legs pivot at the ankles: their parts take the share of a displacement that their height above
    the ankle is of the hip's; everything else takes all of it, the feet none.

    Attributes:
        track_share: (F,) of each tracked frame.
        mass_share: of the centre of mass.
    """

    def __init__(self, embodiment: Embodiment) -> None:
        """Prepare for a body with a root and feet."""
        self._body = embodiment
        model = embodiment.model
        self._weight = float(model.body_subtreemass[0] * np.linalg.norm(model.opt.gravity))
        data = mujoco.MjData(model)
        mujoco.mj_kinematics(model, data)
        legs = [Leg.of(embodiment, side).bodies for side in ("left", "right")]

        def share(body: int, height: float) -> float:
            while body:
                for hip, _, ankle in legs:
                    if body == hip:
                        low, high = data.xpos[ankle, 2], data.xpos[hip, 2]
                        return float(np.clip((height - low) / (high - low), 0.0, 1.0))
                body = int(model.body_parentid[body])
            return 1.0

        of_body = [share(body, data.xipos[body, 2]) for body in range(model.nbody)]
        self.mass_share = float(np.average(of_body, weights=model.body_mass))
        self.track_share = np.array(
            [
                share(frame.body, (data.xpos[frame.body] + data.xmat[frame.body].reshape(3, 3)
                                   @ frame.position)[2])
                for frame in track_frames(embodiment)
            ]
        )  # fmt: skip

    def find(
        self,
        qpos: np.ndarray,
        points: np.ndarray,
        lengths: Sequence[int],
        fps: float,
        still: np.ndarray,
        margins: tuple[float, float],
    ) -> np.ndarray:
        """Return how far (T, 2) the body should be displaced above its feet (m).

        Args:
            qpos: (T, nq) postures of clips, one after another.
            points: (T, P, 3) lowest points of the soles (m, world).
            lengths: frames of each clip.
            fps: frames a second.
            still: (T,) how much the body stands and does not step, 0 to 1.
            margins: how far within the soles the weight should rest, where the body steps and
                where it stands (m).
        """
        found = np.zeros((len(qpos), 2))
        for part in clip_parts(lengths):
            if part.stop - part.start >= _FEWEST:
                found[part] = self._find(qpos[part], points[part], fps, still[part], margins)
        return found

    def _find(
        self,
        qpos: np.ndarray,
        points: np.ndarray,
        fps: float,
        still: np.ndarray,
        margins: tuple[float, float],
    ) -> np.ndarray:
        qvel = differentiate(self._body.model, qpos, fps)
        qacc = np.gradient(qvel, 1.0 / fps, axis=0)
        record = replay(self._body, qpos, qvel, qacc, tendons=False)
        # What hangs low in a step is coming down and will bear; in standing it does not.
        pairs = (GROUND_GAP, _STANDING_GAP), margins, (WIDEST, _STANDING_WIDEST)
        gap, margin, widest = ((1 - still) * step + still * stand for step, stand in pairs)
        near = points[..., 2] < gap[:, None]
        pressed, areas = pressure(
            record.wrench, qpos[:, :3], points, near, self._weight, margin, widest
        )
        height = float(record.com[:, 2].mean())
        return displacement(pressed, areas, height, fps, self.mass_share)

    def moved(self, position: Tensor, by: np.ndarray) -> Tensor:
        """Return targets (T, F, 3) for a body displaced by (T, 2)."""
        share = torch.as_tensor(self.track_share).to(position)[:, None]
        shift = torch.as_tensor(by).to(position)[:, None]
        return torch.cat((position[..., :2] + share * shift, position[..., 2:]), dim=-1)
