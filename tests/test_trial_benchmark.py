"""A person's gait cycle from the files of a trial: phases, units, signs, body weight."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks import trial
from cfg import UserError
from mm_torch.gait_cycle import SAMPLES, read_human

PERIOD, STANCE, WEIGHT = 1.1, 0.6, 700.0
#: When the right and the left foot land (s).
LANDING = {"r": 0.3, "l": 0.3 + PERIOD / 2}
PHASE = np.linspace(0.0, 1.0, SAMPLES)


def bump(phase: np.ndarray) -> np.ndarray:
    """A force while the foot stands, whose mean over the stride is one half."""
    shape = np.sin(np.pi * np.clip(phase / STANCE, 0, 1)) ** 2
    return shape / STANCE


def push(phase: np.ndarray) -> np.ndarray:
    """Brakes, then pushes."""
    return -np.sin(2 * np.pi * np.clip(phase / STANCE, 0, 1))


def knee(phase: np.ndarray) -> np.ndarray:
    return 0.6 + 0.5 * np.sin(2 * np.pi * phase)


def write(path: Path, columns: dict[str, np.ndarray], degrees: str = "no") -> str:
    lines = [path.stem, f"inDegrees={degrees}", "endheader", "\t".join(columns)]
    lines += [
        "\t".join(f"{value:.12g}" for value in row) for row in np.transpose([*columns.values()])
    ]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def plates(folder: Path, axis: str = "x", sign: float = 1.0, until: float = 2.6) -> str:
    """Forces of a walk along an axis of the ground; the first stance of each foot is at LANDING."""
    time = np.arange(0, until, 0.001)
    columns = {"time": time}
    for side, landing in LANDING.items():
        phase = np.where(time < landing, 1.0, (time - landing) / PERIOD % 1.0)
        outwards = 1.0 if side == "r" else -1.0
        forward, right = 80 * push(phase), outwards * 40 * bump(phase)
        ahead = {"x": (forward, right), "z": (-right, forward)}[axis]
        # The middle of stance is a mean over half the stride, times weight.
        for name, force in zip("xyz", (sign * ahead[0], WEIGHT * bump(phase), sign * ahead[1]),
                               strict=True):  # fmt: skip
            columns[f"ground_force_{side}_v{name}"] = force
    # Storage files of forces often claim degrees: it means nothing for them.
    return write(folder / f"grf{axis}{sign}{until}.mot", columns, degrees="yes")


def angles(folder: Path, begin: float, length: float) -> str:
    time = np.arange(begin, begin + length, 0.005)
    phase = (time - LANDING["r"]) / PERIOD
    columns = {"time": time, "knee_angle_r": np.degrees(knee(phase)), "hip_flexion_l": 0 * time}
    return write(folder / "ik.mot", columns, degrees="yes")


def run(*arguments: str) -> int:
    return trial.main(list(arguments))


def test_tables_are_read_as_they_were_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    time = np.arange(0.2, 1.9, 0.01)
    phase = (time - LANDING["r"]) / PERIOD
    moments = write(tmp_path / "id.sto", {"time": time, "knee_angle_r_moment": 30 * knee(phase)})
    emg = {"time": time, "soleus_r": 2 + knee(phase), "biceps_femoris": knee(phase),
           "TA": 3 * knee(phase), "trapezius": 0 * time}  # fmt: skip
    emg = write(tmp_path / "emg.sto", emg)
    # The angles are measured beside the plates, from before the landing to before the next.
    files = [f"forces={plates(tmp_path)}", f"kinematics={angles(tmp_path, 0.5, 1.2)}"]
    out = tmp_path / "new" / "person"
    names = "names=TA=Tibialis-anterior"
    assert run(*files, f"moments={moments}", f"emg={emg}", names, f"out={out}") == 0
    printed = capsys.readouterr().out
    assert "left out: trapezius" in printed
    mass = float(printed.split("mass=")[1].split()[0])
    assert mass == pytest.approx(WEIGHT / 9.81, rel=2e-3)
    human = read_human(str(out), mass)
    # Landing counts from 5 % of body weight on, 0.03 s after the force sets in.
    late = np.argmax(bump(np.linspace(0, 0.2, 2001)) > 0.05) / 1e4
    here = (PHASE + late) % 1.0
    grf = human["grf"]
    np.testing.assert_allclose(grf["Vertical"].mean, 100 * bump(here), atol=1.5)
    np.testing.assert_allclose(grf["Fore-aft"].mean, 100 * 80 / WEIGHT * push(here), atol=0.8)
    np.testing.assert_allclose(grf["Lateral"].mean, 100 * 40 / WEIGHT * bump(here), atol=0.2)
    # This file's knees flex with positive angles; the tables' with negative ones.
    np.testing.assert_allclose(
        human["kinematics"]["knee_angle"].mean, -np.degrees(knee(here)), atol=0.2
    )
    np.testing.assert_allclose(
        human["joint_torques"]["knee_angle"].mean, -30 / mass * knee(here), atol=2e-3
    )
    emg = human["emg"]
    assert set(emg) == {"Soleus", "Hamstrings-lateralis", "Tibialis-anterior"}
    np.testing.assert_allclose(emg["Soleus"].mean, 2 + knee(here), atol=0.01)
    np.testing.assert_allclose(emg["Tibialis-anterior"].mean, 3 * knee(here), atol=0.01)


def test_the_left_side_and_other_directions(tmp_path: Path) -> None:
    tables = []
    for side, axis, sign in (("r", "x", 1.0), ("l", "x", 1.0), ("r", "z", 1.0), ("r", "x", -1.0)):
        forwards = f"forwards={'-' if sign < 0 else ''}{axis}"
        out = tmp_path / f"{side}{axis}{sign}"
        given = [f"forces={plates(tmp_path, axis, sign)}", f"side={side}", forwards]
        assert run(*given, f"out={out}") == 0
        tables.append(read_human(str(out), 70.0)["grf"])
    for other in tables[1:]:
        for name, curve in tables[0].items():
            np.testing.assert_allclose(other[name].mean, curve.mean, atol=0.5)


def test_what_cannot_be_used_is_said(tmp_path: Path) -> None:
    forces, out = f"forces={plates(tmp_path)}", f"out={tmp_path / 'p'}"
    raw = {"time": np.arange(0, 2, 0.01), "soleus": np.tile([1.0, -1.0], 100)}
    other = {"time": np.arange(0, 2, 0.01), "stairs": np.zeros(200)}
    gap = {"time": np.arange(0, 2, 0.01), "soleus": np.full(200, np.nan)}
    cases = [
        ([forces, out, f"emg={write(tmp_path / 'gap.sto', gap)}"], "soleus of gap is not a finite"),
        ([f"forces={plates(tmp_path, until=0.0005)}", out], "expected at least 2"),
        ([forces, out, f"emg={write(tmp_path / 'o.sto', other)}", "names=soleus"], "names: soleus"),
        ([out], "forces= is missing"),
        ([forces], "out= is missing"),
        ([f"forces={tmp_path / 'none'}", out], "no such file"),
        ([f"forces={write(tmp_path / 'o.mot', other)}", out], "no columns ground_force_r_vx"),
        ([forces, out, "forwards=-x"], "walks the other way"),
        ([f"forces={plates(tmp_path, until=1.0)}", out], "no whole stance of side 'l'"),
        ([forces, out, f"kinematics={angles(tmp_path, 0.4, 0.7)}"], "of the gait cycle is not in"),
        ([forces, out, f"emg={write(tmp_path / 'raw.sto', raw)}"], "expected envelopes"),
        ([forces, out, f"emg={write(tmp_path / 'o.sto', other)}"], "none of its columns"),
        ([forces, out, f"moments={write(tmp_path / 'm.sto', other)}"], "without kinematics="),
        ([forces, out, f"emg={write(tmp_path / 'o.sto', other)}", "names=a=B"], "names: a=B"),
    ]
    for arguments, word in cases:
        with pytest.raises(UserError, match=re.escape(word)):
            run(*arguments)


def test_a_measured_trial_is_like_another_persons(shared: Path, tmp_path: Path) -> None:
    folder, person = shared / "data" / "opensim_walk", shared / "data" / "gait" / "falisse2019"
    if not folder.is_dir() or not person.parent.is_dir():
        pytest.skip(f"no recordings {folder}, {person.parent}")
    names = {"forces": "grf_walk.mot", "kinematics": "coordinates.sto", "moments": "id_walk.sto",
             "emg": "electromyography.sto"}  # fmt: skip
    files = [f"{key}={folder / name}" for key, name in names.items()]
    assert run(*files, f"out={tmp_path / 'trial'}") == 0
    ours, theirs = read_human(str(tmp_path / "trial"), 84.7), read_human(str(person), 62.0)
    least = {
        "kinematics": ("hip_flexion", "knee_angle", "ankle_angle"),
        "grf": ("Vertical", "Fore-aft"),
        "joint_torques": ("hip_flexion", "hip_adduction", "knee_angle", "ankle_angle"),
    }
    for table, columns in least.items():
        for column in columns:
            r = np.corrcoef(ours[table][column].mean, theirs[table][column].mean)[0, 1]
            assert r > 0.9, (table, column, r)
