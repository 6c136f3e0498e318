import json
import subprocess
import sys

import numpy as np
import pytest

from retarget.__main__ import main
from retarget.motion_set import load_motion_set
from retarget.run import batches
from tests.conftest import ROOT, body
from tests.retarget.smpl_files import write_body_model, write_clip


@pytest.fixture
def files(tmp_path):
    """A folder with a synthetic body model and two clips."""
    write_body_model(tmp_path / "models")
    write_clip(tmp_path / "amass" / "S1" / "reach_poses.npz", frames=40)
    write_clip(tmp_path / "amass" / "S1" / "swing_poses.npz", frames=30, swing=0.6)
    return tmp_path


def retarget(files, *more, embodiment="bimanual", workers=1):
    return main(
        [f"motions={files / 'amass'}", f"body_model={files / 'models'}", f"out={files / 'set'}",
         f"embodiment={embodiment}", "activations=false", f"workers={workers}", *more]
    )  # fmt: skip


def tree(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_folder_becomes_a_motion_set_with_a_report(files, capsys):
    assert retarget(files) == 0
    motions = load_motion_set(files / "set", body("bimanual", False))
    assert [motion.name for motion in motions] == ["S1_reach", "S1_swing"]
    record = json.loads(motions[0].provenance)
    assert record["source"].endswith("reach_poses.npz") and record["gender"] == "neutral"
    assert record["settings"]["smoothing_hz"] == 8.0 and "mujoco" in record["versions"]
    report = json.loads((files / "set" / "report.json").read_text())
    assert report["summary"]["clips"] == 2
    assert len((files / "set" / "report.csv").read_text().splitlines()) == 3
    assert "2 of 2 clips accepted" in capsys.readouterr().out
    assert not [name for name in tree(files) if "tmp" in name]


def test_the_full_body_stands_on_the_floor(files):
    assert retarget(files, "only=*reach*", embodiment="fullbody") == 0
    motion = load_motion_set(files / "set", body("fullbody", False))[0]
    assert motion.contact.shape == (len(motion), 4) and motion.contact.mean() > 0.9
    row = json.loads((files / "set" / "report.json").read_text())["clips"][0]["quality"]
    assert row["penetration_frames_pct"] == 0 and row["joint_limit_violation_pct"] == 0
    assert row["equality_residual_max"] < 1e-9 and row["velocity_mismatch_max"] < 1e-9
    assert row["site_error_mean_cm"] < 5 and row["floating_stance_pct"] == 0


def test_a_second_run_does_nothing_and_a_killed_one_continues(files, capsys):
    assert retarget(files) == 0
    before = {p: p.stat().st_mtime_ns for p in (files / "set").glob("*.npz")}
    assert retarget(files) == 0
    assert "2 of 2 clips are in" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in (files / "set").glob("*.npz")} == before
    # Killed between the two files of a clip, or before its first.
    (files / "set" / "results" / "S1_swing.json").unlink()
    (files / "set" / "index.json").unlink()
    assert retarget(files) == 0
    after = {p: p.stat().st_mtime_ns for p in (files / "set").glob("*.npz")}
    assert after[files / "set" / "S1_reach.npz"] == before[files / "set" / "S1_reach.npz"]
    assert after[files / "set" / "S1_swing.npz"] > before[files / "set" / "S1_swing.npz"]
    assert len(load_motion_set(files / "set", body("bimanual", False))) == 2


def test_other_settings_need_another_folder(files, capsys):
    assert retarget(files) == 0
    assert retarget(files, "smoothing_hz=6") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "was made with smoothing_hz=8.0, now smoothing_hz=6.0" in error
    assert retarget(files, "smoothing_hz=6", "overwrite=true") == 0


def test_a_broken_clip_is_reported_and_the_rest_goes_on(files, capsys):
    (files / "amass" / "S1" / "broken_poses.npz").write_bytes(b"this is no zip archive")
    assert retarget(files) == 0
    out = capsys.readouterr()
    assert "2 of 3 clips accepted" in out.out and "FAILED" in out.err
    clips = json.loads((files / "set" / "report.json").read_text())["clips"]
    failed = [clip for clip in clips if clip["error"]]
    assert [clip["name"] for clip in failed] == ["S1_broken"]
    assert "broken_poses.npz" in failed[0]["error"] and "\n" not in failed[0]["error"]
    # Mended, it is done by the same command, and it alone.
    write_clip(files / "amass" / "S1" / "broken_poses.npz", frames=20)
    assert retarget(files) == 0
    assert "3 of 3 clips accepted" in capsys.readouterr().out


def test_rejected_clips_are_kept_apart(files, capsys):
    assert retarget(files, "reject.site_error_mean_cm=0.001") == 1
    assert tree(files / "set" / "rejected") == ["S1_reach.npz", "S1_swing.npz", "index.json"]
    assert not (files / "set" / "index.json").exists()
    assert "0 of 2 clips accepted" in capsys.readouterr().out
    row = json.loads((files / "set" / "report.json").read_text())["clips"][0]
    assert len(row["rejected"]) == 1 and "0.001" in row["rejected"][0]
    # With the thresholds back, they move to where they belong.
    assert retarget(files, "overwrite=true") == 0
    assert not list((files / "set" / "rejected").glob("*.npz"))


@pytest.mark.parametrize("what", ["motion", "result"])
def test_a_full_disk_leaves_no_half_written_file(files, monkeypatch, capsys, what):
    def full(*args, **kwargs):
        target = args[1] if what == "result" else args[0]
        target.write("half" if what == "result" else b"half")
        raise OSError(28, "No space left on device")

    if what == "motion":
        monkeypatch.setattr(np, "savez_compressed", full)
    else:
        monkeypatch.setattr("retarget.run.json.dump", full)
    assert retarget(files) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and "No space left on device" in error
    left = tree(files / "set") if (files / "set").exists() else []
    assert [name for name in left if not name.endswith("S1_reach.npz")] == []
    monkeypatch.undo()
    assert retarget(files) == 0


def test_two_processes_find_what_one_finds(files):
    assert retarget(files, "batch_frames=1") == 0
    one = [m.qpos for m in load_motion_set(files / "set", body("bimanual", False))]
    assert retarget(files, "batch_frames=1", "overwrite=true", workers=2) == 0
    two = [m.qpos for m in load_motion_set(files / "set", body("bimanual", False))]
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize(
    "arguments, text",
    [
        (["body_model=x", "out=y"], "motions= is missing"),
        (["motions=/nowhere", "body_model=x", "out=y"], "/nowhere"),
        (["motion=x"], "did you mean 'motions'"),
        (["motions=x", "embodiment=dog"], "expected one of fullbody, bimanual"),
        (["motions=x", "fps=ten"], "fps"),
    ],
)
def test_mistakes_are_one_line(arguments, text, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert text in error and error.count("\n") == 1 and "Traceback" not in error


def test_an_empty_folder_is_one_line(files, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main([f"motions={tmp_path / 'empty'}", "body_model=x", f"out={tmp_path / 'o'}"]) == 2
    assert "empty" in capsys.readouterr().err
    assert retarget(files, "only=*absent*") == 2
    assert "absent" in capsys.readouterr().err


def test_a_body_model_that_will_not_do_fails_its_clips(files, capsys):
    write_clip(files / "amass" / "S2" / "plain_poses.npz", model_type="smpl", frames=20)
    write_body_model(files / "models", "smpl")
    assert retarget(files, "fingers=true") == 0
    clips = json.loads((files / "set" / "report.json").read_text())["clips"]
    failed = {clip["name"]: clip["error"] for clip in clips if clip["error"]}
    assert list(failed) == ["S2_plain"] and "fingers" in failed["S2_plain"]


def test_clips_that_are_too_short_or_of_absurd_shape_fail_alone(files):
    write_clip(files / "amass" / "S1" / "short_poses.npz", frames=2, fps=120.0)
    odd = files / "amass" / "S1" / "odd_poses.npz"
    entries = dict(np.load(write_clip(odd, frames=20)))
    np.savez(odd, **entries | {"betas": np.full(16, 1e200)})
    assert retarget(files) == 0
    clips = json.loads((files / "set" / "report.json").read_text())["clips"]
    failed = {clip["name"]: clip["error"] for clip in clips if clip["error"]}
    assert "at 100 Hz, expected at least 3" in failed.pop("S1_short")
    assert "betas that make legs of" in failed.pop("S1_odd")
    assert not failed


def test_help_lists_every_setting(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for key in ("motions=null", "smoothing_hz=8.0", "reject.tendon_jump_max=0.05"):
        assert key in text


def test_batches_fill_up_and_large_clips_stand_alone(tmp_path):
    clips = [
        (f"c{n}", str(write_clip(tmp_path / f"c{n}.npz", frames=n))) for n in (10, 10, 50, 15)
    ] + [("missing", str(tmp_path / "missing.npz"))]
    groups = batches(clips, 30)
    assert [[name for name, _ in group] for group in groups] == [
        ["c10", "c10"], ["c50"], ["c15", "missing"]
    ]  # fmt: skip


def test_the_package_stands_alone():
    code = (
        "import sys, retarget; light = set(sys.modules); import retarget.run, retarget.show;"
        "loaded = {name.partition('.')[0] for name in sys.modules};"
        "print(sorted(loaded & {'warp', 'mujoco_warp', 'mm_torch', 'agents'}),"
        "sorted(light & {'torch', 'smplx', 'warp'}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[] []"
