"""The report of retargeting as a table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from retarget.quality_record import pool_quality
from retarget.report_clip import ClipResult


@dataclass(frozen=True)
class _Column:
    head: str
    unit: str
    field: str
    digits: int


_COLUMNS = (
    _Column("site", "cm", "site_error_mean_cm", 2),
    _Column("max", "cm", "site_error_max_cm", 1),
    _Column("orient", "deg", "orientation_error_mean_deg", 1),
    _Column("limit", "%", "joint_limit_violation_pct", 2),
    _Column("pen", "%", "penetration_frames_pct", 1),
    _Column("pen", "mm", "penetration_depth_mm", 1),
    _Column("float", "cm", "float_height_cm", 1),
    _Column("hover", "%", "floating_stance_pct", 1),
    _Column("skate", "cm/s", "skating_median_cm_s", 1),
    _Column("self", "%", "self_collision_beyond_neutral_pct", 1),
    _Column("speed", "rad/s", "joint_velocity_max_rad_s", 1),
    _Column("tendon", "L0", "tendon_jump_max", 3),
    _Column("resF", "%BW", "residual_force_mean_pct_bw", 1),
    _Column("resM", "%BWm", "residual_moment_mean_pct_bw_m", 1),
)
_LONGEST_NAME = 40
_KEY = """\
time: solving; site: mean and largest distance from targets; limit: joint-limit violations;
pen: frames in the floor and depth; float: lowest geom centre; hover: stance frames in the air;
skate: median; self: self-collision beyond the neutral pose's; speed: fastest joint;
tendon: largest jump, rest lengths a step; resF, resM: mean force, moment the ground cannot give"""


def clip_table(results: Sequence[ClipResult]) -> str:
    """Return an aligned table: a line for each clip, one for all together, counts and a key.

    Times are solving times. A clip that was rejected or failed has its reasons on the lines below
    it. The last line pools all clips that could be measured, over frames; another pools accepted
    ones alone where some are not.
    """
    rows: list[tuple[list[str], list[str]]] = [
        (["clip", "frames", "time", *[c.head for c in _COLUMNS], ""], []),
        (["", "", "ms/fr", *[c.unit for c in _COLUMNS], ""], []),
    ]
    for result in results:
        reasons = list(result.rejected)
        if result.state == "failed":
            reasons = [" ".join((result.error or "no quality").split())]
        verdict = "" if result.state == "accepted" else result.state.upper()
        rows.append((_row(result.name, [result], result.quality, verdict), reasons))
    measured = [r for r in results if r.state != "failed"]
    accepted = [r for r in measured if r.state == "accepted"]
    totals = [("all", measured)] if measured else []
    if accepted and len(accepted) < len(measured):
        totals.append(("accepted", accepted))
    for label, part in totals:
        pooled = pool_quality([r.quality for r in part])
        rows.append((_row(f"{label} ({len(part)})", part, pooled, ""), []))
    widths = [max(map(len, column)) for column in zip(*[cells for cells, _ in rows], strict=True)]
    lines = []
    for index, (cells, reasons) in enumerate(rows):
        if index in (2, len(rows) - len(totals)) and lines:
            lines.append("-" * (sum(widths) + 2 * (len(widths) - 1)))
        first = cells[0].ljust(widths[0])
        middle = [c.rjust(w) for c, w in zip(cells[1:-1], widths[1:-1], strict=True)]
        lines.append("  ".join([first, *middle, cells[-1]]).rstrip())
        lines += [f"    {reason}" for reason in reasons]
    states = [r.state for r in results]
    counts = ", ".join(f"{states.count(s)} {s}" for s in ("accepted", "rejected", "failed"))
    return "\n".join([*lines, f"{len(results)} clips: {counts}", _KEY])


def _row(name: str, results: Sequence[ClipResult], quality: Any, verdict: str) -> list[str]:
    frames, seconds = sum(r.frames for r in results), sum(r.seconds for r in results)
    if len(name) > _LONGEST_NAME:
        # The end of a clip's name tells it from its neighbours.
        name = "..." + name[3 - _LONGEST_NAME :]
    time = f"{1e3 * seconds / frames:.1f}" if frames else "-"
    return [name, str(frames), time, *[_cell(quality, c) for c in _COLUMNS], verdict]


def _cell(quality: Any, column: _Column) -> str:
    if quality is None:
        return "-"
    pooled = isinstance(quality, dict)
    value = quality[column.field] if pooled else getattr(quality, column.field)
    return "-" if value is None else f"{value:.{column.digits}f}"
