"""What becomes of one clip: accepted, rejected with reasons, or failed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from cfg.errors import UserError
from retarget.quality_record import Quality


class ReportError(UserError):
    """A stored result that cannot be used, and why."""


@dataclass(frozen=True)
class Thresholds:
    """What a clip may not exceed; None switches a criterion off.

    The fields are those of `retarget.quality_record.Quality`. The first five are the limits of
    MuscleMimic's failed clips (massive_compare), of which it declares the share of penetrating
    frames without applying it; the others are ours: a skeleton that does not follow its targets,
    an assembly that came apart, feet in the air where they should stand, velocities that do not
    belong to the positions, joints faster than people's. Skating, self-collision and residual
    forces are reported but reject nothing: clips on chairs, stairs and hands have them rightly.
    """

    joint_limit_violation_pct: float | None = 0.5
    penetration_frames_pct: float | None = 1.0
    penetration_depth_mm: float | None = 5.0
    float_height_cm: float | None = 2.5
    tendon_jump_max: float | None = 0.05
    site_error_mean_cm: float | None = 8.0
    equality_residual_max: float | None = 1e-4
    floating_stance_pct: float | None = 5.0
    velocity_mismatch_max: float | None = 0.1
    joint_velocity_max_rad_s: float | None = 50.0


@dataclass
class ClipResult:
    """One clip of a run.

    Attributes:
        name: of the clip.
        frames: number of frames, 0 where it could not be read.
        fps: frames a second (Hz).
        seconds: what solving it took (s).
        quality: its numbers, None where it failed.
        rejected: reasons why it is left out of the motion set, empty for an accepted clip.
        error: why it failed, None where it did not.
        source: where it comes from.
    """

    name: str
    frames: int
    fps: float
    seconds: float
    quality: Quality | None = None
    rejected: list[str] = field(default_factory=list)
    error: str | None = None
    source: str = ""

    @property
    def state(self) -> str:
        """One of "failed", "rejected" and "accepted"."""
        if self.error is not None or self.quality is None:
            return "failed"
        return "rejected" if self.rejected else "accepted"

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain numbers, words, lists and dictionaries, ready for JSON."""
        return {**asdict(self), "state": self.state}

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> ClipResult:
        """Read what `to_dict` wrote.

        Raises:
            ReportError: no such record.
            QualityError: its quality is of another version.
        """
        if not isinstance(record, dict):
            raise ReportError("the result of a clip is no JSON object: retarget the clip again")
        names = {entry.name for entry in fields(cls)}
        record = {key: value for key, value in record.items() if key != "state"}
        if set(record) != names:
            odd = sorted(names ^ set(record))[0]
            raise ReportError(
                f"result of clip {record.get('name', '?')!r}: field {odd!r} is missing or unknown: "
                f"written by another version: retarget the clip again"
            )
        quality = record["quality"]
        return cls(**record | {"quality": None if quality is None else Quality.from_dict(quality)})


def rejections(quality: Quality, thresholds: Thresholds | None = None) -> list[str]:
    """Return why a clip is not good enough, a few words each; empty for a good one.

    Checks that do not apply (None) reject nothing; a number that is not finite always rejects.
    """
    thresholds = thresholds or Thresholds()
    entries = {entry.name: entry for entry in fields(Quality)}
    reasons = []
    for name, limit in asdict(thresholds).items():
        value = getattr(quality, name)
        if limit is None or value is None or value <= limit:
            continue
        label, unit = entries[name].metadata["label"], entries[name].metadata["unit"]
        unit = f" {unit}" if unit else ""
        reasons.append(f"{label} {value:.3g}{unit} > {limit:g}{unit}{_culprit(name, quality)}")
    return reasons


def _culprit(name: str, quality: Quality) -> str:
    """Name the joint, geom or site behind a number, in brackets."""
    if name == "site_error_mean_cm" and quality.site_error_mean_cm_by_site:
        table = quality.site_error_mean_cm_by_site
        return f" (worst {max(table, key=table.get)})"
    if name == "joint_limit_violation_pct" and quality.joint_limit_violation_pct_by_joint:
        table = quality.joint_limit_violation_pct_by_joint
        return f" (mostly {max(table, key=table.get)})"
    for entry in fields(Quality):
        if entry.metadata.get("of") == name and getattr(quality, entry.name) is not None:
            return f" ({getattr(quality, entry.name)})"
    return ""
