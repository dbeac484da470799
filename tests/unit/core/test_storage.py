import hashlib
import os
from pathlib import Path

import pyarrow as pa
import pytest

from forgeline.core.errors import DataError
from forgeline.core.storage import (
    read_json,
    read_jsonl,
    read_table,
    sha256_path,
    sha256_text,
    write_csv,
    write_json,
    write_jsonl,
    write_table,
)

SCHEMA = pa.schema([("a", pa.string()), ("b", pa.int64())])


def test_json_bytes_depend_on_content_not_on_key_order(tmp_path: Path) -> None:
    write_json(tmp_path / "sub" / "x.json", {"b": 1.5, "a": {"ü": [True, None], "d": 2}})
    expected = '{\n  "a": {\n    "d": 2,\n    "ü": [\n      true,\n      null\n    ]\n  },\n  "b": 1.5\n}\n'
    assert (tmp_path / "sub" / "x.json").read_bytes() == expected.encode()
    assert read_json(tmp_path / "sub" / "x.json") == {"a": {"ü": [True, None], "d": 2}, "b": 1.5}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_json_is_refused_and_nothing_written(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"loss": value})
    assert not (tmp_path / "x.json").exists()
    with pytest.raises(ValueError, match="JSON"):
        write_jsonl(tmp_path / "x.jsonl", [{"loss": value}])


def test_json_lines_have_sorted_keys_and_stay_readable(tmp_path: Path) -> None:
    rows = [{"b": "é\n", "a": 1}, {}]
    write_jsonl(tmp_path / "x.jsonl", rows)
    assert (tmp_path / "x.jsonl").read_bytes() == '{"a": 1, "b": "é\\n"}\n{}\n'.encode()
    assert read_jsonl(tmp_path / "x.jsonl") == rows


def test_csv_keeps_the_first_rows_order_and_leaves_none_blank(tmp_path: Path) -> None:
    write_csv(tmp_path / "x.csv", [{"step": 0, "loss": None}, {"step": 1, "loss": 0.1}])
    assert (tmp_path / "x.csv").read_bytes() == b"step,loss\n0,\n1,0.1\n"


def test_csv_refuses_rows_with_other_keys(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="extra"):
        write_csv(tmp_path / "x.csv", [{"step": 0}, {"step": 1, "extra": 2}])


def test_table_bytes_depend_on_rows_not_on_chunks_or_metadata(tmp_path: Path) -> None:
    whole = pa.table({"a": ["x", "y", "z"], "b": [1, 2, 3]}, schema=SCHEMA)
    parts = pa.concat_tables([whole.slice(0, 1), whole.slice(1)]).replace_schema_metadata({"made": "by hand"})
    write_table(tmp_path / "one.parquet", whole)
    write_table(tmp_path / "two.parquet", parts)
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    assert read_table(tmp_path / "two.parquet", SCHEMA).equals(whole)


def test_missing_files_are_named_with_the_remedy(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    for read in (read_json, lambda path: read_table(path, SCHEMA), sha256_path):
        with pytest.raises(DataError) as caught:
            read(missing)
        assert str(caught.value) == f"{missing} does not exist: run `dvc repro` to make it"


@pytest.mark.parametrize("content", [b"", b'{"a": ', b"\xff\xfe"])
def test_damaged_json_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(content)
    with pytest.raises(DataError, match="is not valid JSON") as caught:
        read_json(file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("cut", [0, 4, 100, -1, -9])
def test_a_truncated_table_is_named(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "x.parquet"
    write_table(file, pa.table({"a": ["x"] * 50, "b": range(50)}, schema=SCHEMA))
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(DataError, match="is not a readable Parquet file") as caught:
        read_table(file, SCHEMA)
    assert str(file) in str(caught.value)


def test_a_table_with_damaged_content_is_named(tmp_path: Path) -> None:
    file = tmp_path / "x.parquet"
    write_table(file, pa.table({"a": [f"text {i}" for i in range(2000)], "b": range(2000)}, schema=SCHEMA))
    content = bytearray(file.read_bytes())
    content[100:300] = b"\x00" * 200
    file.write_bytes(bytes(content))
    with pytest.raises(DataError, match="is not a readable Parquet file"):
        read_table(file, SCHEMA)


@pytest.mark.parametrize(
    "columns",
    [{"a": ["x"]}, {"b": [1], "a": ["x"]}, {"a": ["x"], "b": [1], "c": [2]}],
)
def test_other_columns_are_refused(tmp_path: Path, columns: dict[str, list[object]]) -> None:
    write_table(tmp_path / "x.parquet", pa.table(columns))
    with pytest.raises(DataError, match=r"expected \['a', 'b'\]"):
        read_table(tmp_path / "x.parquet", SCHEMA)


def test_columns_of_another_type_are_refused(tmp_path: Path) -> None:
    write_table(tmp_path / "x.parquet", pa.table({"a": ["x"], "b": ["not a number"]}))
    with pytest.raises(DataError, match=r"x\.parquet has columns of other types"):
        read_table(tmp_path / "x.parquet", SCHEMA)
    write_table(tmp_path / "x.parquet", pa.table({"a": ["x"], "b": [[{"c": 1}]]}))
    with pytest.raises(DataError, match=r"x\.parquet has columns of other types"):
        read_table(tmp_path / "x.parquet", SCHEMA)


def test_hashes_are_plain_sha256(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes("é".encode())
    expected = hashlib.sha256(b"\xc3\xa9").hexdigest()
    assert sha256_text("é") == sha256_path(tmp_path / "x") == expected


class TestFolderHash:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "folder"
        (folder / "sub").mkdir(parents=True)
        (folder / "a").write_text("1")
        (folder / "sub" / "b").write_text("2")
        return folder

    def test_names_and_contents_count(self, folder: Path) -> None:
        before = sha256_path(folder)
        assert sha256_path(folder) == before
        (folder / "a").write_text("3")
        changed = sha256_path(folder)
        (folder / "a").rename(folder / "c")
        renamed = sha256_path(folder)
        (folder / "c").rename(folder / "sub" / "c")
        moved = sha256_path(folder)
        (folder / "sub" / "c").unlink()
        removed = sha256_path(folder)
        assert len({before, changed, renamed, moved, removed}) == 5

    def test_the_whole_relative_path_counts(self, folder: Path) -> None:
        before = sha256_path(folder)
        (folder / "sub").rename(folder / "tub")
        assert sha256_path(folder) != before

    def test_swapped_contents_count(self, folder: Path) -> None:
        before = sha256_path(folder)
        (folder / "a").write_text("2")
        (folder / "sub" / "b").write_text("1")
        assert sha256_path(folder) != before

    def test_compiled_python_times_and_place_do_not(self, folder: Path) -> None:
        before = sha256_path(folder)
        (folder / "sub" / "__pycache__").mkdir()
        (folder / "sub" / "__pycache__" / "b.pyc").write_bytes(b"x")
        os.utime(folder / "a", (1, 1))
        assert sha256_path(folder) == before
        assert sha256_path(folder.rename(folder.with_name("elsewhere"))) == before
