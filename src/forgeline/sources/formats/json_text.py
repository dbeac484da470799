"""JSON: objects one a line, in an array, or one after another.

Both forms are cut into the bytes of single objects first, which orjson then parses, hundreds at a time. What it refuses
goes to the standard library, which tells where the mistake is and reads some things that are not quite JSON (NaN).
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from forgeline.core.errors import DataError
from forgeline.sources.formats.limits import Reading
from forgeline.sources.formats.lines import line_blocks
from forgeline.sources.formats.records import Records
from forgeline.sources.formats.unicode import decode, without_surrogates
from forgeline.sources.formats.unpacked import BYTE_ORDER_MARK, blocks, line_number

# A whole string, or a single byte of structure. A quote by itself begins a string that goes on in the next block.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|["\[\]{}]', re.DOTALL)
_NO_SPACE = re.compile(rb"[^ \t\r\n]")


@dataclass(frozen=True)
class _Pieces:
    """The bytes of consecutive values of a file; `offsets`, where each begins in it, is called when that matters."""

    values: list[bytes]
    path: Path
    offsets: Callable[[], list[int]]

    def where(self, index: int) -> str:
        return f"{self.path}:{line_number(self.path, self.offsets()[index])}"


def json_lines(path: Path, reading: Reading, start: int = 0, end: int | None = None) -> Iterator[Records[Any]]:
    """The values of a file with one on each line; blank lines are passed over.

    Args:
        path: The file.
        reading: Limits and tallies.
        start: As for `line_blocks`.
        end: As for `line_blocks`.

    Raises:
        DataError: As `line_blocks`; or a line is not JSON, or holds text that UTF-8 cannot express (names the line).
    """
    for block in line_blocks(path, reading, start, end):
        lines = block.data.split(b"\n")
        chosen = [line for line in lines if line and not line.isspace()]
        yield from _parse(_Pieces(chosen, path, partial(_line_offsets, block.offset, lines)), reading)


def json_objects(path: Path, reading: Reading) -> Iterator[Records[Any]]:
    """The objects of a file that holds an array of them, a single one, or several one after another.

    Raises:
        DataError: As `blocks`; or the file holds something else, or an object is not JSON or longer than a document may
            be (names the line).
    """
    scan = _ObjectScan(path, reading)
    for block in blocks(path, reading):
        found: list[tuple[int, bytes]] = []
        try:
            found.extend(scan.objects(block))
        except DataError:
            yield from _parse_found(found, path, reading)
            raise
        yield from _parse_found(found, path, reading)
    scan.finish()


def object_offsets(data: bytes, path: Path, reading: Reading) -> list[int]:
    """Where the objects begin that end in a piece of a JSON file; raises `DataError` as `json_objects`."""
    return [offset for offset, _ in _ObjectScan(path, reading).objects(data)]


def _line_offsets(offset: int, lines: list[bytes]) -> list[int]:
    """Where those lines begin that are not blank."""
    offsets = []
    for line in lines:
        if line and not line.isspace():
            offsets.append(offset)
        offset += len(line) + 1
    return offsets


def _parse_found(found: list[tuple[int, bytes]], path: Path, reading: Reading) -> Iterator[Records[Any]]:
    yield from _parse(_Pieces([data for _, data in found], path, lambda: [offset for offset, _ in found]), reading)


def _parse(pieces: _Pieces, reading: Reading) -> Iterator[Records[Any]]:
    try:
        values = [orjson.loads(value) for value in pieces.values]
    except orjson.JSONDecodeError:
        yield from _parse_each(pieces, reading)
    else:
        yield Records(values, pieces.where)


def _parse_each(pieces: _Pieces, reading: Reading) -> Iterator[Records[Any]]:
    """As `records.each`, of a function that needs the offset too."""
    done: list[Any] = []
    for value, offset in zip(pieces.values, pieces.offsets(), strict=True):
        try:
            done.append(_parse_one(value, pieces.path, offset, reading))
        except DataError:
            yield Records(done, pieces.where)
            raise
    yield Records(done, pieces.where)


def _parse_one(data: bytes, path: Path, offset: int, reading: Reading) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass

    def where() -> str:
        return f"{path}:{line_number(path, offset)}"

    try:
        return without_surrogates(json.loads(decode(data, path, offset, reading)), reading, where)
    except json.JSONDecodeError as error:
        line = line_number(path, offset) + error.lineno - 1
        raise DataError(f"{path}:{line}: not valid JSON ({error.msg}, column {error.colno}): correct it") from None
    except (RecursionError, ValueError) as error:  # too deep, or a number of thousands of digits
        raise DataError(f"{where()}: cannot be read ({error}): correct it") from None


class _ObjectScan:
    """Cuts a stream of bytes into objects: what lies between a brace and the one that closes it."""

    def __init__(self, path: Path, reading: Reading) -> None:
        self._path = path
        self._reading = reading
        self._rest = b""  # bytes not yet cut, from the beginning of the object if one is open
        self._rest_offset = 0
        self._place = 0  # in the rest: where to look on
        self._depth = 0  # brackets open inside the object
        self._in_array = False
        self._expected = b"[{"  # what may come between objects

    def objects(self, block: bytes) -> Iterator[tuple[int, bytes]]:
        """Offset and bytes of the objects that end in the next block of the file."""
        if self._rest_offset == 0 and not self._rest and block.startswith(BYTE_ORDER_MARK):
            block = block.removeprefix(BYTE_ORDER_MARK)
            self._rest_offset = len(BYTE_ORDER_MARK)
        self._rest += block
        begin = 0
        while self._depth or (begin := self._next_object()) >= 0:
            end = self._end_of_object()
            if end < 0:
                break
            yield self._rest_offset + begin, self._rest[begin:end]
        begin = begin if self._depth else len(self._rest)
        self._rest = self._rest[begin:]
        self._rest_offset += begin
        self._place -= begin
        if len(self._rest) > self._reading.max_document_bytes:
            raise self._reading.document_too_long(self._where(0))

    def finish(self) -> None:
        """The file has ended: it must not do so inside an object or the array."""
        if self._depth or (self._in_array and self._expected):
            raise DataError(
                f"{self._where(0)}: the file ends inside {'an object' if self._depth else 'the array'} that begins or"
                " goes on here: fetch it again or complete it"
            )

    def _next_object(self) -> int:
        """Place of the next opening brace between objects, -1 if there is none yet."""
        while match := _NO_SPACE.search(self._rest, self._place):
            byte = match[0]
            if byte not in self._expected or not self._expected:
                raise self._unexpected(match.start())
            self._place = match.end()
            if byte == b"{":
                self._depth = 1
                self._expected = b",]" if self._in_array else b"{"
                return match.start()
            if byte == b"[":
                self._in_array, self._expected = True, b"{]"
            else:  # a comma, or the end of the array
                self._expected = b"{" if byte == b"," else b""
        self._place = len(self._rest)
        return -1

    def _end_of_object(self) -> int:
        """Place after the brace that closes the open object, -1 if it is not there yet."""
        for match in _TOKEN.finditer(self._rest, self._place):
            token = match[0]
            if token == b'"':
                self._place = match.start()
                return -1
            if token in b"{[":
                self._depth += 1
            elif token in b"}]":
                self._depth -= 1
                if not self._depth:
                    self._place = match.end()
                    return self._place
        self._place = len(self._rest)
        return -1

    def _unexpected(self, place: int) -> DataError:
        shown = self._rest[place : place + 20].decode(errors="replace")
        wanted = " or ".join(f"'{chr(byte)}'" for byte in self._expected) or "nothing more"
        return DataError(
            f"{self._where(place)}: found {shown!r} where {wanted} was expected: a JSON file holds an array of objects,"
            " or objects one after another"
        )

    def _where(self, place: int) -> str:
        return f"{self._path}:{line_number(self._path, self._rest_offset + place)}"
