import gzip
import hashlib
import json
import multiprocessing
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.sources.source_params import folder_bytes, source_params, sources_params

from forgeline.core.errors import DataError
from forgeline.core.records import DOCUMENTS, DROPPED
from forgeline.sources.find_files import SourceFile, find_files
from forgeline.sources.hpo_split import HpoParams
from forgeline.sources.ingest import IngestResult, ingest, source_sha256
from forgeline.sources.ingest_files import Group, group_files, ingest_group
from forgeline.sources.read_texts import FilePart

HPO = HpoParams(seed=17, validation_fraction=0.05, test_fraction=0.1, max_phenotypes=8)


class Out:
    """What `ingest` left in a folder."""

    def __init__(self, folder: Path, path: Path, limits: dict[str, Any] | None = None, **changed: Any) -> None:
        self.documents = folder / "documents.parquet"
        self.dropped = folder / "dropped.parquet"
        sources = sources_params(source_params(**changed), **(limits or {}))
        self.result: IngestResult = ingest("mine", path, sources, HPO, self.documents, self.dropped)

    @property
    def texts(self) -> list[str]:
        found: list[str] = pq.read_table(self.documents)["text"].to_pylist()
        return found

    @property
    def dropped_rows(self) -> list[tuple[str, str, str]]:
        rows = pq.read_table(self.dropped).to_pylist()
        return [(row["text"], row["reason"], row["detail"]) for row in rows]


def write_jsonl(path: Path, texts: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


def test_a_source_becomes_documents_and_what_was_blank_is_dropped(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "notes.jsonl", ["One.", " \n", "Zwei ä", ""])
    out = Out(tmp_path / "out", path)
    assert pq.read_table(out.documents).to_pylist() == [
        {"doc_id": hashlib.sha256(text.encode()).hexdigest()[:32], "text": text, "source": "mine"}
        for text in ("One.", "Zwei ä")
    ]
    assert out.dropped_rows == [(" \n", "empty", str(path)), ("", "empty", str(path))]
    assert out.result.counts.as_json() == {"in": 4, "out": 2, "dropped": {"empty": 2}}
    size = path.stat().st_size
    assert out.result.figures == {
        "documents": {"num_documents": 2, "num_characters": 10, "num_bytes": 11},
        "files": {"num_files": 1, "num_bytes": size, "num_unpacked_bytes": size},
        "encoding": {"num_replaced": 0, "num_removed": 0},
        "budget": {"max_documents": None, "max_tokens": None, "estimated_tokens": 3, "reached": False},
    }


def test_repairs_and_unpacked_bytes_are_summed_over_the_files(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number in range(3):
        data = b'{"text": "caf\xe9 \\u0000"}\n' * (number + 1)
        (folder / f"{number}.jsonl.gz").write_bytes(gzip.compress(data))
    out = Out(tmp_path / "out", folder, {"shard_megabytes": 1e-6}, encoding="repair")
    assert out.texts == ["caf\ufffd "] * 6
    assert out.result.figures["encoding"] == {"num_replaced": 6, "num_removed": 6}
    assert out.result.figures["files"]["num_files"] == 3
    assert out.result.figures["files"]["num_unpacked_bytes"] == 6 * 24


def mixed_folder(folder: Path) -> list[str]:
    """Small and large files with blank records; returns the texts that should be kept, in order."""
    texts: list[str] = []
    for number in range(13):
        count = 400 if number in (3, 11) else 7
        own = [f"File {number}, text {index} é. " * (index % 3) for index in range(count)]
        texts += [text for text in own if text]
        write_jsonl(folder / f"part-{number:02d}" / "a.jsonl", own)
        if number % 4 == 0:
            plain = folder / f"part-{number:02d}" / "a.jsonl"
            (plain.parent / "a.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes(), mtime=0))
            plain.unlink()
    return texts


def test_shards_are_the_same_for_any_number_of_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = mixed_folder(tmp_path / "corpus")
    outputs = []
    for workers in (1, 2, 5):
        monkeypatch.setenv("FORGELINE_WORKERS", str(workers))
        out = Out(tmp_path / f"out-{workers}", tmp_path / "corpus", {"shard_megabytes": 0.002})
        assert out.texts == texts
        outputs.append(folder_bytes(tmp_path / f"out-{workers}"))
    assert outputs[0] == outputs[1] == outputs[2]
    names = sorted(name for name in outputs[0] if name.startswith("documents"))
    assert names == [f"documents.parquet/{number:05d}.parquet" for number in range(len(names))]
    assert len(names) > 10
    assert sum(name.startswith("dropped") for name in outputs[0]) > 1


def test_what_is_written_does_not_name_absolute_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = []
    for place in ("here", "there"):
        write_jsonl(tmp_path / place / "corpus/a.jsonl", ["One.", ""])
        monkeypatch.chdir(tmp_path / place)
        Out(Path("out"), Path("corpus"))
        outputs.append(folder_bytes(Path("out")))
    assert outputs[0] == outputs[1]


@settings(max_examples=40, deadline=None)
@given(
    files=st.lists(st.lists(st.sampled_from(["", " ", "a", "bb", "long " * 30]), max_size=9), min_size=1, max_size=5),
    shard_bytes=st.sampled_from([60, 300, 10_000]),
    max_documents=st.none() | st.integers(1, 12),
    max_tokens=st.none() | st.integers(1, 60),
)
def test_every_record_that_was_read_is_kept_or_dropped(
    tmp_path_factory, files, shard_bytes, max_documents, max_tokens
) -> None:
    folder = tmp_path_factory.mktemp("ingest")
    for number, texts in enumerate(files):
        write_jsonl(folder / f"corpus/{number}.jsonl", texts)
    wanted = expected([text for texts in files for text in texts], max_documents, max_tokens)
    limits = {"shard_megabytes": shard_bytes / 1e6}
    budget = {"max_documents": max_documents, "max_tokens": max_tokens}
    if not wanted["kept"]:
        with pytest.raises(DataError, match=r"is empty|hold no records|are blank|the first document alone holds more"):
            Out(folder / "out", folder / "corpus", limits, **budget)
        return
    out = Out(folder / "out", folder / "corpus", limits, **budget)
    assert out.texts == wanted["kept"]
    assert [(text, reason) for text, reason, _ in out.dropped_rows] == wanted["dropped"]
    counts = out.result.counts
    assert (counts.num_in, counts.num_out) == (len(wanted["kept"]) + len(wanted["dropped"]), len(wanted["kept"]))
    assert out.result.figures["budget"]["reached"] == any(reason == "over_limit" for _, reason in wanted["dropped"])
    for folder_of, schema in ((out.documents, DOCUMENTS), (out.dropped, DROPPED)):
        assert all(shard.suffix == ".parquet" for shard in folder_of.iterdir())
        assert pq.read_table(folder_of).schema.names == schema.names


def expected(texts: list[str], max_documents: int | None, max_tokens: int | None) -> dict[str, list[Any]]:
    """In plain words: documents are taken until one is too many; that one is dropped and nothing more is read."""
    kept: list[str] = []
    dropped: list[tuple[str, str]] = []
    for text in texts:
        if not text.strip():
            dropped.append((text, "empty"))
        elif len(kept) == max_documents or (max_tokens and sum(map(len, [*kept, text])) > 4 * max_tokens):
            dropped.append((text, "over_limit"))
            break
        else:
            kept.append(text)
    return {"kept": kept, "dropped": dropped}


class TestBudget:
    def test_nothing_is_read_beyond_it(self, tmp_path: Path) -> None:
        write_jsonl(tmp_path / "corpus/a.jsonl", ["a"] * 5)
        (tmp_path / "corpus/b.jsonl").write_bytes(b"\xff not even text")
        out = Out(tmp_path / "out", tmp_path / "corpus", max_documents=4)
        assert out.texts == ["a"] * 4
        assert out.result.counts.as_json() == {"in": 5, "out": 4, "dropped": {"over_limit": 1}}

    def test_a_mistake_beyond_it_is_not_met(self, tmp_path: Path) -> None:
        path = write_jsonl(tmp_path / "a.jsonl", ["a", "b", "c"])
        path.write_bytes(path.read_bytes() + b"no json\n")
        assert Out(tmp_path / "out", path, max_documents=2).texts == ["a", "b"]
        with pytest.raises(DataError, match=r"a\.jsonl:4: not valid JSON"):
            Out(tmp_path / "out", path, max_documents=3)

    def test_one_larger_than_the_source_is_allowed_and_reported(self, tmp_path: Path) -> None:
        path = write_jsonl(tmp_path / "a.jsonl", ["four", "four"])
        out = Out(tmp_path / "out", path, max_documents=2, max_tokens=1000)
        budget = {"max_documents": 2, "max_tokens": 1000, "estimated_tokens": 2, "reached": False}
        assert out.result.figures["budget"] == budget

    def test_tokens_are_counted_by_bytes_and_never_exceeded(self, tmp_path: Path) -> None:
        path = write_jsonl(tmp_path / "a.jsonl", ["éé", "four", "12345", "x"])  # 4, 4, 5 and 1 bytes
        for max_tokens, kept in ((1, 1), (2, 2), (3, 2), (4, 4)):
            out = Out(tmp_path / f"out-{max_tokens}", path, max_tokens=max_tokens)
            assert (len(out.texts), out.result.figures["budget"]["reached"]) == (kept, kept < 4)
        out = Out(tmp_path / "out", path, {"bytes_per_token": 8.5}, max_tokens=1)
        assert out.texts == ["éé", "four"]

    def test_one_too_small_for_the_first_document(self, tmp_path: Path) -> None:
        path = write_jsonl(tmp_path / "a.jsonl", ["a long first document"])
        with pytest.raises(DataError, match="the first document alone holds more than max_tokens: raise it"):
            Out(tmp_path / "out", path, max_tokens=5)

    def test_packaged_documents_beyond_it_are_kept_aside(self, tmp_path: Path, descriptor: Path) -> None:
        out = Out(tmp_path / "out", descriptor, kind="hpo_terms", text=None, max_documents=3)
        counts = out.result.counts
        assert len(out.texts) == 3
        assert counts.num_in == 19_034
        assert counts.dropped == {"over_limit": 19_031}
        assert len(out.dropped_rows) == 19_031
        assert "files" not in out.result.figures


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"a.jsonl": b""}, r"a\.jsonl is empty: put text into it or remove it"),
        ({"a.jsonl": b"\n \n"}, r"a\.jsonl is empty"),
        ({"a.jsonl": b"", "b.jsonl": b"\n"}, r"corpus: its 2 files hold no records: put text into them or remove"),
        (
            {"a.jsonl": b'{"text": " "}\n{"text": ""}\n'},
            r"corpus: all 2 records are blank: correct `text` of the source",
        ),
        ({"a.jsonl.gz": gzip.compress(b"")}, r"a\.jsonl\.gz is empty"),
        ({"a.json": b"[]"}, r"a\.json is empty"),
        ({"a.csv": b"id,text\n"}, r"a\.csv is empty"),
    ],
)
def test_a_source_without_text_is_an_error(tmp_path: Path, contents: dict[str, bytes], message: str) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        Out(tmp_path / "out", folder)


def test_a_parquet_table_without_rows_is_empty(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet is empty"):
        Out(tmp_path / "out", tmp_path / "a.parquet")


def test_a_blank_text_file_is_a_blank_record(tmp_path: Path) -> None:
    for name, text in (("a.txt", "One."), ("b.txt", " \n"), ("c.txt", "")):
        (tmp_path / "corpus").mkdir(exist_ok=True)
        (tmp_path / "corpus" / name).write_text(text)
    out = Out(tmp_path / "out", tmp_path / "corpus", documents="file")
    assert out.result.counts.as_json() == {"in": 3, "out": 1, "dropped": {"empty": 2}}


class TestTooLarge:
    MESSAGE = r"{}: with this file the source unpacks to more than ingest\.max_source_gigabytes \(1e-06\): raise it"

    def test_files_are_weighed_before_they_are_read(self, tmp_path: Path) -> None:
        write_jsonl(tmp_path / "corpus/a.jsonl", ["a" * 900])
        (tmp_path / "corpus/b.jsonl").write_bytes(b"never read" * 10)
        with pytest.raises(DataError, match=self.MESSAGE.format(r"b\.jsonl")):
            Out(tmp_path / "out", tmp_path / "corpus", {"max_source_gigabytes": 1e-6})

    def test_packed_files_count_together_whatever_their_groups(self, tmp_path: Path) -> None:
        (tmp_path / "corpus").mkdir()
        for name in "abc":
            packed = gzip.compress(b'{"text": "' + b"x" * 400 + b'"}\n')
            (tmp_path / f"corpus/{name}.jsonl.gz").write_bytes(packed)
        for shard_megabytes in (1e-6, 16):
            limits = {"max_source_gigabytes": 1e-6, "shard_megabytes": shard_megabytes}
            with pytest.raises(DataError, match=self.MESSAGE.format(r"c\.jsonl\.gz")):
                Out(tmp_path / "out", tmp_path / "corpus", limits)

    def test_parquet_is_weighed_by_its_footer(self, tmp_path: Path) -> None:
        texts = ["".join(chr(97 + (index * number) % 26) for index in range(100)) for number in range(20)]
        pq.write_table(pa.table({"text": texts, "more": texts}), tmp_path / "a.parquet", use_dictionary=False)
        size = (tmp_path / "a.parquet").stat().st_size
        assert size > 1000
        with pytest.raises(DataError, match=self.MESSAGE.format(r"a\.parquet")):
            Out(tmp_path / "out", tmp_path / "a.parquet", {"max_source_gigabytes": 1e-6}, max_documents=1)
        assert len(Out(tmp_path / "out", tmp_path / "a.parquet", {"max_source_gigabytes": 1e-5}).texts) == 20


def files_of(*sizes: int, kind: str = "jsonl", is_packed: bool = False) -> list[SourceFile]:
    return [SourceFile(Path(f"{number}"), kind, is_packed, size) for number, size in enumerate(sizes)]


def plan(files: list[SourceFile], group_bytes: int | None) -> list[list[tuple[str, int, int | None]]]:
    return [
        [(part.file.path.name, part.start, part.end) for part in group] for group in group_files(files, group_bytes)
    ]


def test_consecutive_files_are_grouped_until_they_fill_a_shard() -> None:
    assert plan(files_of(4, 5, 3, 12, 1, 1), 10) == [
        [("0", 0, None), ("1", 0, None), ("2", 0, None)],
        [("3", 0, None)],
        [("4", 0, None), ("5", 0, None)],
    ]


def test_large_json_lines_files_are_parted_and_others_are_not() -> None:
    assert plan(files_of(35), 10) == [[("0", 0, 10)], [("0", 10, 20)], [("0", 20, None)]]
    assert plan(files_of(35, is_packed=True), 10) == [[("0", 0, None)]]
    assert plan(files_of(35, kind="csv"), 10) == [[("0", 0, None)]]
    assert plan(files_of(35, 35), None) == [[("0", 0, None), ("1", 0, None)]]


def test_a_group_can_be_read_in_another_process(tmp_path: Path) -> None:
    (file,) = find_files(write_jsonl(tmp_path / "a.jsonl", ["One.", ""]), None)
    params = source_params()
    folders = (tmp_path / "documents", tmp_path / "dropped")
    group = Group("mine", (FilePart(file),), params, sources_params(params), *folders)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        figures = pool.submit(ingest_group, group).result()
    assert (figures.num_records, figures.dropped) == (2, {"empty": 1})
    assert pq.read_table(folders[0])["text"].to_pylist() == ["One."]


def test_parts_of_a_file_hold_all_its_records_once(tmp_path: Path) -> None:
    texts = [f"{number} " * (number % 50 + 1) for number in range(2000)]
    path = write_jsonl(tmp_path / "a.jsonl", texts)
    out = Out(tmp_path / "out", path, {"shard_megabytes": 0.01})
    assert out.texts == texts
    assert out.result.figures["files"]["num_unpacked_bytes"] == path.stat().st_size
    assert len(list(out.documents.iterdir())) > 10


def test_a_mistake_in_a_late_part_has_the_line_of_the_whole_file(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", ["some text"] * 2000)
    with path.open("a") as file:
        file.write('{"body": "x"}\n')
    with pytest.raises(DataError, match=r"a\.jsonl:2001: no field 'text'"):
        Out(tmp_path / "out", path, {"shard_megabytes": 0.001})


@pytest.mark.slow
def test_memory_does_not_grow_with_the_source(tmp_path: Path) -> None:
    """Peak resident memory of a process that ingests 400 MB, beyond that of one that ingests 40 MB."""
    line = json.dumps({"text": "some words of text " * 50}) + "\n"
    script = (
        "import resource, sys; from pathlib import Path;"
        "from tests.unit.sources.test_ingest import Out;"
        "Out(Path(sys.argv[1] + '-out'), Path(sys.argv[1]), max_documents=10**9);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for megabytes in (40, 400):
        path = tmp_path / f"{megabytes}.jsonl"
        with path.open("w") as file:
            for _ in range(megabytes):
                file.write(line * (1_000_000 // len(line)))
        done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] < peaks[0] + 40, f"{peaks} MiB"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_hash_of_a_folder_names_every_file_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    monkeypatch.setenv("FORGELINE_WORKERS", workers)
    contents = {f"{number % 3}/part-{number}.jsonl": f"text {number}".encode() * number for number in range(7)}
    for name, content in contents.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    listing = "".join(f"{name}\0{hashlib.sha256(contents[name]).hexdigest()}\n" for name in sorted(contents))
    for group_bytes in (1, 70, 10_000):
        assert source_sha256(tmp_path, group_bytes) == hashlib.sha256(listing.encode()).hexdigest()
    assert source_sha256(tmp_path / "1/part-4.jsonl", 1) == hashlib.sha256(contents["1/part-4.jsonl"]).hexdigest()
