"""A file of any kind and format as chats, with everything in it that is none."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from forgeline.sources.conversations.detection import Detected, candidates, detect
from forgeline.sources.conversations.formats import Expected
from forgeline.sources.conversations.multi_turn import Chat
from forgeline.sources.conversations.problems import Kind, RecordProblem
from forgeline.sources.conversations.reading import Broken, ChatReading, read_rows
from forgeline.sources.find_files import SourceFile
from forgeline.sources.formats.records import Records


@dataclass(frozen=True)
class Failure:
    """A record that is no conversation to learn from.

    Attributes:
        kind: What is wrong with it.
        message: Where and what, with what to do; a call may read the file again.
        row: The record as it was read; None where nothing could be.
    """

    kind: Kind
    message: Callable[[], str]
    row: Any


@dataclass(frozen=True)
class Batch:
    """What came of consecutive records."""

    chats: list[Chat]
    failures: list[Failure]


class ChatFile:
    """Reads one file of conversations.

    Attributes:
        detected: The format, once the first record has been read.
        num_bytes: Unpacked, read so far.
    """

    def __init__(self, file: SourceFile, expected: Expected) -> None:
        self.detected: Detected | None = None
        self._file = file
        self._expected = expected
        self._reading = ChatReading()
        self._first = ""  # place of the record that told the format

    @property
    def num_bytes(self) -> int:
        """Unpacked bytes read so far."""
        return self._reading.num_bytes

    def batches(self) -> Iterator[Batch]:
        """The conversations in the order of the file. A file whose format is not found ends with that failure."""
        is_empty = True
        for rows in self._rows():
            is_empty = is_empty and not rows.values
            if self.detected is None and (failure := self._detect(rows)):
                yield Batch([], [failure])
                return
            yield self._batch(rows)
        if is_empty:
            text = f"{self._file.path}: holds no records: put some into it or leave it out"
            yield Batch([], [Failure("broken", lambda: text, None)])

    def _rows(self) -> Iterator[Records[Any]]:
        if self._file.format != "parquet":
            yield from read_rows(self._file, self._reading)
            return
        for rows in read_rows(self._file, ChatReading()):  # all columns of the first rows, then those that are needed
            if self._detect(rows):
                yield rows
                return
            if self.detected is not None:
                break
        names = [] if self.detected is None else [*self.detected.names.values()]
        yield from read_rows(self._file, self._reading, names)

    def _detect(self, rows: Records[Any]) -> Failure | None:
        for index, row in enumerate(rows.values):
            if isinstance(row, dict):
                try:
                    self.detected = detect(row, self._expected.format, self._expected.fields)
                except RecordProblem as problem:
                    return _failure(problem, rows, index)
                self._first = rows.where(index)
                return None
        return None

    def _batch(self, rows: Records[Any]) -> Batch:
        chats: list[Chat] = []
        failures: list[Failure] = []
        chat = None if self.detected is None else self.detected.converter.chat
        for index, row in enumerate(rows.values):
            try:
                if type(row) is not dict or chat is None:
                    failures.append(_no_object(rows, index))
                    continue
                chats.append(chat(row))
            except RecordProblem as problem:
                failures.append(_failure(self._mixed(problem, row), rows, index))
        return Batch(chats, failures)

    def _mixed(self, problem: RecordProblem, row: dict[str, Any]) -> RecordProblem:
        """A missing field may mean that the record is in another format than the ones before it."""
        if problem.kind != "missing_field" or self.detected is None:
            return problem
        others = [spec for spec in candidates(row, self._expected.fields) if spec.name != self.detected.format]
        if len(others) != 1:
            return problem
        text = f"mixed formats: this record is {others[0].name}, the file {self.detected.format} since {self._first}"
        return RecordProblem("mixed_formats", problem.field, f"{text}: part the file by format")


def _failure(problem: RecordProblem, rows: Records[Any], index: int) -> Failure:
    return Failure(problem.kind, partial(_message, problem, rows, index), rows.values[index])


def _message(problem: RecordProblem, rows: Records[Any], index: int) -> str:
    return problem.at(rows.where(index))


def _no_object(rows: Records[Any], index: int) -> Failure:
    value = rows.values[index]
    if isinstance(value, Broken):
        return Failure("broken", lambda: value.message, None)
    text = "the record is no object: write {...} with the fields of a format"
    return _failure(RecordProblem("wrong_type", "", text), rows, index)
