"""Large tables as folders of Parquet shards: `documents.parquet/00000.parquet`, `00001.parquet`, ...

A shard is the unit of work: stages map shards to shards, so memory stays constant and workers need no coordination.
What is in which shard is decided by the data alone, never by the number of workers, so that the bytes are the same for
any. pandas and pyarrow read such a folder like a file.
"""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from forgeline.core.errors import DataError
from forgeline.core.storage import read_table, write_table


def shard_path(folder: Path, number: int) -> Path:
    """Where the shard with this number (from 0) lies."""
    return folder / f"{number:05d}.parquet"


def shard_paths(path: Path) -> list[Path]:
    """The shards of a folder in order, or the one file that `path` is.

    Raises:
        DataError: Nothing is there.
    """
    if path.is_file():
        return [path]
    found = sorted(path.glob("*.parquet"), key=lambda shard: (len(shard.name), shard.name))
    if not found:
        raise DataError(f"{path} does not exist or holds no shard: run `dvc repro` to make it")
    return found


def iter_shards(path: Path, schema: pa.Schema) -> Iterator[pa.Table]:
    """The shards of a folder one after another; raises `DataError` as `shard_paths` and `read_table` do."""
    for shard in shard_paths(path):
        yield read_table(shard, schema)


def num_rows(path: Path) -> int:
    """Rows of all shards, by their footers.

    Raises:
        DataError: As `shard_paths`, or a shard is not Parquet.
    """
    return sum(_num_rows(shard) for shard in shard_paths(path))


def _num_rows(shard: Path) -> int:
    try:
        return int(pq.read_metadata(shard).num_rows)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{shard} is not a readable Parquet file ({error}): delete it and run `dvc repro`") from None


class ShardWriter:
    """Writes rows into numbered shards of a folder. With no rows it still writes one shard, which tells the columns.

    A shard is full once its text reaches `max_bytes`; a table is cut between rows, so a long row may exceed it.
    """

    def __init__(self, folder: Path, schema: pa.Schema, max_bytes: int, measure: str = "text") -> None:
        """Starts an empty folder.

        Args:
            folder: Made if it is not there.
            schema: The columns of every table that will be written.
            max_bytes: UTF-8 bytes of the column `measure` in one shard, at least 1.
            measure: The column whose bytes are counted.
        """
        self.num_shards = 0
        self._folder = folder
        self._schema = schema
        self._max_bytes = max_bytes
        self._measure = measure
        self._pending: list[pa.Table] = []
        self._pending_bytes = 0
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and (self._pending or self.num_shards == 0):
            self._flush()

    def write(self, table: pa.Table) -> None:
        """Adds rows after those written before."""
        while table.num_rows:
            ends = pc.cumulative_sum(pc.binary_length(table[self._measure]).cast(pa.int64()))
            fitting = int(pc.sum(pc.less(ends, self._max_bytes - self._pending_bytes)).as_py() or 0)
            taken = min(fitting + 1, table.num_rows)  # the row that reaches the limit still belongs to the shard
            self._pending.append(table.slice(0, taken))
            self._pending_bytes += ends[taken - 1].as_py() or 0
            if self._pending_bytes >= self._max_bytes:
                self._flush()
            table = table.slice(taken)

    def _flush(self) -> None:
        rows = pa.concat_tables(self._pending) if self._pending else self._schema.empty_table()
        write_table(shard_path(self._folder, self.num_shards), rows.cast(self._schema))
        self.num_shards += 1
        self._pending = []
        self._pending_bytes = 0
