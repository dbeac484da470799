from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgeline.core.errors import DataError
from forgeline.sources.fetch_rows import RowBudget, RowShards, text_bytes_of_rows

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.large_string()), ("tokens", pa.int32())]))
SCHEMA = pa.schema([("text", pa.string()), ("score", pa.float64()), ("messages", MESSAGES), ("image", pa.binary())])

text = st.none() | st.text(max_size=8)
message = st.none() | st.fixed_dictionaries({"role": text, "content": text, "tokens": st.none() | st.just(7)})
row = st.fixed_dictionaries(
    {
        "text": text,
        "score": st.just(0.5),
        "messages": st.none() | st.lists(message, max_size=3),
        "image": st.just(b"ab"),
    }
)


def text_in(value: Any) -> int:
    """The naive twin: UTF-8 bytes of every text in a value."""
    match value:
        case str():
            return len(value.encode())
        case dict():
            return sum(map(text_in, value.values()))
        case list():
            return sum(map(text_in, value))
    return 0


@given(rows=st.lists(row, max_size=12), start=st.integers(0, 3))
def test_text_is_counted_however_deep(rows: list[dict[str, Any]], start: int) -> None:
    table = pa.Table.from_pylist(rows, schema=SCHEMA).slice(start)
    assert text_bytes_of_rows(table).tolist() == [text_in(row) for row in rows[start:]]


def taken(sizes: list[int], batch: int, max_rows: int | None, max_bytes: int | None) -> list[int]:
    """The sizes that a budget takes when they come in batches."""
    budget, found = RowBudget(max_rows, max_bytes), []
    for start in range(0, len(sizes), batch):
        part = np.array(sizes[start : start + batch], dtype=np.int64)
        found += part[: budget.take(part)].tolist()
        if budget.is_spent:
            break
    return found


@given(
    sizes=st.lists(st.integers(0, 9), max_size=20),
    batch=st.integers(1, 7),
    max_rows=st.none() | st.integers(1, 25),
    max_bytes=st.none() | st.integers(1, 60),
)
def test_a_budget_takes_the_first_rows_up_to_the_one_that_reaches_it(
    sizes: list[int], batch: int, max_rows: int | None, max_bytes: int | None
) -> None:
    expected: list[int] = []
    for size in sizes:
        if len(expected) == max_rows or (max_bytes is not None and sum(expected) >= max_bytes):
            break
        expected.append(size)
    assert taken(sizes, batch, max_rows, max_bytes) == expected


def written(folder: Path, table: pa.Table, batch: int, max_bytes: int = 10, max_rows: int = 4) -> dict[str, bytes]:
    shards = RowShards(folder, max_bytes, max_rows)
    for start in range(0, table.num_rows, batch):
        part = table.slice(start, batch)
        shards.write(part, text_bytes_of_rows(part))
    shards.flush()
    assert shards.num_rows == table.num_rows
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_shards_are_cut_by_content_and_not_by_batches(tmp_path: Path) -> None:
    texts = ["aaaa", "bbbb", "cc", "d", "e", "f", "g", "hhhhhhhhhhhhhhhhhhhh", "i", None, "k"]
    table = pa.table({"text": texts, "number": list(range(len(texts)))})
    whole = written(tmp_path / "whole", table, len(texts))
    assert list(whole) == ["00000.parquet", "00001.parquet", "00002.parquet", "00003.parquet"]
    found = [pq.read_table(tmp_path / "whole" / name)["text"].to_pylist() for name in whole]
    assert found == [["aaaa", "bbbb", "cc"], ["d", "e", "f", "g"], ["hhhhhhhhhhhhhhhhhhhh"], ["i", None, "k"]]
    for batch in (1, 2, 3, 5):
        assert written(tmp_path / str(batch), table, batch) == whole


@pytest.mark.parametrize(
    "second", [pa.table({"text": [{"a": 1}]}), pa.table({"text": ["x"], "more": [1]}), pa.table({"other": ["x"]})]
)
def test_rows_of_another_form_are_refused(tmp_path: Path, second: pa.Table) -> None:
    shards = RowShards(tmp_path / "out", 100, 100)
    shards.write(pa.table({"text": ["a", "b"]}), np.array([1, 1]))
    with pytest.raises(DataError, match="rows from 3 on have other columns, or columns of other types"):
        shards.write(second, np.array([1]))


def test_narrower_types_take_the_form_of_the_first_rows(tmp_path: Path) -> None:
    shards = RowShards(tmp_path / "out", 100, 100)
    shards.write(pa.table({"n": pa.array([1, 2], pa.int64())}), np.array([0, 0]))
    shards.write(pa.table({"n": pa.array([None], pa.null())}), np.array([0]))
    shards.flush()
    assert pq.read_table(tmp_path / "out")["n"].to_pylist() == [1, 2, None]
