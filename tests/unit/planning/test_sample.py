"""Sizes of files from a look into them, against counting all of them."""

import csv
import gzip
import json
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.unit.sources.source_params import source_params, sources_params

from forgeline.core.errors import DataError
from forgeline.planning.sample import COUNTED, SAMPLED, sample_files

WORDS = ["fever", "of", "unknown", "origin", "is", "äußerst", "rare", "in", "children", "発熱"]
Writer = Callable[[Path, list[str]], None]


@cache
def texts(number: int, seed: int = 17) -> list[str]:
    """Documents of very different lengths, some of them blank."""
    dice = random.Random(seed)
    return [
        " ".join(dice.choices(WORDS, k=min(int(dice.lognormvariate(4, 1)), 3000))) if dice.random() > 0.02 else " \n"
        for _ in range(number)
    ]


def as_json_lines(path: Path, documents: list[str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"id": n, "text": text}) + "\n" for n, text in enumerate(documents))


def as_packed_json_lines(path: Path, documents: list[str]) -> None:
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=1) as file:
        file.writelines(json.dumps({"id": n, "text": text}) + "\n" for n, text in enumerate(documents))


def as_json(path: Path, documents: list[str]) -> None:
    path.write_text(json.dumps([{"text": text} for text in documents], ensure_ascii=False), encoding="utf-8")


def as_csv(path: Path, documents: list[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["n", "text"], *([n, text] for n, text in enumerate(documents))])


def as_parquet(path: Path, documents: list[str]) -> None:
    pq.write_table(pa.table({"n": range(len(documents)), "text": documents}), path, row_group_size=2_000)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.jsonl", as_json_lines),
        ("a.jsonl.gz", as_packed_json_lines),
        ("a.json", as_json),
        ("a.csv", as_csv),
        ("a.parquet", as_parquet),
    ],
)
def test_a_large_file_is_estimated_within_a_fifth(tmp_path: Path, name: str, write: Writer) -> None:
    documents = texts(40_000)
    write(tmp_path / name, documents)
    source = source_params(path=str(tmp_path / name))
    size = sample_files(source, sources_params(source))
    kept = [text for text in documents if text.strip()]
    assert size.basis == SAMPLED
    assert size.num_documents == pytest.approx(len(kept), rel=0.2)
    assert size.num_bytes == pytest.approx(sum(len(text.encode()) for text in kept), rel=0.2)


def test_documents_that_grow_longer_in_a_file_do_not_mislead(tmp_path: Path) -> None:
    documents = sorted(texts(40_000), key=len)
    as_json_lines(tmp_path / "a.jsonl", documents)
    source = source_params(path=str(tmp_path / "a.jsonl"))
    size = sample_files(source, sources_params(source))
    assert size.num_bytes == pytest.approx(sum(len(text.encode()) for text in documents), rel=0.2)


@pytest.mark.parametrize(("name", "write"), [("a.jsonl", as_json_lines), ("a.csv", as_csv), ("a.parquet", as_parquet)])
def test_a_small_file_is_counted(tmp_path: Path, name: str, write: Writer) -> None:
    documents = texts(500)
    write(tmp_path / name, documents)
    source = source_params(path=str(tmp_path / name))
    size = sample_files(source, sources_params(source))
    kept = [text for text in documents if text.strip()]
    assert (size.num_documents, size.num_bytes) == (len(kept), sum(len(text.encode()) for text in kept))
    assert size.basis == COUNTED


def test_of_many_files_some_are_looked_into(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    total = 0
    for number in range(30):
        documents = texts(100, seed=number)
        total += sum(len(text.encode()) for text in documents if text.strip())
        as_json_lines(tmp_path / "corpus" / f"{number:02d}.jsonl", documents)
    source = source_params(path=str(tmp_path / "corpus"))
    size = sample_files(source, sources_params(source))
    assert size.basis == SAMPLED
    assert size.num_bytes == pytest.approx(total, rel=0.2)
    assert size.num_documents == pytest.approx(2_940, rel=0.2)


def test_files_that_are_documents_are_counted_by_number(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    for number in range(30):
        (tmp_path / "corpus" / f"{number:02d}.txt").write_text("word " * (number + 1))
    source = source_params(path=str(tmp_path / "corpus"), documents="file")
    size = sample_files(source, sources_params(source))
    assert size.num_documents == 30
    assert size.num_bytes == pytest.approx(5 * sum(range(1, 31)), rel=0.01)


def test_what_ingest_would_refuse_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"body": "two"}\n')
    source = source_params(path=str(tmp_path / "a.jsonl"))
    with pytest.raises(DataError, match=r"a\.jsonl:2"):
        sample_files(source, sources_params(source))
