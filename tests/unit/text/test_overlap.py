import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgeline.text import overlap
from forgeline.text.overlap import RunSearch, pieces


def column(texts: list[str]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(texts, pa.string())])


def runs(text: str, size: int) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[start : start + size]) for start in range(len(words) - size + 1)}


def naive(text: str, documents: list[str], size: int) -> bool:
    """By sets of tuples: the whole of a text that is shorter, but not of one below half."""
    length = len(re.findall(r"\w+", text))
    if length < (size + 1) // 2:
        return False
    return any(runs(text, min(length, size)) & runs(document, min(length, size)) for document in documents)


texts = st.lists(st.lists(st.sampled_from(["a", "b", "c", "d", "E"]), max_size=9).map(" ".join), max_size=6)


@settings(max_examples=150, deadline=None)
@given(texts, texts, st.integers(1, 6))
def test_equals_sets_of_tuples(wanted: list[str], documents: list[str], size: int) -> None:
    search = RunSearch(wanted, size)
    expected = [naive(text, documents, size) for text in wanted]
    assert search.found_in([column(documents)]).tolist() == expected
    one_by_one = [column([document]) for document in documents]
    assert search.found_in(one_by_one).tolist() == expected


def test_runs_do_not_cross_texts() -> None:
    search = RunSearch(["one two three four"], 4)
    assert not search.found_in([column(["one two", "three four"])]).any()
    assert search.found_in([column(["zero", "One, two: THREE four five"])]).all()


def test_short_texts_are_named() -> None:
    search = RunSearch(["yes", "one two three", ""], 6)
    assert search.long_enough.tolist() == [False, True, False]
    assert not search.found_in([column(["yes"])]).any()


def test_two_texts_with_one_run_are_both_found() -> None:
    search = RunSearch(["a b c d x", "a b c d y", "q r s t"], 4)
    assert search.found_in([column(["z a b c d z"])]).tolist() == [True, True, False]


def test_documents_come_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "_TEXTS_AT_ONCE", 2)
    assert [len(piece) for piece in pieces(column(["a", "b", "c", "d", "e"]))] == [2, 2, 1]
    assert np.array_equal(RunSearch(["b", "e"], 1).found_in(pieces(column(["a", "b", "c"]))), [True, False])
