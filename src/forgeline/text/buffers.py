"""Arrow string columns as the two arrays that kernels work on, and back, without copying the text."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from forgeline.text.kernels.splice import splice

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]

_NO_BYTES = np.frombuffer(b"", np.uint8)


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """A column of a table as one array."""
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def as_buffers(texts: pa.Array) -> tuple[Bytes, Offsets]:
    """The UTF-8 bytes of an array without nulls, and where each text begins (one more: where the last ends)."""
    wide = pa.types.is_large_string(texts.type)
    if len(texts) == 0:
        return _NO_BYTES, np.zeros(1, np.int64)
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, np.int64 if wide else np.int32)
    starts = bounds[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    content = np.frombuffer(data, np.uint8) if data is not None else _NO_BYTES
    content.flags.writeable = False  # always, since kernels are compiled for arrays that are or are not
    return content, starts


def from_buffers(content: Bytes, starts: Offsets) -> pa.Array:
    """The texts whose bytes lie one after another in `content`, as `pa.string()`.

    Raises:
        pa.ArrowInvalid: They hold more than 2 GiB, which one array of this type cannot.
    """
    if starts[-1] > np.iinfo(np.int32).max:
        raise pa.ArrowInvalid(f"{starts[-1]} bytes of text do not fit one array: make the shards smaller")
    buffers = [None, pa.py_buffer(starts.astype(np.int32)), pa.py_buffer(content)]
    return pa.Array.from_buffers(pa.string(), len(starts) - 1, buffers)


def replaced(texts: pa.Array, changes: Mapping[int, str]) -> pa.Array:
    """The texts with some of them, given by position, put in place of the old ones."""
    if not changes:
        return texts
    content, starts = as_buffers(texts)
    positions = np.fromiter(sorted(changes), np.int64, len(changes))
    news: list[Any] = [changes[int(position)].encode("utf-8") for position in positions]
    new_starts = np.zeros(len(news) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, news), np.int64, len(news)), out=new_starts[1:])
    new_content = np.frombuffer(bytearray().join(news), np.uint8)  # writable, as what other kernels hand to `splice`
    return from_buffers(*splice(content, starts, positions, new_content, new_starts))
