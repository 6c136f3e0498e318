"""The motion file: one clip of reference motion for one embodiment, as a `.npz` without pickles.

Keys: format_version, embodiment, model (fingerprint of the body it was made for), fps, source,
joint_names (njnt), site_names (nsite), qpos (T, nq), qvel (T, nv) float64, site_pos (T, nsite, 3),
site_quat (T, nsite, 4; w first), site_vel (T, nsite, 6; angular then linear, world axes) float32,
and optionally act (T, nu) float16, contact (T, 4) bool (which part of which foot stands: heel and
toes, left then right) and provenance (JSON text: what the clip was made from, and how). Units are
m, rad and s.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cfg.errors import UserError
from sim.embodiment import Embodiment

FORMAT_VERSION = 1
_ARRAYS = ("qpos", "qvel", "site_pos", "site_quat", "site_vel")
_SCALARS = ("format_version", "embodiment", "model", "fps", "source", "joint_names", "site_names")


class MotionError(UserError):
    """A motion file or set that cannot be used, and why."""


@dataclass(frozen=True)
class Motion:
    """One clip.

    Attributes:
        name: what the clip is called in tables.
        embodiment: name of the body.
        model: fingerprint of the model it was made for.
        fps: frames a second (Hz).
        joint_names: (njnt,) names in model order.
        site_names: (nsite,) mimic sites, main site first.
        qpos: (T, nq) positions.
        qvel: (T, nv) velocities in MuJoCo's convention, consistent with qpos.
        site_pos: (T, nsite, 3) mimic-site positions (m, world).
        site_quat: (T, nsite, 4) mimic-site orientations (w first).
        site_vel: (T, nsite, 6) angular then linear velocity, world axes, at the site.
        source: where it comes from.
        act: (T, nu) activations that explain the motion, or None where nobody computed them.
        contact: (T, 4) bool, left heel, left toes, right heel, right toes standing; or None.
        provenance: what the clip was made from and how, as JSON text; "" where unknown.
    """

    name: str
    embodiment: str
    model: str
    fps: float
    joint_names: tuple[str, ...]
    site_names: tuple[str, ...]
    qpos: np.ndarray
    qvel: np.ndarray
    site_pos: np.ndarray
    site_quat: np.ndarray
    site_vel: np.ndarray
    source: str = ""
    act: np.ndarray | None = None
    contact: np.ndarray | None = None
    provenance: str = ""

    def __len__(self) -> int:
        return len(self.qpos)

    @property
    def duration(self) -> float:
        """Length from first to last frame (s)."""
        return (len(self) - 1) / self.fps

    def save(self, path: str | Path) -> None:
        """Write the clip; the file appears whole or not at all."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                optional = {} if self.act is None else {"act": self.act.astype(np.float16)}
                if self.contact is not None:
                    optional["contact"] = self.contact.astype(bool)
                if self.provenance:
                    optional["provenance"] = np.str_(self.provenance)
                np.savez_compressed(
                    file,
                    **optional,
                    format_version=np.int64(FORMAT_VERSION),
                    embodiment=np.str_(self.embodiment),
                    model=np.str_(self.model),
                    fps=np.float64(self.fps),
                    source=np.str_(self.source),
                    joint_names=np.array(self.joint_names),
                    site_names=np.array(self.site_names),
                    qpos=self.qpos.astype(np.float64),
                    qvel=self.qvel.astype(np.float64),
                    site_pos=self.site_pos.astype(np.float32),
                    site_quat=self.site_quat.astype(np.float32),
                    site_vel=self.site_vel.astype(np.float32),
                )
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise

    @classmethod
    def load(cls, path: str | Path, embodiment: Embodiment | None = None) -> Motion:
        """Read and check a clip.

        Args:
            path: the file.
            embodiment: the body it must fit; without it only the file's own consistency is checked.

        Raises:
            MotionError: the file is missing, truncated, of another format or body, or non-finite.
        """
        path = Path(path)
        if not path.is_file():
            raise MotionError(f"motion file {path} does not exist")
        try:
            with np.load(path, allow_pickle=False) as file:
                missing = [key for key in (*_SCALARS, *_ARRAYS) if key not in file]
                if missing:
                    raise MotionError(f"{path}: no entry {missing[0]!r}: not a motion file")
                entry = {key: file[key] for key in (*_SCALARS, *_ARRAYS)}
                act = file["act"].astype(np.float64) if "act" in file else None
                contact = file["contact"].astype(bool) if "contact" in file else None
                provenance = str(file["provenance"]) if "provenance" in file else ""
        except MotionError:
            raise
        except (
            OSError,
            ValueError,
            EOFError,
            KeyError,
            zipfile.BadZipFile,
            zipfile.error,
        ) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise MotionError(
                f"{path}: cannot be read as a motion file ({reason}): write it again"
            ) from error
        except Exception as error:  # zlib.error, struct.error: what a damaged archive raises
            raise MotionError(f"{path}: damaged motion file ({error}): write it again") from error
        try:
            version = int(entry["format_version"])
            fields = {
                "embodiment": str(entry["embodiment"]),
                "model": str(entry["model"]),
                "fps": float(entry["fps"]),
                "joint_names": tuple(str(name) for name in entry["joint_names"]),
                "site_names": tuple(str(name) for name in entry["site_names"]),
                "source": str(entry["source"]),
            }
        except (ValueError, TypeError) as error:
            raise MotionError(f"{path}: not a motion file ({error}): write it again") from error
        if version != FORMAT_VERSION:
            raise MotionError(
                f"{path}: motion format {version}, expected {FORMAT_VERSION}: write it again"
            )
        arrays = {key: entry[key] for key in _ARRAYS}
        motion = cls(
            name=path.stem, act=act, contact=contact, provenance=provenance, **fields, **arrays
        )
        motion.check(str(path), embodiment)
        return motion

    def check(self, where: str = "", embodiment: Embodiment | None = None) -> None:
        """Check shapes, finiteness and (given a body) names and sizes.

        Raises:
            MotionError: naming what does not fit.
        """
        where = where or self.name
        keys = _ARRAYS if self.act is None else (*_ARRAYS, "act")
        for key in keys:
            array = getattr(self, key)
            if array.dtype.kind != "f" or array.ndim < 2:
                raise MotionError(
                    f"{where}: {key} is {array.ndim}-dimensional {array.dtype}, "
                    f"expected floating-point frames"
                )
        frames, sites = len(self.qpos), len(self.site_names)
        shapes = {"site_pos": (frames, sites, 3), "site_quat": (frames, sites, 4)}
        shapes["site_vel"] = (frames, sites, 6)
        if embodiment is not None:
            self._check_embodiment(where, embodiment)
            shapes["qpos"] = (frames, embodiment.model.nq)
            shapes["qvel"] = (frames, embodiment.model.nv)
            if self.act is not None:
                shapes["act"] = (frames, embodiment.model.nu)
        if self.contact is not None and self.contact.shape != (frames, 4):
            raise MotionError(
                f"{where}: contact has shape {self.contact.shape}, expected {(frames, 4)}"
            )
        for key, shape in shapes.items():
            if getattr(self, key).shape != shape:
                raise MotionError(
                    f"{where}: {key} has shape {getattr(self, key).shape}, expected {shape}"
                )
        for key in keys:
            if len(getattr(self, key)) != frames:
                raise MotionError(
                    f"{where}: {key} has {len(getattr(self, key))} frames, qpos has {frames}"
                )
        if frames < 2:
            raise MotionError(f"{where}: {frames} frame(s), expected at least 2")
        if not (np.isfinite(self.fps) and self.fps > 0):
            raise MotionError(f"{where}: fps is {self.fps}, expected a positive number")
        for key in keys:
            bad = ~np.isfinite(getattr(self, key)).reshape(frames, -1).all(axis=1)
            if bad.any():
                raise MotionError(
                    f"{where}: {key} is not finite in {bad.sum()} of {frames} frames, "
                    f"the first is frame {int(np.argmax(bad))}"
                )

    def _check_embodiment(self, where: str, embodiment: Embodiment) -> None:
        if self.embodiment != embodiment.name:
            raise MotionError(
                f"{where}: is a motion of {self.embodiment!r}, expected {embodiment.name!r}: "
                f"choose another motion set or embodiment"
            )
        for kind, own, expected in (
            ("joint", self.joint_names, embodiment.joint_names),
            ("mimic site", self.site_names, embodiment.mimic_sites),
        ):
            if own == expected:
                continue
            missing, extra = sorted(set(expected) - set(own)), sorted(set(own) - set(expected))
            detail = (
                f"{len(missing)} missing {missing[:3]}, {len(extra)} unknown {extra[:3]}"
                if missing or extra
                else "the order differs"
            )
            raise MotionError(
                f"{where}: {kind} names do not fit {embodiment.name} "
                f"(fingers={str(embodiment.fingers).lower()}): {detail}"
            )
