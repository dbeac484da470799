from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgeline.text.buffers import as_buffers, from_buffers, one_array, replaced

TEXTS = st.lists(st.text(max_size=12), max_size=8)


@given(TEXTS, st.integers(0, 3), st.sampled_from([pa.string(), pa.large_string()]))
def test_there_and_back(texts: list[str], skipped: int, kind: pa.DataType) -> None:
    array = pa.array(texts, kind).slice(skipped)
    content, starts = as_buffers(array)
    assert [bytes(content[a:b]).decode() for a, b in pairwise(starts)] == texts[skipped:]
    back = from_buffers(content, starts)
    back.validate(full=True)
    assert back.to_pylist() == texts[skipped:]


@given(TEXTS, st.dictionaries(st.integers(0, 7), st.text(max_size=20)))
def test_some_texts_are_replaced(texts: list[str], changes: dict[int, str]) -> None:
    changes = {place: text for place, text in changes.items() if place < len(texts)}
    result = replaced(pa.array(texts, pa.string()), changes)
    result.validate(full=True)
    assert result.to_pylist() == [changes.get(place, text) for place, text in enumerate(texts)]


def test_a_column_of_any_number_of_chunks_becomes_one_array() -> None:
    for chunks in ([], [["a"]], [["a"], [], ["b", "c"]]):
        column = pa.chunked_array([pa.array(chunk, pa.string()) for chunk in chunks], pa.string())
        assert one_array(column).to_pylist() == [text for chunk in chunks for text in chunk]


def test_more_than_an_array_can_hold_is_refused() -> None:
    _, starts = as_buffers(pa.array(["a"]))
    starts[-1] = 2**31
    with pytest.raises(pa.ArrowInvalid, match="make the shards smaller"):
        from_buffers(as_buffers(pa.array(["a"]))[0], starts)
