from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.text.plain_twins import shares

from forgeline.text.decontaminate import RunIndex, find_runs, find_sharing, index_runs
from forgeline.text.shingles import hash_units


def column(texts: list[str]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(texts, pa.string())])


def test_contamination_is_a_shared_run_of_words() -> None:
    asked = [("what is the colour of it", "first"), ("short", "second"), ("a wrong one that is long", "second")]
    texts = [
        "He asked: what is THE colour of\nthings?",
        "what is the red colour",
        "... a wrong, one; that is ...",
        "short",
    ]
    assert find_sharing(column(texts), asked, 5) == {0: "first", 2: "second"}
    assert find_sharing(column(["red, blue and"]), [("Red blue and", "x")], 5), "3 of 5 words, as a whole"
    assert not find_sharing(column(["red, blue"]), [("Red blue", "x")], 5), "2 of 5 words are too few"
    assert find_sharing(column(texts), [], 5) == {}
    assert find_sharing(column([]), asked, 5) == {}


def test_chinese_is_found_by_runs_of_characters() -> None:
    asked = [("糖尿病的典型症状是什么。", "question")]
    texts = ["众所周知、糖尿病的典型症状包括多饮、多尿。", "高血压的典型症状是头痛。"]
    assert find_sharing(column(texts), asked, 8) == {0: "question"}


def test_the_first_run_of_a_document_decides_and_the_first_text_that_holds_it() -> None:
    asked = [("x y z", "later"), ("a b c", "first"), ("a b c d", "second")]
    assert find_sharing(column(["a b c d x y z", "x y z a b c"]), asked, 3) == {0: "first", 1: "later"}


WORDS = st.lists(st.sampled_from(["a", "b", "A.", "中", "cc"]), max_size=14).map(" ".join)


@settings(max_examples=400, deadline=None)
@given(st.lists(WORDS, max_size=8), st.lists(WORDS, max_size=5), st.integers(1, 6))
def test_contamination_agrees_with_a_plain_search(texts: list[str], asked: list[str], size: int) -> None:
    found = find_sharing(column(texts), [(other, str(place)) for place, other in enumerate(asked)], size)
    expected = [place for place, text in enumerate(texts) if any(shares(text, other, size) for other in asked)]
    assert list(found) == expected
    assert all(shares(texts[place], asked[int(other)], size) for place, other in found.items())


def test_many_runs_are_all_found_again_and_no_others(tmp_path: Path) -> None:
    """Enough of them for collisions in the table and in the bit field, also read back from files."""
    rng = np.random.default_rng(5)
    asked = [" ".join(f"w{number}" for number in rng.integers(0, 1000, rng.integers(5, 60))) for _ in range(3000)]
    others = [" ".join(f"w{number}" for number in rng.integers(0, 1000, 60)) for _ in range(3000)]
    index = index_runs(asked, 9)
    index.save(tmp_path / "index")
    for same in (index, RunIndex.load(tmp_path / "index")):
        assert (find_runs(hash_units(column([f"before {text} after" for text in asked]), "words"), same) >= 0).all()
        found = find_runs(hash_units(column(others), "words"), same)
        expected = {place for place in np.flatnonzero(found >= 0) if shares(others[place], asked[found[place]], 9)}
        assert set(np.flatnonzero(found >= 0)) == expected
