"""Acceptance, pooling, table and files of the retargeting report."""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import sys
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest

from retarget.quality_record import Quality, QualityError, pool_quality
from retarget.report import (
    ClipResult,
    ReportError,
    Thresholds,
    clip_table,
    rejections,
    summarize,
    write_report,
)
from tests.conftest import ROOT


def _quality(frames: int = 100, **numbers: object) -> Quality:
    good = {
        "site_error_mean_cm": 2.0,
        "site_error_rmse_cm": 3.0,
        "site_error_mean_cm_by_site": {"head": 1.0, "toes": 3.0},
        "joint_limit_violation_pct": 0.1,
        "joint_limit_worst_deg": 1.0,
        "joint_limit_worst_joint": "knee",
        "penetration_frames_pct": 0.0,
        "penetration_depth_mm": 0.5,
        "float_height_cm": 1.8,
        "tendon_jump_max": 0.01,
    }
    return Quality(frames, **good | numbers)


def _results() -> list[ClipResult]:
    bad = _quality(
        300, site_error_mean_cm=10.0, site_error_mean_cm_by_site={"head": 11.0, "toes": 9.0},
        joint_limit_worst_deg=7.0, joint_limit_worst_joint="elbow_flex_r", tendon_jump_max=0.2,
        tendon_jump_muscle="EO6_l_tendon",
    )  # fmt: skip
    return [
        ClipResult("walk", 100, 100.0, 2.0, _quality(), [], None, "CMU/02/02_01"),
        ClipResult("chair", 300, 100.0, 4.0, bad, rejections(bad), None, 'a "b", c'),
        ClipResult("broken", 0, 0.0, 0.5, None, [], "no poses:\nexport it again", ""),
    ]


def test_good_clips_are_accepted() -> None:
    assert rejections(_quality()) == []
    assert rejections(Quality(10)) == []  # nothing measured, nothing to reject


def test_each_threshold_rejects_beyond_it_alone() -> None:
    for entry in fields(Thresholds):
        limit = getattr(Thresholds(), entry.name)
        assert rejections(_quality(**{entry.name: limit})) == []
        [reason] = rejections(_quality(**{entry.name: 1.01 * limit}))
        assert f"> {limit:g}" in reason
        assert (
            rejections(
                _quality(**{entry.name: 2 * limit}), replace(Thresholds(), **{entry.name: None})
            )
            == []
        )
        assert len(rejections(_quality(**{entry.name: math.nan}))) == 1


def test_reasons_name_number_threshold_and_culprit() -> None:
    quality = _quality(
        site_error_mean_cm=9.31, penetration_depth_mm=12.0, penetration_geom="r_foot_col1"
    )
    assert rejections(quality) == [
        "floor penetration 12 mm > 5 mm (r_foot_col1)",
        "mean site error 9.31 cm > 8 cm (worst toes)",
    ]


def test_pooling_weighs_frames() -> None:
    first = _quality(
        100, stance_frames=50, floating_stance_pct=10.0, penetration_depth_mm=4.0,
        penetration_geom="a", joint_limit_violation_pct_by_joint={"knee": 4.0},
    )  # fmt: skip
    second = _quality(
        300, site_error_mean_cm=4.0, site_error_rmse_cm=5.0, stance_frames=150,
        floating_stance_pct=30.0, penetration_depth_mm=2.0, penetration_geom="b",
        site_error_mean_cm_by_site={"head": 7.0}, self_collision_depth_mm=None,
    )  # fmt: skip
    third = _quality(600, site_error_mean_cm=None, stance_frames=None, site_error_rmse_cm=None)
    pooled = pool_quality([first, second, third])
    assert pooled["clips"] == 3 and pooled["frames"] == 1000
    assert pooled["site_error_mean_cm"] == pytest.approx((2 * 100 + 4 * 300) / 400)
    assert pooled["site_error_rmse_cm"] == pytest.approx(math.sqrt((9 * 100 + 25 * 300) / 400))
    assert pooled["floating_stance_pct"] == pytest.approx((10 * 50 + 30 * 150) / 200)
    assert pooled["stance_frames"] == 200
    assert pooled["penetration_depth_mm"] == 4.0 and pooled["penetration_geom"] == "a"
    by_site = pooled["site_error_mean_cm_by_site"]
    assert by_site["head"] == pytest.approx((1 * 100 + 7 * 300 + 1 * 600) / 1000)
    assert by_site["toes"] == pytest.approx(3.0)
    assert pooled["site_error_worst_site"] == "toes"
    assert pooled["joint_limit_violation_pct_by_joint"] == pytest.approx({"knee": 0.4})
    assert pooled["skating_median_cm_s"] is None and pooled["self_collision_pair"] is None
    assert pool_quality([])["site_error_mean_cm"] is None


def test_every_field_says_how_it_pools() -> None:
    names = {entry.name for entry in fields(Quality)}
    for entry in fields(Quality):
        assert entry.metadata["label"]
        assert entry.metadata["pool"] in {"mean", "rms", "sum", "max", "min", "with", "table"}
        if entry.metadata["pool"] in {"mean", "rms"}:
            assert entry.metadata["weight"] in names
        if entry.metadata["pool"] == "with":
            assert entry.metadata["of"] in names
    assert {entry.name for entry in fields(Thresholds)} <= names


def test_table_is_aligned_and_explains_itself() -> None:
    lines = clip_table(_results()).splitlines()
    header = lines[0]
    rows = {line.split()[0]: line for line in lines if line and not line.startswith(" ")}
    for name in ("walk", "chair", "all"):
        # Right-aligned columns end where their head ends.
        for head in ("frames", "site", "tendon"):
            end = header.index(head) + len(head)
            assert rows[name][end - 1].isdigit() and rows[name][end : end + 2].strip() == ""
    assert rows["chair"].endswith("REJECTED") and rows["broken"].endswith("FAILED")
    below = lines[lines.index(rows["chair"]) + 1 :]
    assert (
        below[0]
        == "    tendon jump 0.2 rest lengths a step > 0.05 rest lengths a step (EO6_l_tendon)"
    )
    assert "    no poses: export it again" in lines
    # 100 frames of 2 cm and 300 of 10 cm; 6 s for 400 frames.
    assert rows["all"].split()[:5] == ["all", "(2)", "400", "15.0", "8.00"]
    assert rows["accepted"].split()[:5] == ["accepted", "(1)", "100", "20.0", "2.00"]
    assert "3 clips: 1 accepted, 1 rejected, 1 failed" in lines


def test_table_without_results_or_measures() -> None:
    assert "0 clips" in clip_table([])
    assert "1 failed" in clip_table([ClipResult("x" * 90, 0, 0.0, 0.0, error="unreadable")])


def test_summary_counts() -> None:
    summary = summarize(_results())
    assert (summary["accepted"], summary["rejected"], summary["failed"]) == (1, 1, 1)
    assert summary["seconds_per_frame"] == pytest.approx(6.0 / 400)
    assert summary["motions_with_tendon_jump_pct"] == pytest.approx(50)
    assert summary["overall"]["joint_limit_worst_joint"] == "elbow_flex_r"
    assert summary["overall"]["site_error_worst_site"] == "head"
    assert summary["accepted_only"]["frames"] == 100


def test_files(tmp_path: Path) -> None:
    results = _results()
    results[0].quality.skating_p95_cm_s = math.nan
    json_path, csv_path = write_report(tmp_path / "new" / "run", results)
    report = json.loads(json_path.read_text())
    assert report["thresholds"] == asdict(Thresholds())
    assert report["summary"]["overall"]["frames"] == 400
    assert [clip["state"] for clip in report["clips"]] == ["accepted", "rejected", "failed"]
    assert report["clips"][0]["quality"]["skating_p95_cm_s"] is None  # JSON knows no NaN
    assert report["clips"][1]["quality"]["site_error_mean_cm_by_site"]["head"] == 11.0
    with csv_path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["walk", "chair", "broken"]
    assert float(rows[1]["site_error_mean_cm"]) == 10.0 and rows[1]["source"] == 'a "b", c'
    assert rows[1]["rejected"].count("; ") == 1
    assert rows[2]["site_error_mean_cm"] == "" and rows[2]["error"].startswith("no poses")
    assert sorted(os.listdir(json_path.parent)) == ["report.csv", "report.json"]
    assert json_path.stat().st_mode & 0o777 == 0o644


def test_a_failed_write_leaves_the_old_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = write_report(tmp_path, _results())
    before = path.read_text()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(tmp_path, [])
    assert path.read_text() == before
    assert sorted(os.listdir(tmp_path)) == ["report.csv", "report.json"]


def test_results_survive_json() -> None:
    for result in _results():
        assert ClipResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_foreign_records_are_refused() -> None:
    record = _results()[0].to_dict()
    with pytest.raises(ReportError, match="'fps' is missing or unknown"):
        ClipResult.from_dict({key: value for key, value in record.items() if key != "fps"})
    with pytest.raises(ReportError, match="no JSON object"):
        ClipResult.from_dict([1, 2])
    record["quality"] = {**record["quality"], "beauty": 1.0}
    with pytest.raises(QualityError, match="'beauty'"):
        ClipResult.from_dict(record)


def test_plain_import_stays_light() -> None:
    code = "import sys, retarget; print('torch' in sys.modules, 'retarget.quality' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["False", "False"]
