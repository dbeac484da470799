"""SQuAD's judgement, by hand and by what has to hold of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgeline.evaluation.squad import exact_match, normalized, token_f1

WORDS = st.lists(st.sampled_from(["the", "An", "cat", "Cat,", "sat", "3.5", "—", "'s", "\t"]), max_size=6).map(" ".join)


@given(WORDS, st.lists(WORDS, max_size=3))
def test_what_has_to_hold(answer: str, references: list[str]) -> None:
    assert normalized(normalized(answer)) == normalized(answer)
    f1 = token_f1(answer, references)
    assert 0.0 <= f1 <= 1.0
    assert not exact_match(answer, references) or f1 == 1.0
    assert all(token_f1(answer, [other]) == token_f1(other, [answer]) for other in references)
    assert exact_match(f"The {answer}!", [answer])


@pytest.mark.parametrize(
    ("answer", "references", "exact", "f1"),
    [
        ("The Eiffel Tower!", ["eiffel tower"], True, 1.0),
        ("in the Eiffel Tower", ["Eiffel Tower"], False, 0.8),  # 2 of 3 words, 2 of 2: 2 * 2 / 5
        ("blue", ["red", "blue green"], False, 2 / 3),
        ("", [], True, 1.0),  # the text does not say, and neither does the model
        ("Paris", [], False, 0.0),
        ("", ["Paris"], False, 0.0),
        ("anything", ["the"], False, 0.0),  # a reference of articles alone is no answer
    ],
)
def test_by_hand(answer: str, references: list[str], exact: bool, f1: float) -> None:
    assert exact_match(answer, references) is exact
    assert token_f1(answer, references) == pytest.approx(f1)
