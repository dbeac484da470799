"""The bytes of a file, unpacked on the way and never all in memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from forgeline.core.errors import DataError
from forgeline.sources.formats.limits import Reading

BLOCK_BYTES = 1 << 20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}


def blocks(path: Path, reading: Reading | None, start: int = 0, block_bytes: int = BLOCK_BYTES) -> Iterator[bytes]:
    """The unpacked bytes of a file in pieces of at most `block_bytes`.

    Args:
        path: Packed if its name ends in `.gz` or `.zst`.
        reading: Counts the bytes; None reads without limits.
        start: First byte, for files that are not packed.
        block_bytes: How much is read at once.

    Raises:
        DataError: The file is missing, a folder, damaged, or larger than the source may be.
    """
    with _open(path) as file:
        if start:
            file.seek(start)
        while True:
            try:
                block: bytes = file.read(block_bytes)
            except OSError as error:
                if error.errno is not None:  # the system's, not the unpacker's
                    raise
                raise _damaged(path, error) from None
            if not block:
                return
            if reading is not None:
                reading.count(len(block), path)
            yield block


def line_number(path: Path, offset: int) -> int:
    """The line (from 1) that holds the unpacked byte at `offset`; reads the file up to there."""
    line = 1
    for block in blocks(path, None):
        line += block.count(b"\n", 0, min(offset, len(block)))
        offset -= len(block)
        if offset <= 0:
            break
    return line


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    if path.is_dir():
        raise DataError(f"{path} is a folder: name a file")
    try:
        with path.open("rb", buffering=0) as plain:
            compression = COMPRESSIONS.get(path.suffix.lower())
            yield pa.CompressedInputStream(pa.PythonFile(plain, "r"), compression) if compression else plain
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: correct its path in params.yaml or put the file there") from None


def _damaged(path: Path, error: OSError) -> DataError:
    if "too much memory" in str(error):
        return DataError(f"{path}: packed with a window of more than 128 MB: pack it again without `zstd --long`")
    return DataError(f"{path} is damaged or not complete ({error}): fetch or pack it again")
