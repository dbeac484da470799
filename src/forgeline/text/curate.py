"""From cleaned documents of all sources to a corpus: no copies, no evaluation questions, and a split.

Copies go first, so only one of a cluster of near copies is there to be split: near copies cannot straddle the split.
There are three passes, of which the first and the last go shard by shard over all cores: examine the documents (hash,
sign, look for evaluation texts), link copies, write each document to where it belongs. Memory holds what fits
`curate.memory_megabytes` and some bytes of every document; of the text only the shards at hand.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field, model_validator

from forgeline.core.errors import DataError
from forgeline.core.params import Section
from forgeline.core.records import Counts
from forgeline.core.shards import shard_paths
from forgeline.core.storage import write_json
from forgeline.runner.tasks import run_tasks
from forgeline.text.cluster_table import cluster_figures, write_clusters
from forgeline.text.curate_shards import (
    KEPT,
    REASONS,
    Examination,
    ExamineTask,
    SplitRule,
    WriteTask,
    WrittenShard,
    examine_shard,
    write_shard,
)
from forgeline.text.curate_summary import SourceShard, count_contaminated, count_drops, manifest_of, split_figures
from forgeline.text.decontaminate import index_runs
from forgeline.text.dedup import Clusters, CopyFinder
from forgeline.text.evaluation_texts import EvaluationSet, count_too_short
from forgeline.text.kernels.runs import NOBODY, Owners
from forgeline.text.minhash import MinHashParams
from forgeline.text.signature_store import IdStore

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]

_MEGABYTE = 1_000_000
_EXACT, _NEAR, _CONTAMINATED = (np.int8(REASONS.index(name)) for name in REASONS)


class CurateParams(Section):
    """Section `curate`.

    Attributes:
        memory_megabytes: Signatures, hashes and band keys that take more are kept on disk. Does not change the result.
        exact: Whether documents with the same text but for case and white space are dropped.
        minhash: How near copies are found; its seed also salts the split.
        decontaminate_words: A document that shares a run of so many words with an evaluation text is dropped.
        validation_fraction: Expected share of documents in validation.
        test_fraction: Expected share of documents in test.
    """

    memory_megabytes: Annotated[int, Field(ge=1)]
    exact: bool
    minhash: MinHashParams
    decontaminate_words: Annotated[int, Field(ge=1)]
    validation_fraction: Fraction
    test_fraction: Fraction

    @model_validator(mode="after")
    def _leave_some_for_training(self) -> "CurateParams":
        if self.validation_fraction + self.test_fraction >= 1.0:
            raise ValueError("validation_fraction + test_fraction must be below 1: lower one of them")
        return self

    def deciding(self) -> dict[str, Any]:
        """The parameters without the one that does not change the result."""
        return self.model_dump(mode="json", exclude={"memory_megabytes"})


@dataclass(frozen=True)
class CurateOutputs:
    """Where the results go.

    Attributes:
        folders: For `train`, `validation`, `test` and `dropped` the folder to write to.
        names: What these folders will be called beside the manifest.
        clusters: The table of copies, a folder.
        manifest: A JSON file.
    """

    folders: Mapping[str, Path]
    names: Mapping[str, str]
    clusters: Path
    manifest: Path


@dataclass(frozen=True)
class CurateResult:
    """Counts of documents, and the figures of the metrics file."""

    counts: Counts
    figures: dict[str, Any]


@dataclass(frozen=True)
class _Documents:
    """What is known of all documents after the second pass, by position."""

    ids: IdStore
    found: Owners
    clusters: Clusters


def source_shards(folder: Path, sources: Sequence[str]) -> list[SourceShard]:
    """The shards of all sources, in the order of `sources`, from `folder`/<source>/documents.parquet.

    Raises:
        DataError: The folder holds a source that is not declared, or lacks one that is; or a shard cannot be read.
    """
    present = {path.name for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()
    extra = sorted(present - set(sources))
    if extra:
        raise DataError(
            f"{folder / extra[0]} belongs to no source of params.yaml (ingest.sources): delete the folder or declare it"
        )
    paths = [(source, path) for source in sources for path in shard_paths(folder / source / "documents.parquet")]
    return [SourceShard(source, path, _count_documents(path)) for source, path in paths]


def _count_documents(shard: Path) -> int:
    try:
        return int(pq.read_metadata(shard).num_rows)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{shard} is not a readable Parquet file ({error}): delete it and run `dvc repro`") from None


def curate(
    shards: Sequence[SourceShard],
    evaluations: Sequence[EvaluationSet],
    params: CurateParams,
    outputs: CurateOutputs,
    scratch: Path,
) -> CurateResult:
    """Drops copies and contaminated documents and splits the rest by a hash of the document id.

    Args:
        shards: All sources; of a cluster of copies the first document survives.
        evaluations: What must not be trained on.
        params: Thresholds and fractions.
        outputs: Where the results go.
        scratch: Folder for files in between, in one of its own that is emptied before and after. Nothing in it is of
            use to a later run, so it needs no fingerprint of the inputs for a name.

    Raises:
        DataError: A shard cannot be read, no text of an evaluation set is long enough to be found though that set's
            should be, or no document is left.
    """
    too_short = count_too_short(evaluations, params.decontaminate_words)
    with _empty_folder(scratch / ".curate.partial") as folder:
        documents = _examine(shards, evaluations, params, folder)
        fates = _decide(documents)
        counts = _count(fates)
        written = _write(shards, evaluations, params, outputs, documents, fates)
        _write_clusters(shards, params, outputs, documents)
    write_json(outputs.manifest, manifest_of(shards, written, outputs.names, params.deciding()))
    figures = {
        **split_figures(shards, written),
        "dropped_by_source": count_drops(shards, fates),
        "copies": {**cluster_figures(documents.clusters.firsts), "num_compared": documents.clusters.num_compared},
        "contaminated": count_contaminated(evaluations, documents.found[fates == _CONTAMINATED]),
        "too_short": too_short,
    }
    return CurateResult(counts, figures)


@contextmanager
def _empty_folder(folder: Path) -> Iterator[Path]:
    """A folder of this run alone: what a killed run left is removed before, and all of it after."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _examine(
    shards: Sequence[SourceShard], evaluations: Sequence[EvaluationSet], params: CurateParams, folder: Path
) -> _Documents:
    """The first two passes: looks at every shard, then links copies."""
    index = folder / "evaluation"
    texts = [entry.text for evaluation in evaluations for entry in evaluation.texts]
    index_runs(texts, params.decontaminate_words).save(index)
    num_documents = sum(shard.num_documents for shard in shards)
    finder = CopyFinder(
        num_documents, params.exact, params.minhash, params.memory_megabytes * _MEGABYTE, folder / "signatures"
    )
    found = np.empty(num_documents, np.int32)
    tasks = [
        ExamineTask(shard.path, folder / f"{number:05d}", index, params.exact, params.minhash)
        for number, shard in enumerate(shards)
    ]
    start = 0
    for path in run_tasks(examine_shard, tasks, "examine", "MB", lambda task: task.shard.stat().st_size / _MEGABYTE):
        examined = Examination.load(path)
        path.unlink()
        found[start : start + len(examined.ids)] = examined.found
        start += len(examined.ids)
        finder.add(examined.ids, examined.hashes, examined.signatures, examined.keys, examined.signed)
    return _Documents(finder.ids, found, finder.find())


def _decide(documents: _Documents) -> NDArray[np.int8]:
    clusters = documents.clusters
    survives = clusters.firsts == np.arange(len(clusters.firsts))
    clean = documents.found == NOBODY
    copy = np.where(clusters.exact, _EXACT, _NEAR)
    return np.where(survives, np.where(clean, KEPT, _CONTAMINATED), copy).astype(np.int8)


def _count(fates: NDArray[np.int8]) -> Counts:
    dropped = {reason: int((fates == place).sum()) for place, reason in enumerate(REASONS) if (fates == place).any()}
    counts = Counts(len(fates), int((fates == KEPT).sum()), dropped)
    if not len(fates):
        raise DataError("the cleaned sources hold no document: loosen the rules of `clean` or add sources")
    if not counts.num_out:
        reasons = ", ".join(f"{number} {reason}" for reason, number in dropped.items())
        raise DataError(
            f"no document is left of {counts.num_in} ({reasons}): raise curate.decontaminate_words, or remove the "
            "sources that hold evaluation texts"
        )
    return counts


def _write(
    shards: Sequence[SourceShard],
    evaluations: Sequence[EvaluationSet],
    params: CurateParams,
    outputs: CurateOutputs,
    documents: _Documents,
    fates: NDArray[np.int8],
) -> list[WrittenShard]:
    """The third pass: writes every document to its split, or to the dropped ones with what decided."""
    samples = np.array(
        [entry.sample_id.encode() for evaluation in evaluations for entry in evaluation.texts], np.bytes_
    )
    rule = SplitRule(params.minhash.seed, params.validation_fraction, params.test_fraction)
    tasks = []
    start = 0
    for number, shard in enumerate(shards):
        end = start + shard.num_documents
        rows = start + np.flatnonzero(fates[start:end] != KEPT)
        contaminated = fates[rows] == _CONTAMINATED
        survivors = documents.ids.get(documents.clusters.firsts[rows])
        details = survivors.astype(np.promote_types(samples.dtype, survivors.dtype))
        details[contaminated] = samples[documents.found[rows[contaminated]]]
        tasks.append(WriteTask(shard.path, number, outputs.folders, fates[start:end], details, rule))
        start = end
    sizes = run_tasks(write_shard, tasks, "write", "MB", lambda task: task.shard.stat().st_size / _MEGABYTE)
    return [written for result in sizes for written in result]


def _write_clusters(
    shards: Sequence[SourceShard], params: CurateParams, outputs: CurateOutputs, documents: _Documents
) -> None:
    ends = np.cumsum([shard.num_documents for shard in shards])
    write_clusters(
        outputs.clusters,
        documents.clusters,
        params.minhash.num_permutations,
        documents.ids,
        lambda rows: [shards[place].source for place in np.searchsorted(ends, rows, side="right")],
    )
