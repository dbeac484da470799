"""CSV and TSV with a header (RFC 4180: quotes around cells with separators or line feeds, doubled quotes inside)."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from forgeline.core.errors import DataError
from forgeline.sources.formats.limits import Reading
from forgeline.sources.formats.lines import line_blocks
from forgeline.sources.formats.records import Records, batched
from forgeline.sources.formats.unicode import decode

_LINE = re.compile(r"[^\n]*\n|[^\n]+$")  # `splitlines` would also part lines at other characters than line feeds


def delimited_rows(path: Path, reading: Reading, delimiter: str) -> Iterator[Records[Any]]:
    """The rows of a file by the names in its first row; blank lines are passed over, all values are text.

    Raises:
        DataError: As `line_blocks` and `decode`; or a row has more or fewer cells than the header, quotes do not match,
            two columns have one name, or a cell is longer than a document may be (names the line).
    """
    yield from batched(_rows(path, reading, delimiter), path, lambda row: sum(map(len, row.values())))


def _rows(path: Path, reading: Reading, delimiter: str) -> Iterator[tuple[int, Any]]:
    """First line and values by name of each row."""
    header: list[str] = []
    for number, cells in _cells(path, reading, delimiter):
        if not header:
            header = cells
            _check_header(header, path, number)
        elif len(cells) != len(header):
            raise DataError(
                f"{path}:{number}: the row has {len(cells)} cells, the header {len(header)}: correct the row (a cell"
                " that holds the separator or a line feed needs quotes)"
            )
        else:
            yield number, dict(zip(header, cells, strict=True))


def _cells(path: Path, reading: Reading, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(reading.max_document_bytes)  # of the whole process, but the same for all sources
    reader = csv.reader(_lines(path, reading), delimiter=delimiter, strict=True)
    last_line = 0
    try:
        for cells in reader:
            if cells:
                yield last_line + 1, cells
            last_line = reader.line_num
    except csv.Error as error:
        where = f"{path}:{last_line + 1}"
        if "field limit" in str(error):
            raise reading.document_too_long(where) from None
        raise DataError(f"{where}: no row of cells ({error}): correct the quotes of the row that begins here") from None


def _lines(path: Path, reading: Reading) -> Iterator[str]:
    for block in line_blocks(path, reading):
        text = decode(block.data, path, block.offset, reading)
        yield from _LINE.findall(text)


def _check_header(header: list[str], path: Path, number: int) -> None:
    for name in header:
        if header.count(name) > 1:
            raise DataError(f"{path}:{number}: two columns are called '{name}': rename one")
