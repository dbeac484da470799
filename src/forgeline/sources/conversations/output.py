"""Chats as files of the format `messages`: JSON lines, a JSON array or Parquet, the first two also packed.

A file is written beside its place and renamed when it is complete, so a failure leaves what was there before. Its bytes
depend on the chats and the library versions alone.
"""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from forgeline.core.errors import DataError
from forgeline.core.records import MESSAGES
from forgeline.sources.conversations.multi_turn import WITHOUT_PROMPT, Chat
from forgeline.sources.formats.unpacked import COMPRESSIONS

_SCHEMA = pa.schema([("messages", MESSAGES), ("tools", pa.string()), ("format", pa.string())])
_ROWS_PER_GROUP = 4096
_BUFFER_BYTES = 1 << 16


class ChatWriter:
    """Writes chats to the file at `path`, whose name tells the kind; use it in a `with` block."""

    def __init__(self, path: Path) -> None:
        """Opens the file.

        Raises:
            DataError: The name tells no kind that can be written.
        """
        self.num_written = 0
        self._path = path
        self._partial = path.with_name(f".{path.name}.partial")
        make = _sink_of(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._sink = make(self._partial, COMPRESSIONS.get(path.suffix.lower()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._sink.close()
        except OSError:
            self._partial.unlink(missing_ok=True)
            if kind is None:
                raise
        if kind is None:
            self._partial.replace(self._path)
        else:
            self._partial.unlink(missing_ok=True)

    def write(self, chats: Sequence[Chat]) -> None:
        """Adds chats."""
        self.num_written += len(chats)
        self._sink.write(chats)


def row_of(chat: Chat) -> dict[str, Any]:
    """The record of a chat in the format `messages`; a text that answers nothing says so in `format`."""
    messages, tools = chat
    row: dict[str, Any] = {"messages": messages}
    if tools:
        row["tools"] = tools
    if messages[0]["role"] == "assistant":
        row["format"] = WITHOUT_PROMPT
    return row


class _JsonLines:
    def __init__(self, path: Path, compression: str | None) -> None:
        self._file = _opened(path, compression)

    def write(self, chats: Sequence[Chat]) -> None:
        dumps, option = orjson.dumps, orjson.OPT_APPEND_NEWLINE
        rows = [row_of(chat) for chat in chats]
        self._file.write(b"".join([dumps(row, option=option) for row in rows]))

    def close(self) -> None:
        self._file.close()


def _opened(path: Path, compression: str | None) -> Any:
    if compression is None:
        return path.open("wb", buffering=_BUFFER_BYTES)  # larger writes than that are not copied
    return pa.output_stream(str(path), compression=compression, buffer_size=_BUFFER_BYTES)


class _JsonArray:
    def __init__(self, path: Path, compression: str | None) -> None:
        self._file = _opened(path, compression)
        self._before = b"[\n"

    def write(self, chats: Sequence[Chat]) -> None:
        for chat in chats:
            self._file.write(self._before + orjson.dumps(row_of(chat)))
            self._before = b",\n"

    def close(self) -> None:
        self._file.write(b"\n]\n" if self._before == b",\n" else b"[]\n")
        self._file.close()


class _Parquet:
    def __init__(self, path: Path, compression: str | None) -> None:
        self._writer = pq.ParquetWriter(path, _SCHEMA, compression="zstd", store_schema=False)
        self._rows: list[dict[str, Any]] = []

    def write(self, chats: Sequence[Chat]) -> None:
        self._rows += [row_of(chat) for chat in chats]
        if len(self._rows) >= _ROWS_PER_GROUP:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=_SCHEMA))
        self._rows = []


_SINKS: dict[str, type[_JsonLines] | type[_JsonArray] | type[_Parquet]] = {
    ".jsonl": _JsonLines,
    ".ndjson": _JsonLines,
    ".json": _JsonArray,
    ".parquet": _Parquet,
}


def _sink_of(path: Path) -> type[_JsonLines] | type[_JsonArray] | type[_Parquet]:
    is_packed = path.suffix.lower() in COMPRESSIONS
    ending = (path.with_suffix("") if is_packed else path).suffix.lower()
    if ending not in _SINKS or (is_packed and ending == ".parquet"):
        raise DataError(
            f"{path}: unknown kind of file: conversations are written as {', '.join(_SINKS)}, all but the last also"
            " packed as .gz or .zst"
        )
    return _SINKS[ending]
