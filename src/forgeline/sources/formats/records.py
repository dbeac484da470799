"""Consecutive records of a file on their way from bytes to texts.

Every step handles some hundred records at once and looks for mistakes in all of them together. Only when there is one
does it go through them one by one, and only then are lines counted. What comes before a mistake is handed on first: a
reader that wants no more than that (`max_documents`) does not meet it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from forgeline.core.errors import DataError

BATCH_CHARACTERS = 1 << 20

ValueT = TypeVar("ValueT")
ResultT = TypeVar("ResultT")
Where = Callable[[], str]


@dataclass(frozen=True)
class Records(Generic[ValueT]):
    """Consecutive records.

    Attributes:
        values: Bytes, objects or texts, depending on the step.
        where: From the index of a record to its place as messages name it, `corpus/notes.jsonl:7` for instance. May
            read the file again.
    """

    values: list[ValueT]
    where: Callable[[int], str]


def each(records: Records[ValueT], function: Callable[[ValueT, Where], ResultT]) -> Iterator[Records[ResultT]]:
    """Applies a function that needs to know a record's place to one record after another.

    Raises:
        DataError: As the function, after the results before it.
    """
    done: list[ResultT] = []
    for index, value in enumerate(records.values):
        try:
            done.append(function(value, partial(records.where, index)))
        except DataError:
            yield Records(done, records.where)
            raise
    yield Records(done, records.where)


def batched(
    found: Iterable[tuple[int, ValueT]], path: Path, size: Callable[[ValueT], int]
) -> Iterator[Records[ValueT]]:
    """Single records, each with the line where it begins, in batches of about `BATCH_CHARACTERS`.

    Raises:
        DataError: As `found`, after the records before it.
    """
    numbers: list[int] = []
    values: list[ValueT] = []
    total = 0
    try:
        for number, value in found:
            numbers.append(number)
            values.append(value)
            total += size(value)
            if total >= BATCH_CHARACTERS:
                yield Records(values, _Lines(path, numbers))
                numbers, values, total = [], [], 0
    except DataError:
        yield Records(values, _Lines(path, numbers))
        raise
    yield Records(values, _Lines(path, numbers))


@dataclass(frozen=True)
class _Lines:
    path: Path
    numbers: list[int]

    def __call__(self, index: int) -> str:
        return f"{self.path}:{self.numbers[index]}"
