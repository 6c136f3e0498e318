"""Gait cycles by hand: where feet land, strides resampled, curves compared, tables read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cfg import UserError
from mm_torch.gait_cycle import (
    COMPARED,
    SAMPLES,
    Curve,
    agreement,
    curve_of,
    cycles,
    landings,
    read_human,
)


def _curve(mean: np.ndarray, deviation: float = 0.0) -> Curve:
    return Curve(mean, np.full(SAMPLES, deviation))


def test_a_foot_lands_once_however_it_bounces() -> None:
    # 0.2 s off, lands at 20, leaves the ground for 0.05 s, lands again at 65 after 0.2 s.
    vertical = np.concatenate([np.zeros(20), np.full(10, 80.0), np.full(5, 4.9), np.full(10, 80.0),
                               np.zeros(20), np.full(10, 6.0)])  # fmt: skip
    assert landings(vertical, 100.0).tolist() == [20, 65]


def test_a_foot_that_stands_at_the_start_has_not_landed() -> None:
    vertical = np.concatenate([np.full(10, 80.0), np.zeros(30), np.full(10, 80.0)])
    assert landings(vertical, 100.0).tolist() == [40]


def test_strides_run_from_landing_to_landing() -> None:
    values = np.arange(50.0)
    strides = cycles(values, np.array([5, 15, 35]))
    assert strides.shape == (2, SAMPLES)
    np.testing.assert_allclose(strides[0], np.linspace(5, 15, SAMPLES))
    np.testing.assert_allclose(strides[1], np.linspace(15, 35, SAMPLES))
    assert cycles(values, np.array([5])).shape == (0, SAMPLES)


def test_mean_and_deviation_are_over_strides() -> None:
    curve = curve_of([np.full((1, SAMPLES), 1.0), np.full((1, SAMPLES), 5.0)])
    assert (curve.mean == 3.0).all() and (curve.deviation == 2.0).all()


def test_agreement_by_hand() -> None:
    wave = np.sin(2 * np.pi * np.arange(SAMPLES) / SAMPLES)
    same = agreement(_curve(3 * wave + 2), _curve(wave, 0.5))
    assert same.r == pytest.approx(1.0)
    # Off by 2 + 2 sin: mean square 4 + 4 / 2.
    assert same.error == pytest.approx(np.sqrt(6.0))
    assert same.human == pytest.approx(0.5)
    quarter = agreement(_curve(np.roll(wave, SAMPLES // 4)), _curve(wave))
    assert quarter.r == pytest.approx(0.0, abs=1e-12)
    assert agreement(_curve(-wave), _curve(wave)).r == pytest.approx(-1.0)
    assert np.isnan(agreement(_curve(np.ones(SAMPLES)), _curve(wave)).r)


def test_shares_of_the_peak() -> None:
    curve = Curve(np.linspace(0, 4, SAMPLES), np.full(SAMPLES, 1.0)).of_peak()
    assert curve.mean.max() == 1.0 and (curve.deviation == 0.25).all()
    assert not Curve(np.zeros(SAMPLES), np.ones(SAMPLES)).of_peak().mean.any()


def _write(path: Path, *, share: np.ndarray, knee: np.ndarray) -> None:
    lines = ["pct_gait_cycle,knee_angle,other,knee_angle_sd"]
    lines += [f"{s},{k},1,0.5" for s, k in zip(share, knee, strict=True)]
    path.write_text("\n".join(lines) + "\n")


def test_tables_are_read_and_moments_are_per_mass(tmp_path: Path) -> None:
    share = np.linspace(0, 100, 21)
    for table in ("kinematics", "joint_torques"):
        _write(tmp_path / f"a_{table}.csv", share=share, knee=share)
    tables = read_human(f"{tmp_path}/a", mass=50.0)
    assert set(tables) == {"kinematics", "joint_torques"}
    knee = tables["kinematics"]["knee_angle"]
    np.testing.assert_allclose(knee.mean, np.linspace(0, 100, SAMPLES))
    np.testing.assert_allclose(knee.deviation, 0.5)
    np.testing.assert_allclose(tables["joint_torques"]["knee_angle"].mean, knee.mean / 50)
    np.testing.assert_allclose(tables["joint_torques"]["knee_angle"].deviation, 0.01)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no table there"),
        ("", "not a table of gait cycles"),
        ("a,b\n1,2\n", "not a table of gait cycles"),
        ("pct_gait_cycle,knee_angle\n0,1\n100,1\n", "not a table of gait cycles"),
        ("pct_gait_cycle,knee_angle,knee_angle_sd\n0,x,1\n", "not a table of gait cycles"),
        ("pct_gait_cycle,elbow,elbow_sd\n0,1,1\n100,1,1\n", "none of its columns is compared"),
        ("pct_gait_cycle,knee_angle,knee_angle_sd\n0,1,1\n90,1,1\n", "rise from 0 to 100"),
        ("pct_gait_cycle,knee_angle,knee_angle_sd\n0,1,1\n100,nan,1\n", "not finite"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "a_kinematics.csv").write_text(content)
    with pytest.raises(UserError, match=message):
        read_human(f"{tmp_path}/a", mass=60.0)


def test_measured_tables_have_everything_that_is_compared(shared: Path) -> None:
    prefix = shared / "data" / "gait" / "falisse2019"
    if not prefix.parent.is_dir():
        pytest.skip(f"no measured gait in {prefix.parent}")
    tables = read_human(str(prefix), mass=62.0)
    assert {name: set(table) for name, table in tables.items()} == {
        name: set(columns) - {"Gluteus-medius"} for name, columns in COMPARED.items()
    }
    # The knee flexes once a little and once a lot, the force has two peaks near body weight.
    knee, vertical = tables["kinematics"]["knee_angle"].mean, tables["grf"]["Vertical"].mean
    assert 60 < -knee.min() < 70 and 65 < knee.argmin() < 80
    assert 95 < vertical[:30].max() < 110 and 95 < vertical[35:].max() < 110
