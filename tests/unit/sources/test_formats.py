"""Every format, packed or not, gives back the texts that were written, however the bytes fall into blocks."""

import csv
import gzip
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.sources.source_params import reading, source_params

from forgeline.sources.find_files import find_files
from forgeline.sources.formats import unpacked
from forgeline.sources.formats.lines import line_blocks
from forgeline.sources.params import SourceParams
from forgeline.sources.read_texts import FilePart, read_texts

ANY = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=30)
PROSE = st.text(st.sampled_from("aé漢😀\u2028\x0b\x85 \t,;\"'{}[]\\:\n"), max_size=40)
TEXTS = st.lists(ANY | PROSE, min_size=1, max_size=12)
BLOCKS = st.sampled_from([3, 7, 64, 1 << 20])
PACKINGS = {"": bytes, ".gz": gzip.compress, ".zst": lambda data: zstd(data)}


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


def texts_of(path: Path, params: SourceParams, encoding: str = "strict") -> list[str]:
    (file,) = find_files(path, None)
    return [text for batch in read_texts(FilePart(file), params, reading(encoding)) for text in batch.values]


def jsonl(texts: list[str]) -> bytes:
    return "".join(
        json.dumps({"n": 1, "text": text}, ensure_ascii=len(text) % 2 == 0) + "\n" for text in texts
    ).encode()


def json_array(texts: list[str]) -> bytes:
    rows = [{"other": {"a": ["}", {"]": '"'}]}, "text": text} for text in texts]
    return json.dumps(rows, ensure_ascii=False, indent=1 if len(texts) % 2 else None).encode()


def json_sequence(texts: list[str]) -> bytes:
    return "\r\n\n".join(json.dumps({"text": text}, indent=2) for text in texts).encode()


def cells(texts: list[str], delimiter: str) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerows([["id", "text"], *([str(number), text] for number, text in enumerate(texts))])
    return file.getvalue().encode()


WRITERS: dict[str, Callable[[list[str]], bytes]] = {
    "jsonl": jsonl,
    "json": json_array,
    "ndjson": lambda texts: b"\xef\xbb\xbf" + jsonl(texts).rstrip(b"\n").replace(b"\n", b"\r\n \n\n"),
    "csv": lambda texts: cells(texts, ","),
    "tsv": lambda texts: b"\xef\xbb\xbf" + cells(texts, "\t"),
}


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("ending", WRITERS)
@settings(max_examples=25, deadline=None)
@given(texts=TEXTS, block=BLOCKS)
def test_texts_in_fields_come_back(tmp_path_factory, ending, packing, texts, block) -> None:
    path = tmp_path_factory.mktemp("fields") / f"a.{ending}{packing}"
    path.write_bytes(PACKINGS[packing](WRITERS[ending](texts)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unpacked, "BLOCK_BYTES", block)
        assert texts_of(path, source_params()) == texts


@settings(max_examples=25, deadline=None)
@given(texts=TEXTS, block=BLOCKS)
def test_objects_one_after_another_come_back(tmp_path_factory, texts, block) -> None:
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_bytes(b"\xef\xbb\xbf" + json_sequence(texts))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unpacked, "BLOCK_BYTES", block)
        assert texts_of(path, source_params()) == texts


@settings(max_examples=25, deadline=None)
@given(texts=TEXTS)
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_parquet_columns_come_back(tmp_path_factory, kind, texts) -> None:
    path = tmp_path_factory.mktemp("parquet") / "a.parquet"
    pq.write_table(pa.table({"id": range(len(texts)), "text": pa.array(texts).cast(kind)}), path, row_group_size=5)
    assert texts_of(path, source_params()) == texts


def test_fields_inside_parquet_structs_are_read_alone(tmp_path: Path) -> None:
    rows = [{"meta": {"title": "T1", "body": "B1"}, "n": 1}, {"meta": {"title": "T2", "body": ""}, "n": 2}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert texts_of(tmp_path / "a.parquet", source_params(text="{meta.title} {n}: {meta.body}")) == [
        "T1 1: B1",
        "T2 2: ",
    ]


@pytest.mark.parametrize("packing", PACKINGS)
@settings(max_examples=25, deadline=None)
@given(text=ANY | PROSE, block=BLOCKS)
def test_a_text_file_is_taken_as_it_is(tmp_path_factory, packing, text, block) -> None:
    text = text.removeprefix("\ufeff")
    path = tmp_path_factory.mktemp("text") / f"a.txt{packing}"
    path.write_bytes(PACKINGS[packing](text.encode()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unpacked, "BLOCK_BYTES", block)
        found = texts_of(path, source_params(documents="file"))
    assert found == [text.replace("\r\n", "\n").replace("\r", "\n")]


@settings(max_examples=200, deadline=None)
@given(
    text=st.lists(st.sampled_from(["", " ", "\t", "one", " two ", "# head", "---", "é"]), max_size=14).map("\n".join),
    block=BLOCKS,
)
def test_documents_of_a_text_file(tmp_path_factory, text, block) -> None:
    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_text(text, encoding="utf-8")
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unpacked, "BLOCK_BYTES", block)
        for documents, marker in (("lines", None), ("blank_lines", None), ("headings", "^#"), ("separators", "^-+$")):
            found[documents] = texts_of(path, source_params(documents=documents, marker=marker))
    all_lines = text.split("\n")
    assert found["lines"] == [line for line in all_lines if line.strip()]
    trimmed = re.compile(r"\A(?:[ \t]*\n)*|(?:\n[ \t]*)*\Z")
    wanted = {
        "blank_lines": re.split(r"(?m)^[ \t]*$", text),
        "headings": re.split(r"(?m)^(?=#)", text),
        "separators": re.split(r"(?m)^-+$", text),
    }
    for documents, pieces in wanted.items():
        assert found[documents] == [trimmed.sub("", piece) for piece in pieces if piece.strip()], documents


def test_what_documents_means(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeff\n\n  One,\r\nstill one.\r\n \t\r\n\r\n# Two\nof two\n***\n\nthree\n\n".encode())

    def found(documents: str, marker: str | None = None) -> list[str]:
        return texts_of(path, source_params(documents=documents, marker=marker))

    assert found("file") == ["\n\n  One,\nstill one.\n \t\n\n# Two\nof two\n***\n\nthree\n\n"]
    assert found("lines") == ["  One,", "still one.", "# Two", "of two", "***", "three"]
    assert found("blank_lines") == ["  One,\nstill one.", "# Two\nof two\n***", "three"]
    assert found("headings", "^# ") == ["  One,\nstill one.", "# Two\nof two\n***\n\nthree"]
    assert found("separators", r"^\*\*\*$") == ["  One,\nstill one.\n \t\n\n# Two\nof two", "three"]


def test_several_members_and_frames_are_one_file(tmp_path: Path) -> None:
    for name, pack in (("a.jsonl.gz", gzip.compress), ("a.jsonl.zst", zstd)):
        path = tmp_path / name
        path.write_bytes(pack(b'{"text": "o') + pack(b"") + pack(b'ne"}\n{"text": "two"}'))
        assert texts_of(path, source_params()) == ["one", "two"]


def test_json_that_only_the_standard_library_reads_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "score": NaN}\n{"text": "b"}\n{"text": "c", "score": -Infinity}\n')
    assert texts_of(path, source_params()) == ["a", "b", "c"]


class TestRepair:
    def repaired(self, path: Path, **changed: object) -> tuple[list[str], int, int]:
        (file,) = find_files(path, None)
        rules = reading("repair")
        found = [text for batch in read_texts(FilePart(file), source_params(**changed), rules) for text in batch.values]
        return found, rules.repairs.num_replaced, rules.repairs.num_removed

    def test_bytes_that_are_not_utf8_are_replaced_and_counted(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        path.write_bytes(b'{"text": "good \xef\xbf\xbd"}\n{"text": "b\xffad\xe2\x82"}\n{"text": "\xf0\x9f\x98\x80"}\n')
        assert self.repaired(path) == (["good \ufffd", "b\ufffdad\ufffd", "😀"], 2, 0)

    def test_in_text_and_cells_too(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_bytes(b"\xef\xbf\xbd caf\xe9\nna\0\0ive\n")
        assert self.repaired(tmp_path / "a.txt", documents="lines") == (["\ufffd caf\ufffd", "naive"], 1, 2)
        (tmp_path / "a.csv").write_bytes(b'text\n"caf\xe9"\nna\0ive\n')
        assert self.repaired(tmp_path / "a.csv") == (["caf\ufffd", "naive"], 1, 1)

    def test_halves_of_surrogate_pairs_are_replaced_and_whole_pairs_are_not(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        path.write_text(r'{"text": "\ud83d\ude00 \ud83d \udc00", "meta": ["\ud800"], "\udfff": 1}' + "\n")
        assert self.repaired(path) == (["😀 \ufffd \ufffd"], 4, 0)

    def test_nul_characters_are_removed_raw_and_escaped(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        path.write_bytes(b'{"text": "a\\u0000b"}\n{"text": "c\0\0d"}\n')
        assert self.repaired(path) == (["ab", "cd"], 0, 3)

    def test_parquet(self, tmp_path: Path) -> None:
        kind = pa.struct([("b", pa.string())])
        bad = pa.Array.from_buffers(pa.string(), 2, pa.array([b"caf\xe9", b"n\0ul"]).buffers())
        table = pa.table({"text": bad, "a": pa.StructArray.from_arrays([bad], fields=list(kind))})
        pq.write_table(table, tmp_path / "a.parquet")
        assert self.repaired(tmp_path / "a.parquet") == (["caf\ufffd", "nul"], 1, 1)
        assert self.repaired(tmp_path / "a.parquet", text="a.b") == (["caf\ufffd", "nul"], 1, 1)


@settings(max_examples=200, deadline=None)
@given(
    data=st.lists(st.sampled_from([b"", b"a", b"bcd", b"\xc3\xa9", b"longer than a block"]), max_size=20).map(
        b"\n".join
    ),
    ends=st.lists(st.integers(0, 120), max_size=6).map(sorted),
    block=st.sampled_from([1, 4, 16, 1 << 20]),
)
def test_every_line_belongs_to_one_part_of_a_file(tmp_path_factory, data, ends, block) -> None:
    path = tmp_path_factory.mktemp("parts") / "a.jsonl"
    path.write_bytes(data)
    bounds = [0, *ends]
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unpacked, "BLOCK_BYTES", block)
        for start, end in zip(bounds, [*ends, None], strict=True):
            for part in line_blocks(path, reading(), start, end):
                assert data[part.offset : part.offset + len(part.data)] == part.data
                assert end is None or part.offset < end
                assert part.offset >= start
                found.append(part.data)
    assert b"".join(found) == data
    assert all(part.endswith(b"\n") for part in found[:-1])
