"""Folders of shards: rows in order, cut by bytes, whatever the pieces they were written in."""

from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgeline.core.errors import DataError
from forgeline.core.records import DOCUMENTS, documents_table, read_documents, write_documents
from forgeline.core.shards import ShardWriter, iter_shards, shard_path, shard_paths

TEXT = pa.schema([("text", pa.string())])


def written(folder: Path, texts: list[str], piece: int, max_bytes: int) -> list[list[str]]:
    with ShardWriter(folder, TEXT, max_bytes) as writer:
        for start in range(0, len(texts), piece):
            writer.write(pa.table({"text": texts[start : start + piece]}, schema=TEXT))
    return [table["text"].to_pylist() for table in iter_shards(folder, TEXT)]


def test_a_shard_ends_with_the_row_that_reaches_the_limit(tmp_path: Path) -> None:
    assert written(tmp_path / "x", ["aa", "bb", "é", "dddddddd", "e"], 5, 4) == [["aa", "bb"], ["é", "dddddddd"], ["e"]]


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(st.text(max_size=20)), piece=st.integers(1, 9), max_bytes=st.integers(1, 60))
def test_the_pieces_in_which_rows_arrive_do_not_matter(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], piece: int, max_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    at_once = written(folder / "at_once", texts, max(len(texts), 1), max_bytes)
    assert written(folder / "pieces", texts, piece, max_bytes) == at_once
    assert list(chain.from_iterable(at_once)) == texts
    sizes = [sum(len(text.encode()) for text in shard) for shard in at_once]
    assert all(size >= max_bytes for size in sizes[:-1])
    assert all(sum(len(text.encode()) for text in shard[:-1]) < max_bytes for shard in at_once)


def test_no_rows_make_one_shard_that_tells_the_columns(tmp_path: Path) -> None:
    assert written(tmp_path / "x", [], 1, 10) == [[]]
    assert pq.read_schema(shard_path(tmp_path / "x", 0)).names == ["text"]


def test_an_error_leaves_no_last_shard(tmp_path: Path) -> None:
    def fail() -> None:
        with ShardWriter(tmp_path, TEXT, 100) as writer:
            writer.write(pa.table({"text": ["a"]}, schema=TEXT))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not list(tmp_path.iterdir())


def test_shards_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (100_000, 2, 99_999, 10):
        pq.write_table(pa.table({"text": [str(number)]}, schema=TEXT), shard_path(tmp_path, number))
    assert [table["text"][0].as_py() for table in iter_shards(tmp_path, TEXT)] == ["2", "10", "99999", "100000"]


def test_plain_pyarrow_reads_a_folder_of_documents(tmp_path: Path) -> None:
    documents = documents_table(["one", "two"], "toy")
    write_documents(tmp_path / "documents.parquet", documents)
    assert pq.read_table(tmp_path / "documents.parquet").cast(DOCUMENTS) == documents
    assert read_documents(tmp_path / "documents.parquet") == documents


def test_nothing_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.parquet does not exist or holds no shard: run `dvc repro`"):
        shard_paths(tmp_path / "gone.parquet")
