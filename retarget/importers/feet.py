"""Solves an imported clip again, so that its feet stand still on the floor.

Joint angles measured on another person, with another's legs and often without toes, take the feet
through the floor and slide them over it. Here the clip's own frames, as this body has them, are the
targets of the solver that retargets motion capture (retarget.solve): standing feet are held, parts
of the body kept apart, the weight brought over the feet. The joint angles that the file gives are
targets as well; those that it does not give, or that are locked in it, are free. Toes that are so
are first bent to lie on the floor under a rising heel.

Steps are first made as long as the body's legs make them: the root's path is scaled so that
standing feet, on average, do not slide.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from retarget.clearance import raise_above_floor
from retarget.flight import Flight
from retarget.importers.ground import bend_toes, ground_shift
from retarget.normal_equations import Targets
from retarget.solve import Solver
from retarget.solve_options import SolveOptions
from retarget.tracks import track_frames, tracks
from sim.embodiment import Embodiment
from sim.independent import IndependentCoordinates
from sim.kinematics import Kinematics

#: Frequency (Hz) at which motion is halved, unless said otherwise. With 8, as of captured motions,
#: feet that slid and now stand shake the body: a measured walk had twice the jerk.
SMOOTHING_HZ = 5.0
#: How firmly the file's angles are kept (per rad²). Of a measured walk a quarter of it moved hips
#: and knees by 0.3 degrees more, and half the force was left that the ground cannot give.
_KEPT = 0.02
#: Speeds (m/s) of standing parts: feet on another's legs slide while they stand, twice as fast as
#: captured ones that are fitted to their own; those that swing are faster than all of it.
_SPEED = (0.8, 1.2)
_LOCKED = 1e-3  # rad: a joint that is never further from its neutral angle was locked
_SLOWEST = 0.3  # m/s: below it the root goes nowhere, and its path has no scale
_SCALES = (0.7, 1.4)  # of steps; beyond, it is no difference of legs


@dataclass(frozen=True)
class Stood:
    """A clip on its feet.

    Attributes:
        qpos: (T, nq) postures.
        standing: (T, 4) bool: left heel, left toes, right heel, right toes on the ground.
        scale: by what the root's path was scaled.
    """

    qpos: np.ndarray
    standing: np.ndarray
    scale: float

    def notes(self, embodiment: Embodiment, before: np.ndarray) -> list[str]:
        """Say in sentences what became of the postures before (T, nq)."""
        change = np.degrees(self.qpos - before)[:, embodiment.independent_qpos]
        rms = np.sqrt((change**2).mean(axis=0))
        most = np.argsort(rms)[::-1][:3]
        joints = ", ".join(f"{embodiment.independent_joints[i]} {rms[i]:.1f}" for i in most)
        total = np.sqrt((rms**2).mean())
        return [
            f"the root's path scaled by {self.scale:.3f}, so that standing feet do not slide",
            f"solved for feet that stand on the floor: joints moved by {total:.1f} deg rms, "
            f"most of all {joints}",
        ]


class FootSolver:
    """Puts clips of one body on their feet."""

    def __init__(self, embodiment: Embodiment, smoothing_hz: float = SMOOTHING_HZ) -> None:
        """Prepare a body with feet and a free root; motion is halved at a frequency (Hz)."""
        self.embodiment = embodiment
        options = SolveOptions(posture=_KEPT, contact_speed=_SPEED, smoothing_hz=smoothing_hz)
        self._solver = Solver(embodiment, options)
        self._kinematics = Kinematics(embodiment.model, track_frames(embodiment))
        self._coordinates = IndependentCoordinates(embodiment)
        self._flight = Flight(embodiment)
        names = [track.frame for track in tracks(embodiment)]
        # The bodies that a standing heel or toes keep where they are.
        parts = [f(s) for s in ("left", "right") for f in (_heel, _toes)]
        self._parts = [names.index(name) for name in parts]

    def __call__(self, qpos: np.ndarray, given: Collection[str], fps: float) -> Stood:
        """Solve a clip.

        Args:
            qpos: (T, nq) postures.
            given: the independent joints that the source knows.
            fps: frames a second.
        """
        body = self.embodiment
        turn = np.abs(qpos - body.model.qpos0).max(axis=0)
        given = {n for n in given if turn[body.model.joint(n).qposadr[0]] > _LOCKED}
        stiff = [side for side in ("left", "right") if f"mtp_angle_{side[0]}" not in given]
        bent = bend_toes(body, qpos, stiff, -ground_shift(body, qpos))
        postures = torch.from_numpy(bent)
        scale = self._path_scale(postures, fps)
        postures[:, :2] = postures[0, :2] + scale * (postures[:, :2] - postures[0, :2])
        known = postures[:, body.independent_qpos]
        for column, name in enumerate(body.independent_joints):
            if name not in given:
                known[:, column] = torch.nan
        (solution,) = self._solver.solve([self._kinematics(postures)], fps, [known])
        solved = self._flight(self._coordinates.qpos(solution.joints, solution.root).numpy(), fps)
        return Stood(raise_above_floor(body, solved, fps), solution.standing, scale)

    def _path_scale(self, postures: Tensor, fps: float) -> float:
        """By what the root's path has to be scaled for standing feet not to slide.

        A foot's velocity is that of the root, scaled, plus its own against the root: the scale is
        the one of least squares over feet that stand flat (others roll).
        """
        targets = Targets(*self._kinematics(postures))
        standing, _ = self._solver.stance.find(targets, [len(postures)], fps)
        feet = targets.position[:, self._parts, :2].numpy()
        root = postures[:, None, :2].numpy()
        flat = np.stack([standing[:, :2].all(axis=1), standing[:, 2:].all(axis=1)], axis=1)
        flat = np.repeat(flat, 2, axis=1)
        against = np.gradient(feet - root, 1 / fps, axis=0)[flat]
        travel = np.broadcast_to(np.gradient(root, 1 / fps, axis=0), feet.shape)[flat]
        if not len(travel) or np.linalg.norm(travel, axis=1).mean() < _SLOWEST:
            return 1.0
        return float(np.clip(-(against * travel).sum() / (travel**2).sum(), *_SCALES))


def _heel(side: str) -> str:
    return f"calcn_{side[0]}"


def _toes(side: str) -> str:
    return f"{side}_toes_mimic"
