"""What `curate` does with one shard: first look at it, later write its documents to where they belong.

Both are tasks for `runner.tasks`: they read and write files themselves, and all they are given can be pickled.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from forgeline.core.records import DOCUMENTS, DROPPED
from forgeline.core.shards import shard_path
from forgeline.core.storage import read_table, sha256_path, write_table
from forgeline.text.buffers import as_buffers, one_array
from forgeline.text.decontaminate import RunIndex, find_runs
from forgeline.text.exact import content_hashes
from forgeline.text.kernels.minhash import Signatures
from forgeline.text.kernels.runs import Owners
from forgeline.text.kernels.shingles import Hashes
from forgeline.text.measure import text_figures
from forgeline.text.minhash import MinHashParams, has_shingles, hash_bands, sign
from forgeline.text.shingles import Units, hash_units
from forgeline.text.signature_store import ID_BYTES
from forgeline.text.split import SPLITS, assign_splits

REASONS = ("exact_duplicate", "near_duplicate", "contaminated")
_PART_BYTES = 500_000  # of text that is hashed at once
KEPT = np.int8(-1)  # a fate is this or a position in REASONS
FOLDERS = (*SPLITS, "dropped")


@dataclass(frozen=True)
class Examination:
    """What is known of the N documents of a shard.

    Attributes:
        ids: Their ids as bytes.
        hashes: Content hashes, shape (N, 2), or (0, 2) when exact copies are not looked for.
        signatures: Shape (N, num_permutations), or (N, 0) when near copies are not looked for.
        keys: Of the bands of those that are signed, shape (num_bands, number of them).
        signed: Which have a signature that says something.
        found: The evaluation text that each shares a run of words with, or `NOBODY`.
    """

    ids: NDArray[np.bytes_]
    hashes: Hashes
    signatures: Signatures
    keys: Hashes
    signed: NDArray[np.bool_]
    found: Owners

    def save(self, path: Path) -> None:
        """Writes all of it to one file."""
        with path.open("wb") as file:
            for entry in fields(self):
                np.save(file, getattr(self, entry.name), allow_pickle=False)

    @classmethod
    def load(cls, path: Path) -> "Examination":
        """Reads what `save` wrote."""
        with path.open("rb") as file:
            return cls(*(np.load(file, allow_pickle=False) for _ in fields(cls)))


@dataclass(frozen=True)
class ExamineTask:
    """A shard to look at.

    Attributes:
        shard: Its file.
        result: Where the examination goes.
        index: Folder of the index of evaluation texts.
        exact: Whether exact copies are looked for.
        minhash: Whether and how near copies are looked for.
    """

    shard: Path
    result: Path
    index: Path
    exact: bool
    minhash: MinHashParams


def examine_shard(task: ExamineTask) -> Path:
    """Hashes, signs and searches the documents of a shard; returns the file that says so.

    Raises:
        DataError: The shard cannot be read.
    """
    index = RunIndex.load(task.index)
    parts = [_examine(part, index, task) for part in _parts(read_table(task.shard, DOCUMENTS))]
    Examination(
        *(
            np.concatenate([getattr(part, entry.name) for part in parts], axis=1 if entry.name == "keys" else 0)
            for entry in fields(Examination)
        )
    ).save(task.result)
    return task.result


def _parts(documents: pa.Table) -> Iterator[pa.Table]:
    """The table in pieces whose hashes stay in the processor's cache; at least one, which may be empty."""
    _, offsets = as_buffers(one_array(documents["text"]))
    targets = np.arange(offsets[0] + _PART_BYTES, offsets[-1], _PART_BYTES)
    cuts = [0, *np.unique(np.searchsorted(offsets, targets)).tolist(), documents.num_rows]
    for start, end in pairwise(cuts):
        if end > start or documents.num_rows == 0:
            yield documents.slice(start, end - start)


def _examine(documents: pa.Table, index: RunIndex, task: ExamineTask) -> Examination:
    texts = documents["text"]
    words = hash_units(texts, "words")
    signatures, keys, signed = _sign(texts, words, task.minhash)
    return Examination(
        ids=np.array(documents["doc_id"].to_pylist(), f"S{ID_BYTES}"),
        hashes=content_hashes(texts) if task.exact else np.empty((0, 2), np.uint64),
        signatures=signatures,
        keys=keys,
        signed=signed,
        found=find_runs(words, index),
    )


def _sign(texts: pa.ChunkedArray, words: Units, params: MinHashParams) -> tuple[Signatures, Hashes, NDArray[np.bool_]]:
    if not params.enabled:
        return np.empty((len(texts), 0), np.uint32), np.empty((0, 0), np.uint64), np.zeros(len(texts), np.bool_)
    units = words if params.shingle_unit == "words" else hash_units(texts, params.shingle_unit)
    signatures, signed = sign(units, params), has_shingles(units, params)
    return signatures, hash_bands(signatures[signed], params.bands()), signed


@dataclass(frozen=True)
class SplitRule:
    """How documents are split; see `assign_split`."""

    seed: int
    validation_fraction: float
    test_fraction: float


@dataclass(frozen=True)
class WriteTask:
    """A shard whose fate is decided.

    Attributes:
        shard: Its file.
        number: Its number among the shards of all sources, and that of the shards written.
        folders: Where each of `FOLDERS` lies.
        fates: Of each document `KEPT` or a position in `REASONS`.
        details: Of each dropped document the id of the survivor or of the evaluation sample, as bytes.
        split: How the kept documents are split.
    """

    shard: Path
    number: int
    folders: Mapping[str, Path]
    fates: NDArray[np.int8]
    details: NDArray[np.bytes_]
    split: SplitRule


@dataclass(frozen=True)
class WrittenShard:
    """A shard that was written: a line of the manifest, and the figures of its text."""

    folder: str
    number: int
    sha256: str
    file_bytes: int
    figures: Mapping[str, int]


def write_shard(task: WriteTask) -> list[WrittenShard]:
    """Writes a shard's documents to their splits or, with reasons, to the dropped ones: one shard each, empty or not.

    Raises:
        DataError: The shard cannot be read.
    """
    documents = read_table(task.shard, DOCUMENTS)
    rule = task.split
    splits = assign_splits(documents["doc_id"].to_pylist(), rule.seed, rule.validation_fraction, rule.test_fraction)
    kept = task.fates == KEPT
    tables: dict[str, pa.Table] = {
        name: documents.filter(pa.array(kept & (splits == place))) for place, name in enumerate(SPLITS)
    }
    tables["dropped"] = _with_reasons(documents.filter(pa.array(~kept)), task.fates[~kept], task.details)
    return [_write(task.folders[name], name, task.number, table) for name, table in tables.items()]


def _with_reasons(documents: pa.Table, fates: NDArray[np.int8], details: NDArray[np.bytes_]) -> pa.Table:
    reasons: Any = pa.DictionaryArray.from_arrays(pa.array(fates), pa.array(REASONS))
    named = documents.append_column("reason", reasons.cast(pa.string()))
    return named.append_column("detail", pa.array(details.tolist(), pa.binary()).cast(pa.string())).cast(DROPPED)


def _write(folder: Path, name: str, number: int, table: pa.Table) -> WrittenShard:
    path = shard_path(folder, number)
    write_table(path, table)
    return WrittenShard(name, number, sha256_path(path), path.stat().st_size, text_figures(table))
