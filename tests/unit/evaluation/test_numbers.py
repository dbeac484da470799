"""Results that mean the same, and results that do not."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgeline.evaluation.numbers import number, same_result


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,000", Fraction(1000)),
        ("-1,234,567.5", Fraction(-2469135, 2)),
        ("1,00", None),  # a comma that parts no group of three
        ("$18", Fraction(18)),
        (r"\$ 18.50.", Fraction(37, 2)),
        (r"50\%", Fraction(50)),
        ("1/2", Fraction(1, 2)),
        (r"-\dfrac{3}{4}", Fraction(-3, 4)),
        (r"\frac{-3}{4}", Fraction(-3, 4)),
        ("1 1/2", Fraction(3, 2)),
        ("-1 1/2", Fraction(-3, 2)),
        ("1/0", None),
        (".5", Fraction(1, 2)),
        ("3e2", Fraction(300)),
        ("12 apples", None),
        ("", None),
        ("½", None),
    ],
)
def test_values(text: str, value: Fraction | None) -> None:
    assert number(text) == value


@given(st.integers(-(10**9), 10**9))
def test_groups_change_nothing(value: int) -> None:
    assert number(f"{value:,}") == number(str(value)) == value


@pytest.mark.parametrize(
    ("answer", "reference", "tolerance", "same"),
    [
        ("1000", "1,000", 0.0, True),
        ("0.5", r"\frac{1}{2}", 0.0, True),
        ("0.3333", "1/3", 0.0, False),
        ("0.3333", "1/3", 0.001, True),
        ("99", "100", 0.01, True),
        ("98.9", "100", 0.01, False),
        ("0.001", "0", 0.5, False),
        (r"\left( x, y \right)", "(x,y)", 0.0, True),
        ("x", "y", 0.5, False),
        ("10", "1", 0.0, False),
    ],
)
def test_results(answer: str, reference: str, tolerance: float, same: bool) -> None:
    assert same_result(answer, reference, tolerance) is same
