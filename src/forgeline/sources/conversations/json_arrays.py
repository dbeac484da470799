"""JSON arrays of objects by whole stretches at once, as long as nothing is wrong with them.

An object of an array ends at a brace that a comma follows, but so do objects inside it. So the last such brace of what
has been read is tried first: if the stretch up to it parses as an array, it consists of whole objects; else the brace
before it is tried. Several times as fast as looking at every brace, which is what remains to be done where no stretch
parses.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from forgeline.core.errors import DataError
from forgeline.sources.formats.json_text import object_offsets
from forgeline.sources.formats.limits import Reading
from forgeline.sources.formats.records import Records
from forgeline.sources.formats.unpacked import BYTE_ORDER_MARK, blocks

_BLOCK_BYTES = 1 << 17
_MAX_TRIES = 40  # of braces in one stretch: conversations of more turns take the slower way
_LONGEST_GAP = 256  # of white space between a brace and its comma


@dataclass
class ArrayStretches:
    """Reads an array; `is_complete` tells afterwards whether all of it was read."""

    path: Path
    reading: Reading
    is_complete: bool = False

    def records(self) -> Iterator[Records[Any]]:
        """The elements in their order, up to the first stretch that does not parse."""
        rest, line, is_first = b"", 1, True
        for block in blocks(self.path, self.reading, block_bytes=_BLOCK_BYTES):
            rest += block
            if is_first:
                opening = rest.removeprefix(BYTE_ORDER_MARK).lstrip()
                if not opening:
                    continue
                if not opening.startswith(b"["):
                    return
                line += rest.count(b"\n", 0, len(rest) - len(opening))
                rest, is_first = opening[1:], False
            found = _last_objects(rest)
            if found is None and len(rest) > 2 * _BLOCK_BYTES:
                return
            if found is not None:
                values, end, after = found
                yield Records(values, partial(_where, self.path, self.reading, rest[:end], line))
                line += rest.count(b"\n", 0, after)
                rest = rest[after:]
        try:
            values = orjson.loads(b"[" + rest)
        except orjson.JSONDecodeError:
            return
        if values:  # else a comma before the end of the array, or no array
            yield Records(values, partial(_where, self.path, self.reading, rest, line))
            self.is_complete = True


def _last_objects(rest: bytes) -> tuple[list[Any], int, int] | None:
    """The values up to the last comma between objects, where the last of them ends, and what comes after the comma."""
    end = len(rest)
    for _ in range(_MAX_TRIES):
        end = rest.rfind(b"}", 0, end)
        if end < 0:
            return None
        gap = rest[end + 1 : end + _LONGEST_GAP]
        if gap.lstrip().startswith(b","):
            try:
                return orjson.loads(b"[" + rest[: end + 1] + b"]"), end + 1, end + 2 + gap.index(b",")
            except orjson.JSONDecodeError:
                pass
    return None


def _where(path: Path, reading: Reading, stretch: bytes, line: int, index: int) -> str:
    """Place of an element of a stretch that begins on `line`."""
    try:
        offset = object_offsets(b"[" + stretch, path, reading)[index] - 1
    except (DataError, IndexError):  # an element is no object
        return f"{path}:{line}"
    line += stretch.count(b"\n", 0, offset)
    return f"{path}:{line}"
