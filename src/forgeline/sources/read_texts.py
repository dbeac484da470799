"""The texts of a source's files, whatever their format."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from forgeline.core.errors import DataError
from forgeline.sources.extract import TextOf
from forgeline.sources.find_files import SourceFile
from forgeline.sources.formats.delimited import delimited_rows
from forgeline.sources.formats.json_text import json_lines, json_objects
from forgeline.sources.formats.limits import Reading
from forgeline.sources.formats.parquet import parquet_rows
from forgeline.sources.formats.plain_text import text_documents
from forgeline.sources.formats.records import Records
from forgeline.sources.formats.unicode import clean_texts
from forgeline.sources.params import SourceParams


@dataclass(frozen=True)
class FilePart:
    """A file, or the lines of a JSON lines file that begin at `start` or later and before `end`."""

    file: SourceFile
    start: int = 0
    end: int | None = None

    @property
    def num_bytes(self) -> int:
        """Size as it lies on the disk."""
        return (self.file.num_bytes if self.end is None else self.end) - self.start


def read_texts(part: FilePart, params: SourceParams, reading: Reading) -> Iterator[Records[str]]:
    """The texts of a part's records, blank ones included.

    Raises:
        DataError: The file cannot be read as its format, or `params` name no text in it; file and line are named.
    """
    for texts in _texts(part, params, reading):
        yield from clean_texts(texts, reading)


def check_format(file: SourceFile, params: SourceParams) -> None:
    """Whether `params` say where the text of such a file is.

    Raises:
        DataError: They give a field for plain text, or what a document is for a format with fields.
    """
    if file.format == "text" and params.documents is None:
        raise DataError(
            f"{file.path} is plain text without fields: set text of the source to null, and documents to file,"
            " blank_lines, lines, headings or separators"
        )
    if file.format != "text" and params.text is None:
        raise DataError(
            f"{file.path} has fields: set documents of the source to null, and text to the field that holds the text"
        )


def _texts(part: FilePart, params: SourceParams, reading: Reading) -> Iterator[Records[str]]:
    path = part.file.path
    if params.documents is not None:
        yield from text_documents(path, reading, params.documents, params.marker)
        return
    text_of = TextOf(params.text or "")
    for rows in _rows(part, text_of.fields, reading):
        yield from text_of.texts(rows)


def _rows(part: FilePart, fields: tuple[str, ...], reading: Reading) -> Iterator[Records[Any]]:
    path = part.file.path
    match part.file.format:
        case "jsonl":
            return json_lines(path, reading, part.start, part.end)
        case "json":
            return json_objects(path, reading)
        case "csv":
            return delimited_rows(path, reading, ",")
        case "tsv":
            return delimited_rows(path, reading, "\t")
        case "parquet":
            return parquet_rows(path, reading, fields)
    raise ValueError(part.file.format)
