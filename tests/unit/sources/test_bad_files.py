"""What is wrong with a file is said with its name, the line or row, and what to do."""

import gzip
import json
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.unit.sources.source_params import reading, source_params
from tests.unit.sources.test_formats import zstd

from forgeline.core.errors import DataError
from forgeline.sources.files import jsonl_objects
from forgeline.sources.find_files import find_files
from forgeline.sources.formats import unpacked
from forgeline.sources.formats.limits import Reading
from forgeline.sources.read_texts import FilePart, check_format, read_texts


def texts_of(path: Path, rules: Reading | None = None, **changed: object) -> list[str]:
    (file,) = find_files(path, None)
    batches = read_texts(FilePart(file), source_params(**changed), rules or reading())
    return [text for batch in batches for text in batch.values]


@pytest.fixture(params=[3, 1 << 20])
def block_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Messages do not depend on how the bytes fall into blocks."""
    monkeypatch.setattr(unpacked, "BLOCK_BYTES", request.param)
    size: int = request.param
    return size


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b'{"text": "a"}\n{"text": "\xff"}\n',
            r"a\.jsonl:2: not UTF-8 \(byte 24 of the file\): save the file as UTF-8",
        ),
        (b'\xef\xbb\xbf{"text": "a"}\n\n{"text": "\xff"}', r"a\.jsonl:3: not UTF-8 \(byte 28 of the file\)"),
        (b'{"text": "a"}\n{"text": \n', r"a\.jsonl:2: not valid JSON \(Expecting value, column 10\)"),
        (
            b'{"text": "a"}\n\n \r\n{"text": "b"} x\n',
            r"a\.jsonl:4: not valid JSON \(Extra data, column 15\): correct it",
        ),
        (
            b'{"text": "a"}\n{"text": "a\tb"}\n',
            r"a\.jsonl:2: not valid JSON \(Invalid control character at, column 12\)",
        ),
        (b'{"text": "a"}\n\n[1]\n', r"a\.jsonl:3: holds a list, expected an object"),
        (b'{"text": "a"}\n{"body": "b", "id": 1}\n', r"a\.jsonl:2: no field 'text' \(its fields: body, id\)"),
        (b'{"text": 3}\n', r"a\.jsonl:1: field 'text' holds a whole number, expected text"),
        (b'{"text": null}\n', r"a\.jsonl:1: field 'text' holds nothing \(null\), expected text"),
        (b'{"text": "\\ud800"}\n', r"a\.jsonl:1: holds half of a surrogate pair"),
        (b'{"text": "a", "b": {"\\udc00": 1}}\n', r"a\.jsonl:1: holds half of a surrogate pair"),
        (
            b'{"text": "a"}\n{"text": "b\0"}\n',
            r"a\.jsonl:2: holds a NUL \(byte 25 of the file\): remove it, or set enc",
        ),
        (b'{"text": "a"}\n{"text": "b\\u0000"}\n', r"a\.jsonl:2: holds a NUL character: remove it, or set encoding"),
        (b'{"text": "a"}\n' + b"[" * 100_000, r"a\.jsonl:2: cannot be read \(maximum recursion depth"),
        (b'{"text": ' + b"9" * 5000 + b"}", r"a\.jsonl:1: (cannot be read|field 'text' holds a number)"),
    ],
)
def test_json_lines(tmp_path: Path, block_bytes: int, content: bytes, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        texts_of(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[{"text": "a"},\n {"text": "b"}\n {"text": "c"}]', r"a\.json:3: found '\{.* where ',' or '\]' was expected"),
        (b'[{"text": "a"},\n ]', r"a\.json:2: found '\]' where '\{' was expected"),
        (b'[{"text": "a"}]\n]', r"a\.json:2: found '\]' where nothing more was expected"),
        (b"[1, 2]", r"a\.json:1: found '1.* where '\{' or '\]' was expected: a JSON file holds an array of objects"),
        (b'"text"', r"a\.json:1: found '\"te.*' where '\[' or '\{' was expected"),
        (b'{"text": "a"},\n{"text": "b"}', r"a\.json:1: found ',.* where '\{' was expected"),
        (b'[{"text": "a"},\n{"text": "b"', r"a\.json:2: the file ends inside an object"),
        (b'[{"text": "a"},\n{"text": "b', r"a\.json:2: the file ends inside an object"),
        (b'[{"text": "a"}\n', r"a\.json:\d: the file ends inside the array"),
        (b'[{"text": "a"},\n{"text":\n oops}]', r"a\.json:3: not valid JSON \(Expecting value, column 2\)"),
        (b'[{"text": "a"},\n{"text": "b"]}', r"a\.json:2: not valid JSON"),
        (b'[{"text": "a"},\n{"text": "b\xff"}]', r"a\.json:2: not UTF-8 \(byte 27 of the file\)"),
        (b'[{"text": "a"},\n\n{"body": "b"}]', r"a\.json:3: no field 'text' \(its fields: body\)"),
    ],
)
def test_json(tmp_path: Path, block_bytes: int, content: bytes, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        texts_of(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id,text\n1,a\n2,b,c\n", r"a\.csv:3: the row has 3 cells, the header 2: correct the row"),
        (b'id,text\n1,"a\nb"\n2\n', r"a\.csv:4: the row has 1 cells, the header 2"),
        (b'id,text\n1,"a"b\n', r"a\.csv:2: no row of cells \(.*\): correct the quotes of the row that begins here"),
        (b'id,text\n1,a\n2,"b\n3,c\n', r"a\.csv:3: no row of cells \(unexpected end of data\)"),
        (b"id;text\n1;a\n", r"a\.csv:2: no field 'text' \(its fields: id;text\)"),
        (b"text,text\na,b\n", r"a\.csv:1: two columns are called 'text': rename one"),
        (b"text\na\n\nb\xff\n", r"a\.csv:4: not UTF-8 \(byte 9 of the file\)"),
        (b"text\na\0\n", r"a\.csv:2: holds a NUL \(byte 6 of the file\)"),
    ],
)
def test_cells(tmp_path: Path, block_bytes: int, content: bytes, message: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        texts_of(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"ok\nok\n\xc3", r"a\.txt:3: not UTF-8 \(byte 6 of the file\): save the file as UTF-8, or set encoding of"),
        ("naïve".encode("latin-1"), r"a\.txt:1: not UTF-8 \(byte 2 of the file\)"),
        (b"ok\nnot\0ok\n", r"a\.txt:2: holds a NUL \(byte 6 of the file\): remove it, or set encoding of the source"),
    ],
)
@pytest.mark.parametrize("documents", ["file", "blank_lines", "lines"])
def test_text(tmp_path: Path, block_bytes: int, documents: str, content: bytes, message: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        texts_of(path, documents=documents)


class TestParquet:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("body", r"a\.parquet: no column 'body' \(its columns: id, text, meta, odd\): correct `text`"),
            ("{text} {meta.y}", r"a\.parquet: no column 'meta\.y'"),
            ("id", r"a\.parquet, row 1: field 'id' holds a whole number"),
            ("meta", r"a\.parquet, row 1: field 'meta' holds an object"),
            ("odd", r"a\.parquet, row 2: field 'odd' holds nothing \(null\)"),
        ],
    )
    def test_a_column_without_text(self, tmp_path: Path, text: str, message: str) -> None:
        table = pa.table({"id": [1, 2], "text": ["a", "b"], "meta": [{"x": "a"}, {"x": "b"}], "odd": ["a", None]})
        pq.write_table(table, tmp_path / "a.parquet")
        with pytest.raises(DataError, match=message):
            texts_of(tmp_path / "a.parquet", text=text)

    def test_invalid_unicode_is_named_by_row(self, tmp_path: Path) -> None:
        texts = [*["fine"] * 4999, b"caf\xe9"]
        bad = pa.Array.from_buffers(pa.string(), 5000, pa.array(texts, pa.binary()).buffers())
        pq.write_table(pa.table({"text": bad}), tmp_path / "a.parquet")
        with pytest.raises(DataError, match=r"a\.parquet, row 5000: not UTF-8: correct it, or set encoding"):
            texts_of(tmp_path / "a.parquet")

    @pytest.mark.parametrize("damage", ["text", "half", "head", "middle", "empty"])
    def test_damage(self, tmp_path: Path, damage: str) -> None:
        path = tmp_path / "a.parquet"
        pq.write_table(pa.table({"text": [f"some text {number}" for number in range(5000)]}), path)
        whole = path.read_bytes()
        path.write_bytes(
            {
                "text": b"this is no table\n" * 10,
                "half": whole[: len(whole) // 2],
                "head": whole[: len(whole) // 2] + whole[-8:],
                "middle": whole[:200] + b"\xff" * 2000 + whole[2200:],
                "empty": b"",
            }[damage]
        )
        with pytest.raises(DataError, match=r"a\.parquet is not a readable Parquet file \(.*\): fetch or write it"):
            texts_of(path)


class TestPacked:
    @pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip.compress), (".zst", zstd)])
    @pytest.mark.parametrize("damage", ["cut", "other", "tail"])
    def test_damage(self, tmp_path: Path, ending: str, pack, damage: str) -> None:  # type: ignore[no-untyped-def]
        path = tmp_path / f"a.jsonl{ending}"
        whole = pack(b"".join(b'{"text": "%d"}\n' % (number * 7919) for number in range(20_000)))
        path.write_bytes(
            {
                "cut": whole[:-20],
                "other": b'{"text": "not packed"}\n',
                "tail": whole + b"more",
            }[damage]
        )
        with pytest.raises(DataError, match=rf"a\.jsonl{ending} is damaged or not complete \(.*\): fetch or pack it"):
            texts_of(path)

    def test_the_check_sum_is_looked_at(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl.gz"
        path.write_bytes(gzip.compress(b'{"text": "One."}\n')[:-8] + b"\0" * 8)
        with pytest.raises(DataError, match=r"a\.jsonl\.gz is damaged or not complete \(.*check\)"):
            texts_of(path)

    def test_an_archive_that_unpacks_without_end_is_stopped(self, tmp_path: Path) -> None:
        member = gzip.compress(b'{"text": "' + b"a" * 997_000 + b'"}\n')
        path = tmp_path / "bomb.jsonl.gz"
        path.write_bytes(member * 1000)  # a gigabyte in a megabyte
        rules = reading(max_source_bytes=20_000_000)
        with pytest.raises(
            DataError, match=r"bomb\.jsonl\.gz: .*unpacks to more than ingest\.max_source_gigabytes \(0\.02\)"
        ):
            texts_of(path, rules)
        assert rules.num_bytes < 22_000_000

    @pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "txt"])
    def test_one_that_unpacks_to_a_single_line_is_stopped_by_the_length_of_a_document(
        self, tmp_path: Path, ending: str
    ) -> None:
        start = {"jsonl": b'{"text": "', "json": b'[{"text": "', "csv": b'text\n"', "txt": b""}[ending]
        path = tmp_path / f"bomb.{ending}.gz"
        path.write_bytes(gzip.compress(start) + gzip.compress(b"a" * 10_000_000, 1) * 20)
        how = {"documents": "file"} if ending == "txt" else {}
        assert (
            peak_megabytes(
                lambda: refused(path, r"bomb\..*:\d: longer than ingest\.max_document_megabytes \(1\)", **how)
            )
            < 12
        )


def peak_megabytes(work) -> float:  # type: ignore[no-untyped-def]
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def refused(path: Path, message: str, **changed: object) -> None:
    with pytest.raises(DataError, match=message):
        texts_of(path, **changed)


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "txt"])
def test_a_line_of_200_megabytes_is_refused_without_being_read(tmp_path: Path, ending: str) -> None:
    start = {"jsonl": b'{"text": "', "json": b'[{"text": "', "csv": b'text\n"', "txt": b""}[ending]
    path = tmp_path / f"a.{ending}"
    with path.open("wb") as file:
        file.write(start)
        for _ in range(200):
            file.write(b"a" * 1_000_000)
    how = {"documents": "lines"} if ending == "txt" else {}
    line = 2 if ending == "csv" else 1
    message = rf"a\.{ending}:{line}: longer than ingest\.max_document_megabytes \(1\): raise it, or part the document"
    assert peak_megabytes(lambda: refused(path, message, **how)) < 12


def test_a_document_of_many_short_lines_may_be_too_long(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"fine\n\n" + b"all one document\n" * 100_000)
    for documents, line in (("blank_lines", 3), ("file", 1)):
        refused(tmp_path / "a.txt", rf"a\.txt:{line}: longer than", documents=documents)
    (tmp_path / "a.csv").write_bytes(b'text\nfine\n"' + b"all one cell\n" * 100_000 + b'"\n')
    refused(tmp_path / "a.csv", r"a\.csv:3: longer than")


def test_length_is_counted_in_bytes_of_the_text(tmp_path: Path) -> None:
    rules = reading(max_document_bytes=100)
    path = tmp_path / "a.parquet"
    for text, fits in (("漢" * 33, True), ("漢" * 34, False), ("a" * 100, True), ("a" * 101, False)):
        pq.write_table(pa.table({"text": ["short", text]}), path)
        if fits:
            assert texts_of(path, rules) == ["short", text]
        else:
            with pytest.raises(DataError, match=r"a\.parquet, row 2: longer than"):
                texts_of(path, rules)


def test_a_template_cannot_get_round_the_length_of_a_document(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"t": "' + "a" * 600_000 + '"}\n')
    refused(tmp_path / "a.jsonl", r"a\.jsonl:1: longer than", text="{t}{t}")


@pytest.mark.parametrize(
    ("name", "changed", "message"),
    [
        (
            "a.txt",
            {"text": "body"},
            "a.txt is plain text without fields: set text of the source to null, and documents",
        ),
        ("a.jsonl", {"documents": "lines"}, "a.jsonl has fields: set documents of the source to null, and text to"),
    ],
)
def test_params_that_do_not_suit_the_format(tmp_path: Path, name: str, changed: dict[str, str], message: str) -> None:
    (tmp_path / name).write_text("x")
    (file,) = find_files(tmp_path, None)
    with pytest.raises(DataError, match=message):
        check_format(file, source_params(**changed))


def test_what_comes_before_a_mistake_is_read(tmp_path: Path) -> None:
    rows = [json.dumps({"text": str(number)}) for number in range(10)]
    contents = {
        "a.jsonl": "\n".join([*rows, '{"text": ', *rows]),
        "b.jsonl": "\n".join([*rows, '{"body": ""}', *rows]),
        "c.jsonl": "\n".join([*rows, '{"text": "\\u0000"}', *rows]),
        "d.json": f"[{','.join(rows)}, 7]",
        "e.csv": "text\n" + "".join(f"{number}\n" for number in range(10)) + "a,b\n",
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
        (file,) = find_files(tmp_path / name, None)
        batches = read_texts(FilePart(file), source_params(), reading())
        found: list[str] = []
        with pytest.raises(DataError):
            found.extend(text for batch in batches for text in batch.values)
        assert found == [str(number) for number in range(10)], name


class TestInstructionSets:
    """Their files are read by the same code, without limits and without repairs."""

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, r"a\.jsonl does not exist: correct its path in params\.yaml or put the file there$"),
            (b"", r"a\.jsonl is empty: put text into it or remove it from params\.yaml$"),
            (b" \n\t\n", r"a\.jsonl is empty"),
            (b'{"a": "\xff"}\n', r"a\.jsonl:1: not UTF-8 \(byte 7 of the file\): save the file as UTF-8$"),
            (b'{}\n{"a": \n', r"a\.jsonl:2: not valid JSON .*: correct it$"),
            (b"{}\n\n[1]\n", r"a\.jsonl:3: holds list, expected an object: write \{\.\.\.\}$"),
            (b'{"a": "\\ud800"}\n', r"a\.jsonl:1: holds half of a surrogate pair \(.*\): correct it$"),
        ],
    )
    def test_mistakes(self, tmp_path: Path, content: bytes | None, message: str) -> None:
        path = tmp_path / "a.jsonl"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            list(jsonl_objects(path))

    def test_a_folder_is_not_a_file(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="is a folder: name a file"):
            list(jsonl_objects(tmp_path))

    def test_rows_know_their_lines(self, tmp_path: Path) -> None:
        (tmp_path / "a.jsonl").write_text('\ufeff{"a": 1}\r\n\n{"a": 2}')
        found = [(row, where()) for row, where in jsonl_objects(tmp_path / "a.jsonl")]
        assert found == [({"a": 1}, f"{tmp_path}/a.jsonl:1"), ({"a": 2}, f"{tmp_path}/a.jsonl:3")]
