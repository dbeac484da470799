"""Rows of any columns on their way into Parquet shards: how many are taken, and where one shard ends.

Both are decided row by row, from the content alone, so that the bytes do not depend on the batches that rows come in.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from forgeline.core.errors import DataError
from forgeline.core.shards import shard_path
from forgeline.core.storage import write_table


class RowBudget:
    """How many rows, and how much text, may still be taken."""

    def __init__(self, max_rows: int | None, max_bytes: int | None) -> None:
        self._rows = max_rows
        self._bytes = max_bytes
        self.is_spent = False

    def take(self, sizes: npt.NDArray[np.int64]) -> int:
        """Of rows with these bytes of text, how many are taken; the one that reaches the budget is the last."""
        num_taken = len(sizes) if self._rows is None else min(len(sizes), self._rows)
        if self._bytes is not None:
            num_short = int(np.searchsorted(np.cumsum(sizes), self._bytes))
            if num_short < num_taken:
                num_taken = num_short + 1
                self.is_spent = True
            self._bytes -= int(sizes[:num_taken].sum())
        if self._rows is not None:
            self._rows -= num_taken
            self.is_spent |= self._rows == 0
        return num_taken


class RowShards:
    """Writes rows into numbered shards; which row is in which depends on the rows alone, not on how they arrive."""

    def __init__(self, folder: Path, max_bytes: int, max_rows: int) -> None:
        """Starts an empty folder.

        Args:
            folder: Made if it is not there.
            max_bytes: Of text, after which a shard is full; the row that reaches it still belongs to it.
            max_rows: After which a shard is full whatever its text.
        """
        self.num_rows = 0
        self._max_bytes, self._max_rows = max_bytes, max_rows
        self._folder = folder
        self._schema: pa.Schema | None = None
        self._pending: list[pa.Table] = []
        self._pending_rows = self._pending_bytes = self._num_shards = 0
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, table: pa.Table, sizes: npt.NDArray[np.int64]) -> None:
        """Adds rows with these bytes of text."""
        table = self._same_columns(table)
        self.num_rows += table.num_rows
        while table.num_rows:
            full = int(np.searchsorted(np.cumsum(sizes), self._max_bytes - self._pending_bytes)) + 1
            taken = min(full, self._max_rows - self._pending_rows, table.num_rows)
            self._pending.append(table.slice(0, taken))
            self._pending_rows += taken
            self._pending_bytes += int(sizes[:taken].sum())
            if self._pending_bytes >= self._max_bytes or self._pending_rows >= self._max_rows:
                self.flush()
            table, sizes = table.slice(taken), sizes[taken:]

    def flush(self) -> None:
        """Writes what waits for a shard to be full."""
        if not self._pending:
            return
        write_table(shard_path(self._folder, self._num_shards), pa.concat_tables(self._pending).combine_chunks())
        self._num_shards += 1
        self._pending, self._pending_rows, self._pending_bytes = [], 0, 0

    def _same_columns(self, table: pa.Table) -> pa.Table:
        if self._schema is None:
            self._schema = table.schema.remove_metadata()
        try:
            return table.cast(self._schema)
        except (pa.ArrowException, ValueError) as error:  # ValueError: other names, or in another order
            raise DataError(
                f"rows from {self.num_rows + 1:,} on have other columns, or columns of other types, than the first "
                f"({' '.join(str(error).split())}): have the dataset's card declare its features, or set streaming to "
                "false, which looks further before it decides on types"
            ) from None


def text_bytes_of_rows(table: pa.Table) -> npt.NDArray[np.int64]:
    """UTF-8 bytes of the text in each row, over all columns and however deep in lists and structs; int64."""
    sizes = np.zeros(table.num_rows, dtype=np.int64)
    for column in table.combine_chunks().columns:
        if column.num_chunks:
            sizes += _text_bytes(column.chunk(0))
    return sizes


def _text_bytes(array: pa.Array) -> npt.NDArray[np.int64]:
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return _text_bytes(array.storage)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return np.asarray(pc.fill_null(pc.binary_length(array), 0)).astype(np.int64)
    sizes = np.zeros(len(array), dtype=np.int64)
    if pa.types.is_struct(kind):
        for child in array.flatten():
            sizes += _text_bytes(child)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        np.add.at(sizes, np.asarray(pc.list_parent_indices(array)), _text_bytes(pc.list_flatten(array)))
    return sizes
