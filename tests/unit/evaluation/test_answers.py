import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgeline.evaluation.answers import boxed_answer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"It is \boxed{Nervous system}.", "Nervous system"),
        (r"\boxed{ spaced }", "spaced"),
        (r"first \boxed{a}, then \boxed{b}", "b"),
        (r"\boxed{x_{1} + {y}}", "x_{1} + {y}"),
        (r"\boxed{}", ""),
        (r"\boxed{open", None),
        (r"\boxed{a} and \boxed{open", None),
        (r"\boxed{a {b}", None),
        ("boxed{a}", None),
        ("", None),
    ],
)
def test_last_closed_box(text, expected):
    assert boxed_answer(text) == expected


@given(st.text(alphabet="ab {}\\", max_size=20), st.text(alphabet="abc ", max_size=10))
def test_a_box_after_anything_is_read_back(before, answer):
    assert boxed_answer(before + r"\boxed{" + answer + "}") == answer.strip()
