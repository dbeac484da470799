"""Plain text: the whole file is a document, or lines of it begin one or lie between two."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from forgeline.sources.formats.limits import Reading
from forgeline.sources.formats.lines import line_blocks
from forgeline.sources.formats.records import Records, batched
from forgeline.sources.formats.unicode import decode
from forgeline.sources.params import Documents

_IsMarker = Callable[[str], bool]


def text_documents(path: Path, reading: Reading, documents: Documents, marker: str | None) -> Iterator[Records[str]]:
    r"""The documents of a text file, with line feeds for line ends (`\r\n` and `\r` are taken as such).

    With `documents: file` the file is taken as it is. Otherwise documents have no blank lines at their ends, and those
    without anything else are passed over.

    Args:
        path: The file.
        reading: Limits and tallies.
        documents: What a document is, as in `SourceParams`.
        marker: The regular expression that `headings` and `separators` need.

    Raises:
        DataError: As `line_blocks` and `decode`; or a document is longer than it may be (names its first line).
    """
    if documents == "file":
        found = _whole_file(path, reading)
    else:
        begins, parts = _markers(documents, marker)
        found = _split(path, reading, begins, parts)
    yield from batched(found, path, len)


def _markers(documents: Documents, marker: str | None) -> tuple[_IsMarker, _IsMarker]:
    """Which lines begin a document, and which lie between two."""
    matches = re.compile(marker or "").search
    match documents:
        case "lines":
            return _always, _never
        case "headings":
            return lambda line: matches(line) is not None, _never
        case "separators":
            return _never, lambda line: matches(line) is not None
    return _never, _is_blank


def _whole_file(path: Path, reading: Reading) -> Iterator[tuple[int, str]]:
    parts: list[str] = []
    size = 0
    for part in _texts(path, reading):
        parts.append(part)
        size += len(part)
        if size > reading.max_document_bytes:
            raise reading.document_too_long(f"{path}:1")
    yield 1, "".join(parts)


def _split(path: Path, reading: Reading, begins: _IsMarker, parts: _IsMarker) -> Iterator[tuple[int, str]]:
    """First line and text of the documents."""
    lines: list[str] = []
    first = 1
    size = 0
    for number, line in enumerate(_lines(path, reading), start=1):
        between = parts(line)
        if between or begins(line):
            yield from _document(first, lines)
            lines, first, size = [], number, 0
        if not between and (lines or not _is_blank(line)):
            first = first if lines else number
            lines.append(line)
            size += len(line) + 1
            if size > reading.max_document_bytes:
                raise reading.document_too_long(f"{path}:{first}")
    yield from _document(first, lines)


def _document(first: int, lines: list[str]) -> Iterator[tuple[int, str]]:
    while lines and _is_blank(lines[-1]):
        lines.pop()
    if lines:
        yield first, "\n".join(lines)


def _lines(path: Path, reading: Reading) -> Iterator[str]:
    for text in _texts(path, reading):
        yield from text.removesuffix("\n").split("\n")


def _texts(path: Path, reading: Reading) -> Iterator[str]:
    for block in line_blocks(path, reading):
        text = decode(block.data, path, block.offset, reading)
        yield text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _is_blank(line: str) -> bool:
    return not line or line.isspace()


def _always(_line: str) -> bool:
    return True


def _never(_line: str) -> bool:
    return False
