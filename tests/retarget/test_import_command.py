"""Importers: the command, and bad input that is told in one line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from retarget import load_motion_set
from retarget.importers import __main__ as command
from retarget.importers.import_motions import import_motions
from retarget.importers.source import SourceError
from sim.embodiment import Embodiment
from tests.conftest import ROOT
from tests.retarget.imported_files import (
    leg_table,
    write_cache,
    write_table,
)


def _truncated(path: Path) -> None:
    np.savez(path / "x.npz", qpos=np.zeros((50, 36)), joint_names=np.array(["a"]))
    content = (path / "x.npz").read_bytes()
    (path / "x.npz").write_bytes(content[: len(content) // 2])


def _edit(path: Path, change: Callable[[str], str]) -> None:
    file = write_table(path / "x.sto", {"elbow_flex_r": np.zeros(5)})
    file.write_text(change(file.read_text()))


def _table(columns: dict[str, object] | None = None, **header: object) -> Callable[[Path], object]:
    columns = columns or {"elbow_flex_r": np.zeros(5)}
    return lambda path: write_table(path / "x.sto", columns, **header)


def _archive(**entries: object) -> Callable[[Path], object]:
    return lambda path: np.savez(path / "x.npz", **entries)


_ARM = {"joint_names": ["elbow_flex_r"], "jnt_type": [3], "qpos": np.zeros((6, 1)),
        "frequency": 100.0}  # fmt: skip
BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "unknown text": (lambda path: (path / "x.csv").write_text("a,b\n1,2\n"), "unknown format"),
    "unknown archive": (_archive(a=np.zeros(3)), "unknown format"),
    "SMPL": (_archive(poses=np.zeros((5, 156)), trans=np.zeros((5, 3))), "python -m retarget"),
    "motion file": (_archive(format_version=1, embodiment="bimanual"), "motion file already"),
    "damaged archive": (_truncated, "damaged"),
    "no time": (lambda path: _edit(path, lambda t: t.replace("time", "t")), "no column 'time'"),
    "no labels": (lambda path: _edit(path, lambda t: t[: t.index("time")]), "nothing follows"),
    "cut table": (_table(nRows=900), "truncated"),
    "ragged row": (lambda path: _edit(path, lambda t: t + "1\t2\t3\n"), "row 6 has 3 values"),
    "no number": (lambda path: _edit(path, lambda t: t + "0.05\tx\n"), "row 6 holds no number"),
    "no unit": (_table(inDegrees=None), "inDegrees"),
    "NaN": (_table(columns={"elbow_flex_r": [0, np.nan, np.nan, 0]}), "2 of 4 rows"),
    "one row": (_table(columns={"elbow_flex_r": [0.1]}), "1 row"),
    "time stands": (_table(time=np.array([0, 0.1, 0.1, 0.2, 0.3])), "does not increase at row 3"),
    "too short": (_table(time=np.arange(5) / 1e4), "shorter than a frame"),
    "no joint": (_table(columns={"soleus_r": np.zeros(5)}), "no column is a joint"),
    "empty folder": (lambda path: None, "empty"),
    "no rate": (_archive(**{k: v for k, v in _ARM.items() if k != "frequency"}), "'frequency'"),
    "false rate": (_archive(**_ARM | {"frequency": 0.0}), "frequency is 0"),
    "false width": (_archive(**_ARM | {"jnt_type": [0]}), "(frames, 7)"),
    "false type": (_archive(**_ARM | {"jnt_type": [9]}), "jnt_type"),
    "false splits": (_archive(**_ARM, split_points=[0, 9]), "split_points"),
    "NaN cache": (_archive(**_ARM | {"qpos": np.full((6, 1), np.nan)}), "6 of 6 rows"),
    "no quaternion": (
        _archive(
            joint_names=["root", "elbow_flex_r"],
            jnt_type=[0, 3],
            qpos=np.zeros((6, 8)),
            frequency=100.0,
        ),
        "zero quaternion",
    ),
    "pickled": (_archive(**_ARM | {"qpos": np.array([{}], dtype=object)}), "damaged"),
    "uneven columns": (_archive(q_elbow_flex_r=np.zeros(5), q_pro_sup_r=np.zeros(4)), "shape (4,)"),
}


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, bimanual: Embodiment, fullbody: Embodiment) -> None:
    """The command with the bodies of the session."""
    bodies = {"bimanual": bimanual, "fullbody": fullbody}
    monkeypatch.setattr(command, "load_embodiment", lambda name, fingers: bodies[name])


def _refused(arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1
    assert word in printed.err


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(
    case: str, tmp_path: Path, compiled: None, capsys: pytest.CaptureFixture[str]
) -> None:
    write, word = BAD[case]
    folder = tmp_path / "in"
    folder.mkdir()
    write(folder)
    arguments = ["embodiment=bimanual", f"out={tmp_path / 'out'}"]
    _refused([f"motions={folder}", *arguments], word, capsys)
    for file in folder.iterdir():
        _refused([f"motions={file}", *arguments], word, capsys)
    assert not (tmp_path / "out").exists()


def test_the_full_body_needs_its_pelvis(
    tmp_path: Path, fullbody: Embodiment, bimanual: Embodiment
) -> None:
    legs = leg_table()
    del legs["pelvis_list"]
    with pytest.raises(SourceError, match="no column 'pelvis_list'"):
        import_motions(write_table(tmp_path / "a.sto", legs), fullbody)
    qpos = np.tile(bimanual.model.qpos0, (5, 1))
    with pytest.raises(SourceError, match="no free root joint"):
        import_motions(write_cache(tmp_path / "a.npz", bimanual, qpos), fullbody)
    legs = leg_table()
    del legs["pelvis_tx"]
    report = import_motions(write_table(tmp_path / "b.sto", legs), fullbody).reports[0]
    assert any("stands still along pelvis_tx" in note for note in report.notes)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"embodiment": "legs"}, "fullbody or bimanual"),
        ({"embodiment": None}, "embodiment= is missing"),
        ({"motions": "nowhere"}, "no such file"),
        ({"out": None}, "out= is missing"),
        ({"fps": "fast"}, "fps=fast"),
        ({"fps": "0"}, "fps=0"),
        ({"root": "floor"}, "keep or ground"),
        ({"fingers": "2"}, "true or false"),
        ({"speed": "1"}, "speed=1"),
    ],
)
def test_wrong_arguments_are_one_line(
    changes: dict[str, str | None], word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"motions": str(tmp_path), "embodiment": "bimanual", "out": str(tmp_path / "o")}
    arguments = [f"{k}={v}" for k, v in (given | changes).items() if v is not None]
    _refused(arguments, word, capsys)


def test_command_writes_a_set_and_says_what_it_did(
    tmp_path: Path,
    compiled: None,
    bimanual: Embodiment,
    demo_walk: np.ndarray,
    fullbody: Embodiment,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "in"
    (folder / "a b").mkdir(parents=True)
    elbow = {"elbow_flex_r": np.linspace(0.1, 0.5, 12), "soleus": np.zeros(12)}
    write_table(folder / "a b" / "bend.sto", elbow)
    # The same name, and formats that no suffix tells.
    write_table(folder / "a_b_bend.txt", elbow)
    cache = write_cache(folder / "c.npz", fullbody, demo_walk[:10])
    cache.rename(folder / "c.data")
    (folder / "notes.txt").write_text("nothing of interest\n")
    arguments = [f"motions={folder}", "embodiment=bimanual", f"out={tmp_path / 'out'}"]
    assert command.main([*arguments, "fps=50", "activations=true"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    clips = load_motion_set(tmp_path / "out", bimanual)
    assert [clip.name for clip in clips] == ["a_b_bend", "a_b_bend_2", "c"]
    assert all(clip.fps == 50 and clip.act is not None for clip in clips)
    lines = printed.out.splitlines()
    assert lines[0].startswith("a_b_bend: 6 frames at 50 Hz, 0.10 s, 1 of 14 joints matched")
    assert "  columns not matched: soleus" in lines
    assert any(line.startswith("skipped") and "notes.txt" in line for line in lines)


def test_help_needs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: python -m retarget.importers")


def test_importing_needs_no_torch() -> None:
    code = "import sys, retarget.importers.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
