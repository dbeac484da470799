"""Preference files of any format as candidates for pairs."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from forgeline.core.errors import DataError
from forgeline.sources.files import empty_file
from forgeline.sources.find_files import SourceFile, find_files
from forgeline.sources.formats.json_text import json_lines, json_objects
from forgeline.sources.formats.limits import Reading
from forgeline.sources.formats.records import Where
from forgeline.sources.preference_formats.detection import detect_format
from forgeline.sources.preference_formats.graded import graded_pairs
from forgeline.sources.preference_formats.pairs import PAIR_FORMATS, Candidate, Row, require_fields
from forgeline.sources.preference_formats.params import FormatName, GradedParams

_UNLIMITED = 1 << 62


@dataclass(frozen=True)
class ReadPreferences:
    """What a file or folder holds.

    Attributes:
        format: Declared or detected.
        is_detected: Which of the two.
        candidates: Pairs, and rows that cannot be used with the reason.
        num_rows: Rows read.
        over_limit: Pairs of graded answers beyond the limit of their question.
        questions_without_pair: Of graded answers, questions whose answers have grades too close together.
    """

    format: FormatName
    is_detected: bool
    candidates: list[Candidate]
    num_rows: int
    over_limit: int
    questions_without_pair: int


def read_preferences(
    path: Path, format_name: Literal["auto"] | FormatName, graded: GradedParams | None, seed: int
) -> ReadPreferences:
    """Reads a file, or all files of a folder as one.

    Args:
        path: JSON lines or JSON, packed or not.
        format_name: A format, or `auto`.
        graded: Fields and knobs of graded answers; None when there are none.
        seed: Chooses pairs where graded answers give too many.

    Raises:
        DataError: Nothing can be read there, the format cannot be told (see `detect_format`), or a row is not in it.
            File and line are named.
    """
    files = find_files(path, None)
    chosen = detect_format(_rows(files), graded) if format_name == "auto" else format_name
    counter = _Counter(_rows(files))
    over_limit, without = 0, 0
    if chosen == "graded":
        if graded is None:
            raise ValueError("format graded needs its fields")
        found = graded_pairs(counter, path, graded, seed)
        candidates, over_limit, without = found.candidates, found.over_limit, found.questions_without_pair
    else:
        pair_format = PAIR_FORMATS[chosen]
        candidates = []
        for row, where in counter:
            require_fields(row, pair_format.fields, chosen, where)
            candidates.append(pair_format.read(row, where))
    return ReadPreferences(chosen, format_name == "auto", candidates, counter.number, over_limit, without)


@dataclass
class _Counter:
    rows: Iterator[tuple[Row, Where]]
    number: int = 0

    def __iter__(self) -> Iterator[tuple[Row, Where]]:
        for row in self.rows:
            self.number += 1
            yield row


def _rows(files: list[SourceFile]) -> Iterator[tuple[Row, Where]]:
    return chain.from_iterable(_rows_of(file) for file in files)


def _rows_of(file: SourceFile) -> Iterator[tuple[Row, Where]]:
    readers: dict[str, Any] = {"jsonl": json_lines, "json": json_objects}
    if file.format not in readers:
        raise DataError(
            f"{file.path}: preference data are read from .jsonl and .json, not from {file.format}: convert it"
        )
    reading = Reading("strict", max_document_bytes=_UNLIMITED, max_source_bytes=_UNLIMITED, repair_advice="")
    is_empty = True
    for records in readers[file.format](file.path, reading):
        for index, row in enumerate(records.values):
            where = partial(records.where, index)
            if not isinstance(row, dict):
                raise DataError(f"{where()}: holds {type(row).__name__}, expected an object: write {{...}}")
            is_empty = False
            yield row, where
    if is_empty:
        raise empty_file(file.path)
