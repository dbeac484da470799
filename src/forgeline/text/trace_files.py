"""Looking things up in the outputs of the data stages, shard by shard, for `trace`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from forgeline.core.errors import DataError
from forgeline.core.shards import shard_paths
from forgeline.core.storage import read_json
from forgeline.text.evaluation_texts import EvaluationSet

_PREVIEW_CHARACTERS = 160


@dataclass(frozen=True)
class Folders:
    """Where the stages put what is searched and their figures; the paths are those of dvc.yaml.

    Attributes:
        data: The folder `data`.
        metrics: The folder `metrics`.
        task_texts: Reads the texts of task files, which is no work of this room; without it words that a document
            shares with one of them are not shown.
    """

    data: Path
    metrics: Path
    task_texts: Callable[[], EvaluationSet] | None = None

    @property
    def ingest(self) -> Path:
        """Documents as their sources gave them."""
        return self.data / "ingest"

    @property
    def clean(self) -> Path:
        """Cleaned documents."""
        return self.data / "clean"

    @property
    def curate(self) -> Path:
        """The splits, and what was dropped last."""
        return self.data / "curate"

    @property
    def holdout(self) -> Path:
        """Test documents that models are scored on."""
        return self.data / "holdout" / "documents.parquet"

    @property
    def questions(self) -> Path:
        """Held-out questions."""
        return self.data / "instructions" / "test.parquet"

    @property
    def pairs(self) -> Path:
        """Held-out preference pairs."""
        return self.data / "preferences" / "test.parquet"


def unread_behind(folders: Folders, source: str) -> str:
    """The knob, with its value, at which reading the source ended; empty if all of its documents are known.

    Files are read no further than their budget. Packaged data are: what lies beyond is among the dropped documents.
    """
    path = folders.metrics / "ingest" / f"{source}.json"
    figures = read_json(path) if path.exists() else {}
    if "files" not in figures or not figures["budget"]["reached"]:
        return ""
    most = figures["budget"]["max_documents"]
    is_full = most is not None and figures["documents"]["num_documents"] >= most
    knob = "max_documents" if is_full else "max_tokens"
    return f"ingest.sources.{source}.{knob} ({figures['budget'][knob]})"


def matches(path: Path, column: str, wanted: str) -> Iterator[tuple[int, int, str]]:
    """Shard, row and id of the rows whose id begins with `wanted`, or whose text contains it."""
    for shard, file in enumerate(shards_if_any(path)):
        table = read_columns(file, ["doc_id"] if column == "doc_id" else ["doc_id", "text"])
        matching = (pc.starts_with if column == "doc_id" else pc.match_substring)(table[column], wanted)
        for row in _true_rows(matching):
            yield shard, row, table["doc_id"][row].as_py()


def read_columns(file: Path, names: Sequence[str]) -> pa.Table:
    """Some columns of a shard.

    Raises:
        DataError: It is not a Parquet file with these columns.
    """
    try:
        return pq.read_table(file, columns=list(names))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} is not a readable Parquet file ({error}): delete it and run `dvc repro`") from None


def kept_rows(folders: Folders, source: str, shard: int) -> list[int]:
    """The rows of a shard of `ingest` that `clean` kept, in order: row k of its own shard was made from the k-th.

    Raises:
        DataError: The shards of the two stages do not belong together.
    """
    ingested = read_columns(shard_paths(folders.ingest / source / "documents.parquet")[shard], ["doc_id"])
    dropped = read_columns(shard_paths(folders.clean / source / "dropped.parquet")[shard], ["doc_id"])
    cleaned = shard_paths(folders.clean / source / "documents.parquet")[shard]
    kept = pc.invert(pc.is_in(ingested["doc_id"], value_set=dropped["doc_id"].combine_chunks()))
    rows = _true_rows(kept)
    if len(rows) != pq.read_metadata(cleaned).num_rows:
        raise DataError(f"{cleaned} was not made from the documents in {folders.ingest / source}: run `dvc repro`")
    return rows


def origin_of(folders: Folders, source: str, shard: int, row: int) -> tuple[int, str]:
    """The row and id in `ingest` of a cleaned document, given by its shard and row."""
    origin = kept_rows(folders, source, shard)[row]
    file = shard_paths(folders.ingest / source / "documents.parquet")[shard]
    return origin, read_columns(file, ["doc_id"])["doc_id"][origin].as_py()


def find_row(path: Path, doc_id: str, source: str | None = None) -> dict[str, Any] | None:
    """The first row with this id (and source), or None."""
    for shard in shards_if_any(path):
        ids = read_columns(shard, ["doc_id", "source"])
        chosen = pc.equal(ids["doc_id"], doc_id)
        if source is not None:
            chosen = pc.and_(chosen, pc.equal(ids["source"], source))
        if rows := _true_rows(chosen):
            row: dict[str, Any] = pq.read_table(shard).slice(rows[0], 1).to_pylist()[0]
            return row
    return None


def shards_if_any(path: Path) -> list[Path]:
    """The shards of a table; none if the stage that writes it has not run."""
    return shard_paths(path) if path.exists() else []


def preview(text: str, num_characters: int = 160) -> str:
    """The beginning of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= num_characters else line[: num_characters - 1] + "…"


def _true_rows(mask: pa.ChunkedArray) -> list[int]:
    """Positions at which a mask is true. Not by `pc.indices_nonzero`: pyarrow 25 crashes on a mask without chunks."""
    rows: list[int] = np.flatnonzero(mask.to_numpy()).tolist()
    return rows
