"""From a clip's file to a motion, its quality and whether it is good enough."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from cfg.errors import UserError
from retarget.activations import with_activations
from retarget.body_model import BodyModel, load_body_model, require_fingers
from retarget.calibration import level_soles, settle_shoulders
from retarget.clearance import raise_above_floor
from retarget.flight import Flight
from retarget.motion import Motion
from retarget.quality import check_quality
from retarget.reference import make_motion
from retarget.report import ClipResult, Thresholds, rejections
from retarget.resample import resample_positions, resample_rotations, rotvec_to_quat
from retarget.settings import PRACTICAL
from retarget.skeleton import FittedSkeleton, fit_skeleton, leg_length
from retarget.smpl_clip import ClipError, SmplClip, load_clip
from retarget.solve import Solution, Solver
from retarget.solve_options import SolveOptions
from retarget.tracks import tracks
from sim.embodiment import Embodiment, load_embodiment
from sim.independent import IndependentCoordinates
from sim.rotations import matrix_to_quat

_SHORTEST_LEGS, _LONGEST_LEGS = 0.2, 2.0  # m, hip to ankle
_FEWEST_FRAMES = 3  # below which there is no acceleration
_PACKAGES = ("mm-torch", "mujoco", "musclemimic-models", "torch", "numpy", "smplx")


@dataclass(frozen=True)
class Source:
    """A clip as the solver wants it.

    Attributes:
        clip: what was read.
        model: the body model it is played on.
        skeleton: that model's skeleton with the embodiment's proportions.
        joints: (T, J, 3) posed skeleton (m), at the output's frame rate, before calibration.
        position, rotation: (T, F, 3) and (T, F, 3, 3) targets of the tracked frames.
    """

    clip: SmplClip
    model: BodyModel
    skeleton: FittedSkeleton
    joints: torch.Tensor
    position: torch.Tensor
    rotation: torch.Tensor


class Retargeter:
    """Retargets clips to one embodiment."""

    def __init__(self, config: DictConfig) -> None:
        """Build the body and its solver.

        Raises:
            UserError: CUDA is asked for and missing.
        """
        if config.device == "cuda" and not torch.cuda.is_available():
            raise UserError("device=cuda: PyTorch sees no CUDA device: use device=cpu")
        self.config = config
        self.embodiment: Embodiment = load_embodiment(
            config.embodiment, config.fingers, config.phantom_inertia
        )
        options = SolveOptions(
            smoothing_hz=config.smoothing_hz,
            balance=config.balance,
            standing_margin=config.standing_margin,
            twist_effort=config.twist_effort,
            avoid_self_collision=config.avoid_self_collision,
        )
        self.solver = Solver(self.embodiment, options, device=config.device)
        self.thresholds = Thresholds(**OmegaConf.to_container(config.reject))
        self._coordinates = IndependentCoordinates(self.embodiment)
        flies = config.balance and self.embodiment.has_root
        self._flight = Flight(self.embodiment) if flies else None
        self._models: dict[tuple[str, str], BodyModel] = {}

    def prepare(self, path: str | Path, name: str | None = None) -> Source:
        """Read a clip and pose the fitted skeleton by it.

        Raises:
            UserError: the clip or its body model cannot be used.
        """
        config = self.config
        clip = load_clip(path, name)
        model = self._body_model(clip.model_type, clip.gender)
        skeleton = fit_skeleton(model, self.embodiment)
        quat = resample_rotations(
            rotvec_to_quat(torch.as_tensor(clip.rotvec)), clip.fps, config.fps
        )
        performer = model.joints(clip.betas)
        legs = leg_length(performer)
        if not _SHORTEST_LEGS < legs < _LONGEST_LEGS:
            raise ClipError(
                f"{path}: betas that make legs of {legs:.3g} m, expected {_SHORTEST_LEGS} to "
                f"{_LONGEST_LEGS} m: they are not of {model.path}"
            )
        root = torch.as_tensor(clip.trans + performer[0])
        if self.embodiment.has_root:
            # Steps as long as the model's legs make them.
            root = root * (skeleton.leg_length / legs)
        root = resample_positions(root, clip.fps, config.fps)
        if len(root) < _FEWEST_FRAMES:
            raise ClipError(
                f"{path}: {len(root)} frame(s) at {config.fps:g} Hz, expected at least "
                f"{_FEWEST_FRAMES}: leave out the clip"
            )
        joints, axes = skeleton.pose(quat, root)
        settled = settle_shoulders(skeleton, joints, axes)
        position, rotation = skeleton.frames(settled, axes)
        rotation = level_soles(position, rotation, tracks(self.embodiment), config.fps)
        return Source(clip, model, skeleton, joints, position, rotation)

    def _body_model(self, model_type: str, gender: str) -> BodyModel:
        key = (model_type, gender)
        if key not in self._models:
            model = load_body_model(
                self.config.body_model, model_type, gender, self.config.allow_pickle
            )
            if self.config.fingers:
                require_fingers(model)
            self._models[key] = model
        return self._models[key]

    def solve(self, sources: Sequence[Source]) -> list[Solution]:
        """Solve clips together; targets and postures end with the floor at height zero."""
        return self.solver.solve([(s.position, s.rotation) for s in sources], self.config.fps)

    def qpos(self, solution: Solution) -> np.ndarray:
        """Complete postures (T, nq) of a solution that fall while they fly, and sink in nowhere."""
        root = None if solution.root is None else solution.root.cpu()
        qpos = self._coordinates.qpos(solution.joints.cpu(), root).numpy()
        if self._flight is not None:
            qpos = self._flight(qpos, self.config.fps)
        if self.embodiment.has_root:
            qpos = raise_above_floor(self.embodiment, qpos, self.config.fps)
        return qpos

    def finish(
        self, source: Source, solution: Solution, seconds: float
    ) -> tuple[Motion, ClipResult]:
        """Complete a solution to a motion, and measure it."""
        config, body = self.config, self.embodiment
        clip, contact = source.clip, solution.standing
        motion = make_motion(
            clip.name, body, self.qpos(solution), config.fps, f"{clip.path.name}, retargeted"
        )
        if config.activations:
            motion = with_activations(motion, body)
        motion = replace(motion, contact=contact, provenance=self._provenance(source))
        sites = len(body.mimic_sites)
        quality = check_quality(
            body,
            motion.qpos,
            motion.qvel,
            config.fps,
            solution.target_position[:, :sites].cpu().numpy(),
            matrix_to_quat(solution.target_rotation[:, :sites]).cpu().numpy(),
            self._standing_points(contact),
        )
        result = ClipResult(
            name=clip.name,
            frames=len(motion),
            fps=config.fps,
            seconds=seconds,
            quality=quality,
            rejected=rejections(quality, self.thresholds),
            source=str(clip.path),
        )
        return motion, result

    def _standing_points(self, standing: np.ndarray | None) -> np.ndarray | None:
        """Which points of the feet (T, P) a standing heel or toes (T, 4) puts on the ground."""
        feet = self.solver.equations.feet
        if standing is None or feet is None:
            return None
        group, sole = feet.group.cpu().numpy(), feet.sole.cpu().numpy()
        points = np.zeros((len(standing), group.shape[-1]), dtype=bool)
        for side in (0, 1):
            heel, toes = standing[:, 2 * side], standing[:, 2 * side + 1]
            points[:, group[side, 0]] |= heel[:, None]
            points[:, group[side, 1]] |= toes[:, None]
            points[:, sole[side]] |= (heel & toes)[:, None]
        return points

    def _provenance(self, source: Source) -> str:
        clip, model = source.clip, source.model
        record: dict[str, Any] = {
            "source": str(clip.path.resolve()),
            "source_sha256": hashlib.sha256(clip.path.read_bytes()).hexdigest()[:16],
            "source_fps": clip.fps,
            "body_model": str(Path(model.path).resolve()),
            "model_type": model.model_type,
            "gender": model.gender,
            "skeleton_scale": source.skeleton.scale,
            "settings": settings_that_matter(self.config),
            "versions": versions(),
        }
        return json.dumps(record)


def settings_that_matter(config: DictConfig) -> dict[str, Any]:
    """The settings that change what comes out."""
    values = OmegaConf.to_container(config)
    return {key: value for key, value in values.items() if key not in PRACTICAL}


def versions() -> dict[str, str]:
    """Versions of the packages that have a part in the result."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def timed_solve(retargeter: Retargeter, sources: Sequence[Source]) -> tuple[list[Solution], float]:
    """Solve clips together; also return the seconds it took for each frame."""
    start = time.perf_counter()
    solutions = retargeter.solve(sources)
    if retargeter.config.device == "cuda":
        torch.cuda.synchronize()
    frames = sum(len(source.position) for source in sources)
    return solutions, (time.perf_counter() - start) / max(frames, 1)
