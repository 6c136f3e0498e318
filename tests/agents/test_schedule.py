import pytest

from agents import constant_schedule, linear_schedule
from agents.schedule import adapted


@pytest.mark.parametrize(
    ("progress", "floor", "expected"),
    [(0.0, 0.1, 1.0), (0.5, 0.0, 0.5), (0.5, 0.2, 0.6), (1.0, 0.1, 0.1), (1.7, 0.1, 0.1)],
)
def test_linear(progress, floor, expected):
    assert linear_schedule(progress, floor) == pytest.approx(expected)


def test_constant():
    assert {constant_schedule(p, 0.1) for p in (0.0, 0.5, 1.0)} == {1.0}


@pytest.mark.parametrize(
    ("kl", "expected"),
    [
        (0.02, 0.4),  # as desired
        (0.039, 0.4),  # nearly twice
        (0.08, 0.2),  # four times the KL, half the rate
        (500.0, 0.1),  # at most a fourth at a time
        (0.005, 0.6),  # at most 1.5 times at a time
        (float("inf"), 0.1),
    ],
)
def test_adapted_by_hand(kl, expected):
    assert adapted(0.4, kl, 0.02) == pytest.approx(expected)


def test_adapted_stays_in_its_bounds():
    assert adapted(0.9, 0.0, 0.02) == 1.0
    assert adapted(0.02, 500.0, 0.02, floor=0.01) == 0.01
