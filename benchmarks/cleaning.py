"""cleaning: all quality rules and masks on one core, JSON lines in and Parquet out, against datatrove.

Ours are the functions of the stages `ingest` and `clean` with the rules and masks of presets/web.yaml, so beside the
peer's work they bring the text into one form, hash it, and write what is dropped too. The peer masks e-mail and IP
addresses only. It gets the beginning of the same corpus, since it needs minutes for the whole.
"""

import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.corpus import Corpus, open_corpus
from benchmarks.harness import Comparison, Options, alternate
from forgeline.core.params import load, plain, read_yaml
from forgeline.runner.tasks import WORKERS_VARIABLE
from forgeline.sources.hpo_split import HpoParams
from forgeline.sources.ingest import ingest
from forgeline.sources.params import SourcesParams
from forgeline.text.clean import clean_source
from forgeline.text.clean_params import CleanParams
from forgeline.text.quality.params import FAMILIES, QualityParams
from forgeline.text.quality.rules import judge

LEAST_EQUAL = 0.999
PRESET = Path("presets/web.yaml")

_PEER_BYTES = 2_500_000
_SOURCE = "corpus"
_LANGUAGE = "en"
_NUM_TIMED = 5

Document = tuple[str, str]


def run(options: Options, num_pairs: int = 3) -> Comparison:
    """Megabytes of text per CPU second of both; the rules' decisions on the same text must be equal, too."""
    os.environ[WORKERS_VARIABLE] = "1"
    corpus = open_corpus(options, 100.0)
    sample = _beginning(corpus)
    with TemporaryDirectory() as name:
        folder = Path(name)
        _write_lines(folder / "lines" / "00000.jsonl", sample)
        ours, peer = alternate(
            lambda: corpus.text_bytes / 1e6 / _seconds(lambda: _ours(corpus, folder)),
            lambda: _megabytes([text for _, text in sample]) / _seconds(lambda: _datatrove(folder)),
            num_pairs,
        )
        equal = _share_of_equal_decisions(folder, sample)
    print(f"decisions: {equal:.4%} of {len(sample):,} equal (at least {LEAST_EQUAL:.1%})")
    _time_families([text for _, text in corpus.documents()])
    return Comparison(
        "cleaning",
        ours,
        peer,
        "MB per CPU second",
        100.0,
        higher_is_better=True,
        floor=20.0,
        others_hold=equal >= LEAST_EQUAL,
    )


def _beginning(corpus: Corpus) -> list[Document]:
    documents: list[Document] = []
    size = 0
    for name, text in corpus.documents():
        documents.append((name, text))
        size += len(text.encode())
        if size >= _PEER_BYTES:
            break
    return documents


def _megabytes(texts: Sequence[str]) -> float:
    return sum(len(text.encode()) for text in texts) / 1e6


def _seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _write_lines(path: Path, documents: Sequence[Document]) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"".join(orjson.dumps({"id": name, "text": text}) + b"\n" for name, text in documents))


def _ours(corpus: Corpus, folder: Path) -> None:
    for name in ("documents", "left_out", "kept", "dropped"):
        shutil.rmtree(folder / name, ignore_errors=True)
    hpo = load("hpo", HpoParams, PRESET)
    start = time.process_time()
    ingest(_SOURCE, corpus.folder, _sources(corpus), hpo, folder / "documents", folder / "left_out")
    middle = time.process_time()
    params = load("clean", CleanParams, PRESET)
    clean_source(_SOURCE, folder / "documents", folder / "kept", folder / "dropped", _LANGUAGE, params)
    size = corpus.text_bytes / 1e6
    print(f"ingest {size / (middle - start):.0f} MB/s, clean {size / (time.process_time() - middle):.1f} MB/s")


def _sources(corpus: Corpus) -> SourcesParams:
    """The corpus as the only source, with the limits of the preset."""
    section = plain(read_yaml(PRESET))["ingest"]
    source = {
        **next(iter(section["sources"].values())),
        "kind": "files",
        "path": str(corpus.folder),
        "pattern": "docs-*.jsonl",
        "text": "text",
        "language": _LANGUAGE,
        "max_documents": None,
        "max_tokens": None,
    }
    return SourcesParams.model_validate({**section, "sources": {_SOURCE: source}})


def _datatrove(folder: Path) -> None:
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )
    from datatrove.pipeline.formatters import PIIFormatter
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import ParquetWriter
    from datatrove.utils.logging import logger

    logger.disable("datatrove")
    shutil.rmtree(folder / "peer", ignore_errors=True)
    pipeline = [
        JsonlReader(str(folder / "lines")),
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        C4QualityFilter(),
        FineWebQualityFilter(),
        PIIFormatter(),
        ParquetWriter(str(folder / "peer" / "kept")),
    ]
    LocalPipelineExecutor(pipeline, tasks=1, workers=1, logging_dir=str(folder / "peer" / "log")).run()


def _share_of_equal_decisions(folder: Path, sample: Sequence[Document]) -> float:
    """Of our rules and the peer's on the same text, that is before ours has been brought into one form."""
    kept_by_peer = set(pq.read_table(folder / "peer" / "kept", columns=["id"])["id"].to_pylist())
    kept = judge(pa.array([text for _, text in sample]), _rules()).kept.tolist()
    return sum(stays == (name in kept_by_peer) for (name, _), stays in zip(sample, kept, strict=True)) / len(sample)


def _rules() -> QualityParams:
    return load("clean", CleanParams, PRESET).rules["default"]


def _time_families(texts: Sequence[str]) -> None:
    """Prints how fast the rules alone are, reading and writing aside; each family alone reads the whole text too."""
    params = _rules()
    array = pa.array(texts)
    for name, rules in [("all families", params), *((family, params.only(family)) for family in FAMILIES)]:
        seconds = min(_seconds(lambda rules=rules: judge(array, rules)) for _ in range(_NUM_TIMED))
        print(f"rules alone, {name}: {_megabytes(texts) / seconds:.0f} MB/s")
