"""The gait benchmark on walks made by hand, whose curves are known."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from benchmarks.gait import check_figure, compared, draw, in_short, main, mean_cycles
from cfg import UserError
from mm_torch.gait_cycle import COMPARED, SAMPLES, Curve
from mm_torch.gait_recording import Walk

_STRIDE = 100


def _walk(strides: float) -> Walk:
    """Stance is the first 60 % of a stride; the left leg is half a stride later."""
    time = np.arange(int(strides * _STRIDE))
    phase = np.stack([(time / _STRIDE) % 1, (time / _STRIDE + 0.5) % 1], axis=1)
    wave = np.cos(2 * np.pi * phase)
    quantities = {
        table: {name: wave for names, _ in columns.values() for name in names}
        for table, columns in COMPARED.items()
    }
    quantities["grf"] = quantities["grf"] | {"up": np.where(phase < 0.6, 100.0, 0.0)}
    quantities["emg"] = quantities["emg"] | {"glmed2": wave + 6.0, "soleus": 0.3 * (wave + 1)}
    return Walk(100.0, quantities, {name: 2 * wave for name in quantities["kinematics"]},
                np.stack([0 * time, -0.013 * time], axis=1))  # fmt: skip


def test_mean_cycles_of_both_legs() -> None:
    walk = _walk(3.5)
    assert walk.landings(0).tolist() == [100, 200, 300]
    assert walk.landings(1).tolist() == [50, 150, 250]
    assert walk.stance(0) == [0.6, 0.6]
    assert walk.speed() == pytest.approx(1.3)
    body = mean_cycles([walk, _walk(2.5)])
    share = np.linspace(0, 1, SAMPLES)
    wave = np.cos(2 * np.pi * share)
    np.testing.assert_allclose(body["kinematics"]["hip_flexion"].mean, wave, atol=1e-3)
    np.testing.assert_allclose(body["kinematics"]["knee_angle"].mean, -wave, atol=1e-3)
    np.testing.assert_allclose(body["motion"]["knee_angle"].mean, -2 * wave, atol=2e-3)
    np.testing.assert_allclose(body["emg"]["Gluteus-medius"].mean, wave + 2, atol=1e-3)
    assert body["kinematics"]["hip_flexion"].deviation.max() < 1e-3


def test_muscles_are_compared_as_shares_of_their_peaks() -> None:
    body = mean_cycles([_walk(3.5)])
    wave = (np.cos(2 * np.pi * np.linspace(0, 1, SAMPLES)) + 1) / 2
    human = {"emg": {"Soleus": Curve(0.02 * wave, np.full(SAMPLES, 0.002))}}
    ((table, column, ours, theirs),) = compared(body, human)
    assert (table, column) == ("emg", "Soleus")
    np.testing.assert_allclose(ours.mean, theirs.mean, atol=1e-3)
    np.testing.assert_allclose(theirs.deviation, 0.1)


def test_without_a_stride_there_is_nothing_to_compare() -> None:
    with pytest.raises(UserError, match="no whole stride"):
        mean_cycles([_walk(1.2)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "checkpoint= and human= are needed"),
        (["checkpoint=a.pt", "human=b"], "mass=0"),
        (["checkpoint=a.pt", "human=b", "mass=nan"], "mass=nan"),
        (["checkpoint=a.pt", "human=nowhere/b", "mass=60"], "no table there"),
    ],
)
def test_what_is_missing_is_said(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        main(arguments)


def test_strides_in_short() -> None:
    found = in_short([_walk(3.5), _walk(2.5)])
    assert found["strides"] == 2 + 2 + 1 + 1
    assert found["stride_time"] == pytest.approx(1.0) and found["stride_time_sd"] == 0.0
    assert found["stance"] == pytest.approx(0.6) and found["speed"] == pytest.approx(1.3)


def test_a_figure_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ends in .png or .svg"):
        check_figure("a.txt")
    body = mean_cycles([_walk(3.5)])
    pairs = compared(body, {"kinematics": body["kinematics"]})
    path = str(tmp_path / "a.svg")
    if importlib.util.find_spec("matplotlib") is None:
        with pytest.raises(UserError, match="matplotlib is missing"):
            check_figure(path)
    else:
        check_figure(path)
        draw(pairs, path)
        assert Path(path).stat().st_size > 1000
