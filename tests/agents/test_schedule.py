import pytest

from agents import constant_schedule, linear_schedule


@pytest.mark.parametrize(
    ("progress", "floor", "expected"),
    [(0.0, 0.1, 1.0), (0.5, 0.0, 0.5), (0.5, 0.2, 0.6), (1.0, 0.1, 0.1), (1.7, 0.1, 0.1)],
)
def test_linear(progress, floor, expected):
    assert linear_schedule(progress, floor) == pytest.approx(expected)


def test_constant():
    assert {constant_schedule(p, 0.1) for p in (0.0, 0.5, 1.0)} == {1.0}
