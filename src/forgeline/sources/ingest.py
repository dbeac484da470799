"""A source of any kind as shards of documents."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, groupby
from pathlib import Path
from typing import Any

from forgeline.core.records import DOCUMENTS, DROPPED, Counts
from forgeline.core.shards import ShardWriter
from forgeline.core.storage import sha256_path
from forgeline.runner.tasks import run_tasks
from forgeline.sources.find_files import SourceFile
from forgeline.sources.hpo import load_ontology
from forgeline.sources.hpo_diseases import load_diseases
from forgeline.sources.hpo_documents import disease_documents, term_documents
from forgeline.sources.hpo_split import HpoParams, split_terms
from forgeline.sources.ingest_files import budget_of, ingest_files
from forgeline.sources.params import SourceParams, SourcesParams
from forgeline.sources.sink import Figures, Sink


@dataclass(frozen=True)
class IngestResult:
    """What a source gave.

    Attributes:
        counts: Records read, documents, and records dropped as `empty` or `over_limit`.
        figures: `documents` (as `text_figures`), `budget`, and for files `files` and `encoding`.
    """

    counts: Counts
    figures: Mapping[str, Any]


def ingest(
    source: str, path: Path, sources: SourcesParams, hpo: HpoParams, documents: Path, dropped: Path
) -> IngestResult:
    """Reads one source.

    Args:
        source: Its name, written into every document.
        path: Its file or folder (for packaged data, the descriptor).
        sources: How to read it, and the limits of all sources.
        hpo: Which ontology terms are held out; only the packaged kinds use it.
        documents: Folder for the shards of documents.
        dropped: Folder for the shards of dropped records.

    Raises:
        DataError: The source cannot be read as `sources` say, exceeds a limit or holds no text; file and line are
            named.
        FingerprintError: Packaged data are not the pinned ones.
    """
    params = sources.sources[source]
    if params.kind == "files":
        files, found = ingest_files(source, path, params, sources, documents, dropped)
        about_files = _about_files(files, found)
    else:
        found = _ingest_packaged(source, path, sources, hpo, documents, dropped)
        about_files = {}
    counts = Counts(found.num_records, found.documents["num_documents"], dict(sorted(found.dropped.items())))
    figures = {"documents": dict(found.documents), "budget": _about_budget(params, sources, found), **about_files}
    return IngestResult(counts, figures)


def source_sha256(path: Path, group_bytes: int) -> str:
    """SHA-256 of a source as `sha256_path` says. The files of a folder are hashed on all workers.

    Args:
        path: The file or folder.
        group_bytes: Consecutive files of about this size in all are one task.
    """

    def on_all_workers(files: Sequence[Path]) -> Iterator[str]:
        ends = accumulate(file.stat().st_size for file in files)
        together = groupby(zip(files, ends, strict=True), key=lambda pair: pair[1] // group_bytes)
        groups = [[file for file, _ in group] for _, group in together]
        return chain.from_iterable(run_tasks(_sha256_each, groups, "hash", "files", len))

    return sha256_path(path, on_all_workers)


def _sha256_each(files: Sequence[Path]) -> list[str]:
    return [sha256_path(file) for file in files]


def _ingest_packaged(
    source: str, descriptor: Path, sources: SourcesParams, hpo: HpoParams, documents: Path, dropped: Path
) -> Figures:
    """Documents made from packaged data. Those beyond the budget are made all the same, and written as dropped."""
    params = sources.sources[source]
    ontology = load_ontology(descriptor)
    if params.kind == "hpo_terms":
        texts = term_documents(ontology, split_terms(ontology, hpo))
    else:
        texts = disease_documents(load_diseases(descriptor), ontology, hpo.max_phenotypes)
    with (
        ShardWriter(documents, DOCUMENTS, sources.shard_bytes) as kept,
        ShardWriter(dropped, DROPPED, sources.shard_bytes) as left,
    ):
        sink = Sink(source, budget_of(params, sources), kept, left)
        num_read = sink.write(texts, descriptor.as_posix())
        sink.write_over_limit(texts[num_read:], descriptor.as_posix())
    return sink.figures


def _about_files(files: list[SourceFile], found: Figures) -> dict[str, Any]:
    return {
        "files": {
            "num_files": len(files),
            "num_bytes": sum(file.num_bytes for file in files),
            "num_unpacked_bytes": found.reading["num_bytes"],
        },
        "encoding": {
            "num_replaced": found.reading["num_replaced"],
            "num_removed": found.reading["num_removed"],
        },
    }


def _about_budget(params: SourceParams, sources: SourcesParams, found: Figures) -> dict[str, Any]:
    """`reached` tells whether a document was left out; if not, the source has no more than the budget."""
    return {
        "max_documents": params.max_documents,
        "max_tokens": params.max_tokens,
        "estimated_tokens": round(found.documents["num_bytes"] / sources.bytes_per_token),
        "reached": found.is_spent,
    }
