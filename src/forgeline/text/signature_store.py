"""What is kept of every document while copies are looked for: in memory as long as it fits a budget, else in files.

Both ways yield the same pairs in the same order, so the result does not depend on the budget.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgeline.text.kernels.linking import Rows, sort_pairs
from forgeline.text.kernels.minhash import Signatures
from forgeline.text.kernels.shingles import Hashes

ID_BYTES = 32  # hex digits of a document id
# What Linux may map at once when one byte of a file is looked at.
_BYTES_AROUND_A_ROW = 65_536
# Of a key and its row, as read, as two arrays, and as copies of these while they are sorted.
BYTES_PER_SORTED_PAIR = 48
_MAX_PARTITIONS = 256
_KEY_BITS = 64


class RowStore:
    """An array of 32-bit numbers with one row for each document, filled from the front.

    Attributes:
        rows_at_once: So many may be looked at before `release` is called.
    """

    def __init__(self, num_rows: int, width: int, memory_bytes: int, file: Path | None) -> None:
        """Starts without rows.

        Args:
            num_rows: How many there will be.
            width: Numbers in a row.
            memory_bytes: What rows of a file may take while they are looked at.
            file: Where they are kept; None keeps them in memory.
        """
        self._shape = (num_rows, width)
        self._file = file
        self._num_filled = 0
        self._rows = np.empty(self._shape if file is None else (0, width), np.uint32)
        self._map: Any = None
        self.rows_at_once = max(1, num_rows if file is None else memory_bytes // (2 * _BYTES_AROUND_A_ROW))
        if file is not None:
            file.write_bytes(b"")

    def append(self, rows: Signatures) -> None:
        """Adds the next rows."""
        if self._file is None:
            self._rows[self._num_filled : self._num_filled + len(rows)] = rows
        else:
            with self._file.open("ab") as file:
                file.write(np.ascontiguousarray(rows, np.uint32).data)
        self._num_filled += len(rows)

    def rows(self) -> Signatures:
        """All rows, once every one was added; those of a file are read where they are looked at."""
        if self._file is None or 0 in self._shape:
            return self._rows
        if self._map is None:
            self._map = np.memmap(self._file, np.uint32, "r+", shape=self._shape)
        return np.asarray(self._map)

    def release(self) -> None:
        """Lets go of the memory that holds rows of the file that were looked at."""
        if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._map._mmap.madvise(mmap.MADV_DONTNEED)


class IdStore:
    """The ids of all documents, filled from the front."""

    def __init__(self, num_documents: int, memory_bytes: int, file: Path | None) -> None:
        """Starts without ids; see `RowStore`."""
        self._rows = RowStore(num_documents, ID_BYTES // 4, memory_bytes, file)

    def append(self, ids: NDArray[np.bytes_]) -> None:
        """Adds the ids of the next documents, `ID_BYTES` each."""
        self._rows.append(ids.view(np.uint32).reshape(-1, ID_BYTES // 4))

    def get(self, rows: Rows) -> NDArray[np.bytes_]:
        """The ids of some documents."""
        ids = np.empty(len(rows), f"S{ID_BYTES}")
        for start in range(0, len(rows), self._rows.rows_at_once):
            chosen = rows[start : start + self._rows.rows_at_once]
            ids[start : start + len(chosen)] = self._rows.rows()[chosen].view(f"S{ID_BYTES}").reshape(-1)
            self._rows.release()
        return ids


class KeyStore:
    """Columns of (key, row) pairs, filled in the order of rows, read in the order of keys.

    In files a column is cut into partitions by the upper bits of the key, so that one fits the budget.
    """

    def __init__(self, num_columns: int, num_pairs: int, memory_bytes: int, folder: Path | None) -> None:
        """Starts without pairs.

        Args:
            num_columns: Keys of each row.
            num_pairs: Most pairs that a column will have.
            memory_bytes: What a partition may take while it is sorted.
            folder: Where partitions are kept, one file each; None keeps all in memory.
        """
        self._num_columns = num_columns
        self._folder = folder
        self._num_filled = 0
        in_memory = num_pairs if folder is None else 0
        self._keys = np.empty((num_columns, in_memory), np.uint64)
        self._rows = np.empty(in_memory, np.int64)
        wanted = num_pairs * BYTES_PER_SORTED_PAIR / memory_bytes
        self._partition_bits = 0
        while self._partition_bits < _MAX_PARTITIONS.bit_length() - 1 and wanted > 1 << self._partition_bits:
            self._partition_bits += 1
        if folder is not None:
            folder.mkdir()

    def append(self, keys: Hashes, rows: Rows) -> None:
        """Adds the keys of the next rows, shape (num_columns, len(rows))."""
        if self._folder is None:
            self._keys[:, self._num_filled : self._num_filled + len(rows)] = keys
            self._rows[self._num_filled : self._num_filled + len(rows)] = rows
            self._num_filled += len(rows)
            return
        for column in range(self._num_columns):
            self._write(column, keys[column], rows)

    def _write(self, column: int, keys: Hashes, rows: Rows) -> None:
        partitions = keys >> np.uint64(_KEY_BITS - self._partition_bits) if self._partition_bits else keys * 0
        order = np.argsort(partitions, kind="stable")
        ends = np.searchsorted(partitions[order], np.arange(1 << self._partition_bits), side="right")
        start = 0
        for partition, end in enumerate(ends):
            if end > start:
                chosen = order[start:end]
                with self._path(column, partition).open("ab") as file:
                    file.write(np.stack([keys[chosen], rows[chosen].view(np.uint64)], axis=1).data)
            start = end

    def sorted_pairs(self) -> Iterator[tuple[Hashes, Rows]]:
        """Keys, ascending, and their rows, ascending where keys are equal: column by column, each in parts.

        No key is in two parts of a column. The next part takes the place of the one before. Files are removed once they
        have been read.
        """
        for keys, rows in self._parts_in_memory() if self._folder is None else self._parts_in_files():
            sort_pairs(keys, rows)
            yield keys, rows

    def _parts_in_memory(self) -> Iterator[tuple[Hashes, Rows]]:
        keys, rows = np.empty(self._num_filled, np.uint64), np.empty(self._num_filled, np.int64)
        for column in self._keys:
            keys[:] = column[: self._num_filled]
            rows[:] = self._rows[: self._num_filled]
            yield keys, rows

    def _parts_in_files(self) -> Iterator[tuple[Hashes, Rows]]:
        for column in range(self._num_columns):
            for partition in range(1 << self._partition_bits):
                path = self._path(column, partition)
                if path.exists():
                    pairs = np.fromfile(path, np.uint64).reshape(-1, 2)
                    path.unlink()
                    yield pairs[:, 0].copy(), pairs[:, 1].copy().view(np.int64)

    def _path(self, column: int, partition: int) -> Path:
        assert self._folder is not None
        return self._folder / f"{column:03d}-{partition:03d}"
