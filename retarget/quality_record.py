"""What is measured of a retargeted clip, and how the numbers of many clips become one.

Each field of `Quality` says in its metadata what it is called and measured in, and how it pools:
"mean" and "rms" weigh clips by the number of samples in the field `weight`, "sum", "max" and "min"
speak for themselves, and "with" takes the value of the clip that has the extreme of the field `of`.
A median or percentile pools by "mean": the mean of the clips' percentiles, not the percentile of
all samples together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import Field, asdict, dataclass, field, fields
from typing import Any

from cfg.errors import UserError


class QualityError(UserError):
    """A clip or record whose quality cannot be told, and why."""


def _number(label: str, unit: str, pool: str, weight: str = "frames") -> Any:
    return field(
        default=None, metadata={"label": label, "unit": unit, "pool": pool, "weight": weight}
    )


def _with(of: str, label: str, unit: str = "") -> Any:
    return field(default=None, metadata={"label": label, "unit": unit, "pool": "with", "of": of})


def _table(label: str, unit: str) -> dict[str, str]:
    return {"label": label, "unit": unit, "pool": "table"}


@dataclass
class Quality:
    """Numbers of one clip; None where a check does not apply to the body or was not asked for.

    Units are in the names (`bw` is body weight, `bw_m` body weight times one metre) and, as words,
    in the fields' metadata. How each number is defined is said where it is measured:
    `retarget.quality` (sites), `quality_joints`, `quality_contact`, `quality_muscles` and
    `quality_dynamics`.
    """

    frames: int = field(metadata={"label": "frames", "unit": "", "pool": "sum"})

    site_error_mean_cm: float | None = _number("mean site error", "cm", "mean")
    site_error_p95_cm: float | None = _number("95th percentile of site error", "cm", "mean")
    site_error_max_cm: float | None = _number("largest site error", "cm", "max")
    site_error_rmse_cm: float | None = _number("RMS site error", "cm", "rms")
    site_error_mean_cm_by_site: dict[str, float] = field(
        default_factory=dict, metadata=_table("mean site error", "cm")
    )
    site_error_p95_cm_by_site: dict[str, float] = field(
        default_factory=dict, metadata=_table("95th percentile of site error", "cm")
    )
    site_error_max_cm_by_site: dict[str, float] = field(
        default_factory=dict, metadata=_table("largest site error", "cm")
    )
    orientation_error_mean_deg: float | None = _number("mean orientation error", "deg", "mean")
    orientation_error_mean_deg_by_site: dict[str, float] = field(
        default_factory=dict, metadata=_table("mean orientation error", "deg")
    )

    joint_limit_violation_pct: float | None = _number("joint-limit violations", "%", "mean")
    joint_limit_frames: int | None = _number("frames beyond a joint limit", "", "sum")
    joint_limit_worst_deg: float | None = _number("worst excess of a hinge", "deg", "max")
    joint_limit_worst_joint: str | None = _with("joint_limit_worst_deg", "joint")
    joint_limit_worst_slide_mm: float | None = _number("worst excess of a slide", "mm", "max")
    joint_limit_worst_slide: str | None = _with("joint_limit_worst_slide_mm", "joint")
    joint_limit_violation_pct_by_joint: dict[str, float] = field(
        default_factory=dict, metadata=_table("joint-limit violations", "%")
    )
    equality_residual_max: float | None = _number("joint-equality residual", "rad or m", "max")

    penetration_frames_pct: float | None = _number("frames in the floor", "%", "mean")
    penetration_depth_mm: float | None = _number("floor penetration", "mm", "max")
    penetration_geom: str | None = _with("penetration_depth_mm", "geom")
    float_height_cm: float | None = _number("lowest geom centre", "cm", "max")
    stance_frames: int | None = _number("frames with a planned contact", "", "sum")
    floating_stance_frames: int | None = _number("floating stance frames", "", "sum")
    floating_stance_pct: float | None = _number("floating stance", "%", "mean", "stance_frames")
    floating_stance_worst_mm: float | None = _number("worst floating stance", "mm", "max")
    skating_steps: int | None = _number("steps of planned contact points", "", "sum")
    skating_median_cm_s: float | None = _number("median skating", "cm/s", "mean", "skating_steps")
    skating_p95_cm_s: float | None = _number(
        "95th percentile of skating", "cm/s", "mean", "skating_steps"
    )
    self_collision_frames_pct: float | None = _number("frames in self-collision", "%", "mean")
    self_collision_beyond_neutral_pct: float | None = _number(
        "frames in self-collision beyond the neutral pose's", "%", "mean"
    )
    self_collision_depth_mm: float | None = _number("deepest self-collision", "mm", "max")
    self_collision_pair: str | None = _with("self_collision_depth_mm", "pair")
    self_collision_neutral_mm: float | None = _with(
        "self_collision_depth_mm", "depth of that pair in the neutral pose", "mm"
    )

    self_collision_beyond_neutral_mm: float | None = _number(
        "self-collision beyond the neutral pose's", "mm", "max"
    )
    self_collision_beyond_neutral_pair: str | None = _with(
        "self_collision_beyond_neutral_mm", "pair"
    )

    joint_velocity_max_rad_s: float | None = _number("joint velocity", "rad/s", "max")
    joint_velocity_joint: str | None = _with("joint_velocity_max_rad_s", "joint")
    joint_acceleration_max_rad_s2: float | None = _number("joint acceleration", "rad/s2", "max")
    joint_acceleration_joint: str | None = _with("joint_acceleration_max_rad_s2", "joint")
    joint_jerk_rms_rad_s3: float | None = _number("RMS joint jerk", "rad/s3", "rms")
    root_acceleration_max_m_s2: float | None = _number("root acceleration", "m/s2", "max")
    velocity_mismatch_max: float | None = _number("velocity mismatch", "rad/s or m/s", "max")

    tendon_jump_max: float | None = _number("tendon jump", "rest lengths a step", "max")
    tendon_jump_muscle: str | None = _with("tendon_jump_max", "tendon")
    tendon_jump_count: int | None = _number("tendon jumps", "", "sum")
    tendon_rate_max: float | None = _number("tendon change", "rest lengths a step", "max")
    wrap_jump_count: int | None = _number("wrap jumps", "", "sum")
    wrap_jump_max_mm: float | None = _number("unexplained length change", "mm", "max")
    wrap_jump_muscle: str | None = _with("wrap_jump_max_mm", "tendon")
    moment_arm_jump_count: int | None = _number("moment-arm jumps", "", "sum")
    moment_arm_jump_max_mm: float | None = _number("moment-arm change", "mm a step", "max")
    moment_arm_jump_muscle: str | None = _with("moment_arm_jump_max_mm", "tendon")

    residual_force_mean_pct_bw: float | None = _number("mean residual force", "% BW", "mean")
    residual_force_p95_pct_bw: float | None = _number("p95 of residual force", "% BW", "mean")
    residual_force_max_pct_bw: float | None = _number("largest residual force", "% BW", "max")
    residual_moment_mean_pct_bw_m: float | None = _number("mean residual moment", "% BW m", "mean")
    residual_moment_p95_pct_bw_m: float | None = _number("p95 of residual moment", "% BW m", "mean")
    residual_moment_max_pct_bw_m: float | None = _number("largest residual moment", "% BW m", "max")
    vertical_force_mean_pct_bw: float | None = _number("mean vertical force", "% BW", "mean")
    tipping_mean_cm: float | None = _number("zero-moment point beyond the soles", "cm", "mean")
    tipping_p95_cm: float | None = _number("p95 of it beyond the soles", "cm", "mean")
    airborne_frames_pct: float | None = _number("frames without ground support", "%", "mean")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain numbers, words and dictionaries, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Quality:
        """Read what `to_dict` wrote.

        Raises:
            QualityError: a field is missing or unknown, as in a record of another version.
        """
        expected = {entry.name for entry in fields(cls)}
        if set(record) != expected:
            odd = sorted(expected ^ set(record))
            raise QualityError(
                f"quality record with {len(odd)} missing or unknown fields, the first {odd[0]!r}: "
                f"written by another version: retarget the clip again"
            )
        return cls(**record)


def pool_quality(qualities: Sequence[Quality]) -> dict[str, Any]:
    """Return one record for several clips, with the fields of `Quality` and two more.

    `clips` counts the clips, and `site_error_worst_site` names the site whose mean error over all
    frames is largest. Clips in which a number is None do not take part in it.
    """
    pooled: dict[str, Any] = {"clips": len(qualities)}
    for entry in fields(Quality):
        pooled[entry.name] = _pool(entry, qualities)
    by_site = pooled["site_error_mean_cm_by_site"]
    pooled["site_error_worst_site"] = max(by_site, key=by_site.get) if by_site else None
    return pooled


def _pool(entry: Field, qualities: Sequence[Quality]) -> Any:
    name, how = entry.name, entry.metadata["pool"]
    if how == "table":
        return _pool_table(entry, qualities)
    if how == "with":
        of = entry.metadata["of"]
        known = [q for q in qualities if getattr(q, of) is not None]
        return getattr(max(known, key=lambda q: getattr(q, of)), name) if known else None
    known = [q for q in qualities if getattr(q, name) is not None]
    if not known:
        return None
    values = [getattr(q, name) for q in known]
    if how in ("sum", "max", "min"):
        return {"sum": sum, "max": max, "min": min}[how](values)
    weights = [getattr(q, entry.metadata["weight"]) or 0 for q in known]
    if not sum(weights):
        return None
    if how == "rms":
        return math.sqrt(_mean([value**2 for value in values], weights))
    return _mean(values, weights)


def _pool_table(entry: Field, qualities: Sequence[Quality]) -> dict[str, float]:
    """Pool a table row by row: largest of largest values, else the mean over frames."""
    tables = [(getattr(q, entry.name), q.frames) for q in qualities]
    pooled = {}
    for key in dict.fromkeys(key for table, _ in tables for key in table):
        rows = [(table[key], frames) for table, frames in tables if key in table]
        if "_max_" in entry.name:
            pooled[key] = max(value for value, _ in rows)
        elif entry.name == "joint_limit_violation_pct_by_joint":
            # A clip that does not list a joint had no violation of it.
            total = sum(frames for _, frames in tables)
            pooled[key] = sum(value * frames for value, frames in rows) / total
        else:
            pooled[key] = _mean(*map(list, zip(*rows, strict=True)))
    return pooled


def _mean(values: list[float], weights: list[float]) -> float:
    return sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)
