"""The report of retargeting: which clips are good enough, a table to read, JSON and CSV to keep."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from retarget.quality_record import Quality, pool_quality
from retarget.report_clip import ClipResult, ReportError, Thresholds, rejections
from retarget.report_table import clip_table

__all__ = [
    "ClipResult",
    "ReportError",
    "Thresholds",
    "clip_table",
    "rejections",
    "summarize",
    "write_report",
]

REPORT_VERSION = 1


def summarize(
    results: Sequence[ClipResult], thresholds: Thresholds | None = None
) -> dict[str, Any]:
    """Return counts, times and pooled numbers of a run.

    "overall" pools all clips that could be measured, "accepted" those that were accepted, both over
    frames (`quality_record.pool_quality`). The share of motions with a tendon jump is MuscleMimic's
    number: clips, of all measured, whose largest jump exceeds the threshold (0.05 if it is off).
    """
    limit = (thresholds or Thresholds()).tendon_jump_max
    limit = 0.05 if limit is None else limit
    measured = [r.quality for r in results if r.state != "failed"]
    jumps = [q.tendon_jump_max for q in measured if q.tendon_jump_max is not None]
    solved = sum(r.frames for r in results if r.state != "failed")
    seconds = sum(r.seconds for r in results if r.state != "failed")
    states = [r.state for r in results]
    return {
        "clips": len(results),
        **{state: states.count(state) for state in ("accepted", "rejected", "failed")},
        "frames": solved,
        "seconds": seconds,
        "seconds_per_frame": seconds / solved if solved else None,
        "motions_with_tendon_jump_pct": (
            100 * sum(jump > limit for jump in jumps) / len(jumps) if jumps else None
        ),
        "overall": pool_quality(measured),
        "accepted_only": pool_quality([r.quality for r in results if r.state == "accepted"]),
    }


def write_report(
    folder: str | Path, results: Sequence[ClipResult], thresholds: Thresholds | None = None
) -> tuple[Path, Path]:
    """Write report.json (everything) and report.csv (a row for each clip); return their paths.

    The JSON has the summary, the thresholds and the clips; the CSV the plain numbers of each clip,
    without the tables by site and joint. Each file appears whole or not at all.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    thresholds = thresholds or Thresholds()
    report = {
        "format_version": REPORT_VERSION,
        "thresholds": asdict(thresholds),
        "summary": summarize(results, thresholds),
        "clips": [result.to_dict() for result in results],
    }
    text = json.dumps(_finite(report), indent=1, allow_nan=False) + "\n"
    paths = folder / "report.json", folder / "report.csv"
    _write_atomically(paths[0], text)
    _write_atomically(paths[1], _csv(results))
    return paths


def _csv(results: Sequence[ClipResult]) -> str:
    own = ["name", "state", "frames", "fps_hz", "solve_seconds", "rejected", "error", "source"]
    columns = [
        entry.name
        for entry in fields(Quality)
        if entry.metadata["pool"] != "table" and entry.name != "frames"
    ]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(own + columns)
    for result in results:
        row = [result.name, result.state, result.frames, result.fps, result.seconds]
        row += ["; ".join(result.rejected), result.error, result.source]
        writer.writerow(row + [getattr(result.quality, name, None) for name in columns])
    return stream.getvalue()


def _finite(value: Any) -> Any:
    """Return `value` with None for numbers that JSON has no word for."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write_atomically(path: Path, text: str) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
