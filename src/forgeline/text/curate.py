"""From cleaned documents of all sources to a corpus: no copies, no evaluation questions, and a split.

Copies go first, so only one of a cluster of near copies is there to be split: near copies cannot straddle the split.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pyarrow as pa
from pydantic import Field, model_validator

from forgeline.core.errors import DataError
from forgeline.core.params import Section
from forgeline.core.records import DOCUMENTS, EvalSample, read_documents
from forgeline.core.run import Counts
from forgeline.text.decontaminate import find_contaminated
from forgeline.text.dedup import find_copies
from forgeline.text.funnel import DroppedRow, count_reasons, dropped_table
from forgeline.text.minhash import MinHashParams
from forgeline.text.split import SPLITS, Split, assign_split

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


class CurateParams(Section):
    """Section `curate`.

    Attributes:
        minhash: How near copies are found; its seed also salts the split.
        decontaminate_words: A document that shares a run of so many words with an evaluation question is dropped.
        validation_fraction: Expected share of documents in validation.
        test_fraction: Expected share of documents in test.
    """

    minhash: MinHashParams
    decontaminate_words: Annotated[int, Field(ge=1)]
    validation_fraction: Fraction
    test_fraction: Fraction

    @model_validator(mode="after")
    def _leave_some_for_training(self) -> "CurateParams":
        if self.validation_fraction + self.test_fraction >= 1.0:
            raise ValueError("validation_fraction + test_fraction must be below 1: lower one of them")
        return self


@dataclass(frozen=True)
class CurateResult:
    """The documents of each split in input order, dropped ones with reasons, and the counts."""

    splits: dict[Split, pa.Table]
    dropped: pa.Table
    counts: Counts


def read_sources(folder: Path, sources: Sequence[str]) -> pa.Table:
    """The documents of all sources, in the order of `sources`, from `folder`/<source>/documents.parquet.

    Raises:
        DataError: The folder holds a source that is not declared, or lacks one that is.
    """
    present = {path.name for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()
    extra = sorted(present - set(sources))
    if extra:
        raise DataError(
            f"{folder / extra[0]} belongs to no source of params.yaml (ingest.sources): delete the folder or declare it"
        )
    return pa.concat_tables([read_documents(folder / source / "documents.parquet") for source in sources])


def curate(documents: pa.Table, samples: Sequence[EvalSample], params: CurateParams) -> CurateResult:
    """Drops copies and contaminated documents and splits the rest by a hash of the document id.

    Args:
        documents: All sources; of a cluster of copies the first row survives.
        samples: The evaluation questions.
        params: Thresholds and fractions.
    """
    texts = documents["text"].to_pylist()
    ids = documents["doc_id"].to_pylist()
    fates = {copy.index: (copy.reason, ids[copy.survivor]) for copy in find_copies(texts, params.minhash)}
    unique = [index for index in range(len(texts)) if index not in fates]
    contaminated = find_contaminated([texts[index] for index in unique], samples, params.decontaminate_words)
    fates |= {unique[place]: ("contaminated", sample_id) for place, sample_id in contaminated.items()}
    sources = documents["source"].to_pylist()
    dropped = dropped_table(
        DroppedRow(ids[index], texts[index], sources[index], *fates[index]) for index in sorted(fates)
    )
    splits = _split(documents, [index for index in range(len(texts)) if index not in fates], params)
    num_kept = sum(table.num_rows for table in splits.values())
    return CurateResult(splits, dropped, Counts(documents.num_rows, num_kept, count_reasons(dropped)))


def _split(documents: pa.Table, kept: Sequence[int], params: CurateParams) -> dict[Split, pa.Table]:
    rows: dict[Split, list[int]] = {split: [] for split in SPLITS}
    ids = documents["doc_id"].to_pylist()
    for index in kept:
        split = assign_split(ids[index], params.minhash.seed, params.validation_fraction, params.test_fraction)
        rows[split].append(index)
    return {split: documents.take(pa.array(chosen, pa.int64())).cast(DOCUMENTS) for split, chosen in rows.items()}
