"""Records of a file of any kind, with those that cannot be read in their place.

A JSON lines file goes on after a line that is broken; other kinds of files end there.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import orjson

from forgeline.core.errors import DataError
from forgeline.sources.conversations.json_arrays import ArrayStretches
from forgeline.sources.find_files import SourceFile
from forgeline.sources.formats.delimited import delimited_rows
from forgeline.sources.formats.json_text import json_objects
from forgeline.sources.formats.limits import Reading
from forgeline.sources.formats.lines import LineBlock, line_blocks
from forgeline.sources.formats.parquet import columns_of, parquet_rows
from forgeline.sources.formats.plain_text import text_documents
from forgeline.sources.formats.records import Records

_BLOCK_BYTES = 1 << 16  # of JSON lines parsed at once: larger ones cost page faults, twice the time at 1 MB
_MAX_RECORD_BYTES = 64 << 20
_MAX_LINES_COUNTED = 100  # of a JSON array: each lookup reads the file up to there


class ChatReading(Reading):
    """The rules for files of conversations: strict, and no record of more than 64 MiB."""

    def __init__(self) -> None:
        super().__init__("strict", _MAX_RECORD_BYTES, sys.maxsize, repair_advice="")

    def document_too_long(self, where: str) -> DataError:
        """The error of a record that exceeds the limit."""
        return DataError(
            f"{where}: a record of more than {_MAX_RECORD_BYTES >> 20} MiB: part it (a JSON array needs the name .json)"
        )


@dataclass(frozen=True)
class Broken:
    """Stands for a record that cannot be read; `message` says where and why."""

    message: str


def read_rows(file: SourceFile, reading: Reading, columns: Sequence[str] | None = None) -> Iterator[Records[Any]]:
    """Consecutive records of a file: objects, and `Broken` where there is none.

    Args:
        file: The file.
        reading: The limits; counts the bytes read.
        columns: Of Parquet, the only ones to read; those that the file does not have are passed over.
    """
    try:
        yield from _rows(file, reading, columns)
    except DataError as error:
        message = str(error)
        yield Records([Broken(message)], lambda index: message)


def _rows(file: SourceFile, reading: Reading, columns: Sequence[str] | None) -> Iterator[Records[Any]]:
    match file.format:
        case "jsonl":
            yield from _json_lines(file.path, reading)
        case "json":
            yield from _json_array(file.path, reading)
        case "csv" | "tsv":
            yield from delimited_rows(file.path, reading, "," if file.format == "csv" else "\t")
        case "parquet":
            there = columns_of(file.path)
            yield from parquet_rows(file.path, reading, [c for c in there if columns is None or c in columns] or there)
        case _:
            for texts in text_documents(file.path, reading, "blank_lines", None):
                yield Records([{"text": text} for text in texts.values], texts.where)


def _json_array(path: Path, reading: Reading) -> Iterator[Records[Any]]:
    stretches = ArrayStretches(path, reading)
    num_read = 0
    for rows in stretches.records():
        yield rows
        num_read += len(rows.values)
    if not stretches.is_complete:
        yield from _slowly(path, num_read)


def _slowly(path: Path, num_known: int) -> Iterator[Records[Any]]:
    """The records of a JSON file object by object, without the first ones."""
    num_before = 0
    places = _ArrayPlaces(path)
    for rows in json_objects(path, ChatReading()):
        skipped = min(max(num_known - num_before, 0), len(rows.values))
        where = partial(places.where, rows.where, num_before)
        yield Records(rows.values[skipped:], partial(_shifted, where, skipped))
        num_before += len(rows.values)


def _shifted(where: Callable[[int], str], skipped: int, index: int) -> str:
    return where(index + skipped)


class _ArrayPlaces:
    """Names places in a JSON file: the first ones by line, for which the file is read again, the rest by number."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._num_lines_left = _MAX_LINES_COUNTED

    def where(self, line_of: Callable[[int], str], num_before: int, index: int) -> str:
        if not self._num_lines_left:
            return f"{self._path}, record {num_before + index + 1}"
        self._num_lines_left -= 1
        return line_of(index)


def _json_lines(path: Path, reading: Reading) -> Iterator[Records[Any]]:
    number = 1
    loads = orjson.loads
    for block in line_blocks(path, reading, block_bytes=_BLOCK_BYTES):
        lines = block.data.split(b"\n")
        where = partial(_where, path, number, block)
        try:
            values = [loads(line) for line in lines if line and not line.isspace()]
        except orjson.JSONDecodeError:
            values = [_parsed(line, path, number + place) for place, line in enumerate(lines) if line.strip()]
        yield Records(values, where)
        number += len(lines) - 1


def _where(path: Path, first: int, block: LineBlock, index: int) -> str:
    """Place of a record of a block: blank lines hold none."""
    counts = accumulate(bool(line.strip()) for line in block.data.split(b"\n"))
    return f"{path}:{first + next(place for place, count in enumerate(counts) if count > index)}"


def _parsed(line: bytes, path: Path, number: int) -> Any:
    """A line's value. What orjson refuses goes to the standard library, which reads NaN and names the column."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        pass
    try:
        value = json.loads(line.decode("utf-8"))
        orjson.dumps(value)  # refuses halves of surrogate pairs
    except UnicodeDecodeError as error:
        return Broken(f"{path}:{number}: not UTF-8 (byte {error.start} of the line): save the file as UTF-8")
    except json.JSONDecodeError as error:
        return Broken(f"{path}:{number}: not valid JSON ({error.msg}, column {error.colno}): correct the line")
    except (RecursionError, ValueError, TypeError) as error:
        return Broken(f"{path}:{number}: cannot be read ({' '.join(str(error).split())}): correct the line")
    return value
