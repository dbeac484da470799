"""`forgeline validate --preferences`: files of preference data checked row by row, in constant memory.

What takes all rows together is left to the stage `preferences`: duplicates, and graded questions without a pair.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from forgeline.core.errors import DataError, ParamsError
from forgeline.core.progress import progress
from forgeline.sources.conversations.problems import Kind, Problems
from forgeline.sources.conversations.reading import Broken, ChatReading, read_rows
from forgeline.sources.find_files import SourceFile, find_files
from forgeline.sources.formats.records import Records, Where
from forgeline.sources.preference_formats.detection import matching_formats, unknown_fields
from forgeline.sources.preference_formats.graded import read_answer
from forgeline.sources.preference_formats.pairs import PAIR_FORMATS, PARTED_EARLY, Candidate, Row, require_fields
from forgeline.sources.preference_formats.params import FormatName, GradedParams
from forgeline.sources.preference_formats.problems import RowProblem

Problem = tuple[Kind, Callable[[], str]]  # the message is made only if it is told: it may read the file again

_KINDS = ("jsonl", "json")
_GRADED_FIELDS = {"question": "question_field", "answer": "answer_field", "grade": "grade_field"}


@dataclass(frozen=True)
class ExpectedPairs:
    """What is known of files of preference data: their format, or `auto`, and the fields of graded answers."""

    format: Literal["auto"] | FormatName
    graded: GradedParams | None


@dataclass
class PairFigures:
    """What a file holds.

    Attributes:
        path: The file.
        format: Its format; empty where none was found.
        num_rows: Rows without a problem: pairs, or graded answers.
        problems: The others, by kind.
    """

    path: Path
    format: str = ""
    num_rows: int = 0
    problems: Counter[Kind] = field(default_factory=Counter)


@dataclass(frozen=True)
class PairVerdict:
    """The figures of all files, and the first problems in full."""

    files: list[PairFigures]
    problems: Problems


def expected_pairs(format_name: str, fields: Sequence[str]) -> ExpectedPairs:
    """What the command line says of the files.

    Args:
        format_name: A format, or `auto`.
        fields: Of graded answers `question=...`, `answer=...` and `grade=...`.

    Raises:
        ParamsError: There is no such format, or fields of graded answers are missing or unknown.
    """
    known = ("auto", *get_args(FormatName))
    if format_name not in known:
        raise ParamsError(f"--format {format_name}: preference data have none such: choose of {', '.join(known)}")
    given = dict(entry.split("=", 1) for entry in fields if "=" in entry)
    if (fields or format_name == "graded") and (given.keys() != _GRADED_FIELDS.keys() or len(given) != len(fields)):
        raise ParamsError(
            "--field: graded answers have three, and other preference data none: --field question=... "
            "--field answer=... --field grade=..."
        )
    graded = None
    if given:
        names = {_GRADED_FIELDS[name]: found for name, found in given.items()}
        graded = GradedParams.model_validate({**names, "min_margin": 1.0, "max_pairs_per_question": None})
    chosen: Any = format_name
    return ExpectedPairs(chosen, graded)


def validate_preferences(paths: Sequence[Path], expected: ExpectedPairs, max_listed: int) -> PairVerdict:
    """Reads all rows of files, or of the files in folders; nothing is written.

    Raises:
        DataError: A path does not exist or is of an unknown kind.
    """
    for path in paths:
        if not path.exists():
            raise DataError(f"{path} does not exist: correct the path")
    files = [file for path in paths for file in find_files(path, None)]
    problems = Problems(max_listed)
    total = 0.0 if any(file.is_packed for file in files) else sum(file.num_bytes for file in files) / 1e6
    found = []
    with progress("validate", total, "MB") as bar:
        for file in files:
            reading = ChatReading()
            figures = PairFigures(file.path)
            found.append(figures)
            num_bytes = 0
            for problem in _problems(file, reading, expected, figures):
                bar((reading.num_bytes - num_bytes) / 1e6)
                num_bytes = reading.num_bytes
                if problem is None:
                    figures.num_rows += 1
                else:
                    figures.problems[problem[0]] += 1
                    problems.add(*problem)
    return PairVerdict(found, problems)


def _problems(
    file: SourceFile, reading: ChatReading, expected: ExpectedPairs, figures: PairFigures
) -> Iterator[Problem | None]:
    """For each row what is wrong with it, or None; the figures get the format."""
    if file.format not in _KINDS:
        kinds = " and ".join(f".{kind}" for kind in _KINDS)
        refusal = f"{file.path}: preference data are read from {kinds}, not from {file.format}: convert it"
        yield "unknown_format", lambda: refusal
        return
    chosen = expected.format if expected.format != "auto" else _detect(file, expected.graded)
    if chosen is None:
        yield _unknown(file, expected.graded)
        return
    figures.format = chosen
    is_empty = True
    for row, where in _rows(read_rows(file, reading)):
        is_empty = False
        yield _problem(row, where, chosen, expected)
    if is_empty:
        yield _empty(file)


def _rows(batches: Iterator[Records[Any]]) -> Iterator[tuple[Any, Where]]:
    for rows in batches:
        for index, row in enumerate(rows.values):
            yield row, partial(rows.where, index)


def _detect(file: SourceFile, graded: GradedParams | None) -> FormatName | None:
    """The one format of the first rows that are in any; None if none is, or if all rows can be read in several."""
    possible: list[FormatName] = []
    for row, _ in _rows(read_rows(file, ChatReading())):
        found = matching_formats(row, graded) if isinstance(row, dict) else []
        possible = [name for name in possible if name in found] or possible or found
        if len(possible) == 1:
            return possible[0]
    return None


def _unknown(file: SourceFile, graded: GradedParams | None) -> Problem:
    """Why no format was found, told of the first row."""
    for row, where in _rows(read_rows(file, ChatReading())):
        if not isinstance(row, dict):
            return _no_object(row, where)
        if found := matching_formats(row, graded):
            text = f"the rows can be read as {' and as '.join(found)}: name one by --format"
        else:
            text = unknown_fields(row, graded)
        return "unknown_format", partial("{}: {}".format, where(), text)
    return _empty(file)


def _problem(row: Any, where: Where, chosen: FormatName, expected: ExpectedPairs) -> Problem | None:
    if not isinstance(row, dict):
        return _no_object(row, where)
    try:
        if chosen == "graded" and expected.graded is not None:
            _, answer = read_answer(row, where, expected.graded)
            is_blank = not answer.text.strip()
            return _blank(where, expected.graded.answer_field) if is_blank else None
        pair_format = PAIR_FORMATS[chosen]
        require_fields(row, pair_format.fields, chosen, where)
        return _unusable(pair_format.read(row, where), where, pair_format.fields[-2:])
    except RowProblem as problem:
        return _mixed(problem, row, where, chosen, expected)


def _unusable(pair: Candidate, where: Where, fields: tuple[str, ...]) -> Problem | None:
    """What keeps a pair that can be read from teaching anything."""
    if pair.reason == PARTED_EARLY:
        text = f"answers another prompt, {pair.detail}: remove the row"
        return "parted_early", lambda: f"{where()}:{fields[1]}: {text}"
    for name, answer in zip(fields, (pair.chosen, pair.rejected), strict=True):
        if not answer.strip():
            return _blank(where, name)
    if pair.chosen.split() == pair.rejected.split():
        return (
            "equal_answers",
            lambda: f"{where()}:{fields[1]}: says the same as {fields[0]}: correct it or remove the row",
        )
    return None


def _mixed(problem: RowProblem, row: Row, where: Where, chosen: FormatName, expected: ExpectedPairs) -> Problem:
    """A missing field may mean that the row is in another format."""
    others = matching_formats(row, expected.graded) if problem.kind == "missing_field" else []
    if others and expected.format == "auto":
        names = " or ".join(others)
        return (
            "mixed_formats",
            lambda: f"{where()}: mixed formats: this row is {names}, others are {chosen}: part the file",
        )
    return problem.kind, problem.__str__


def _blank(where: Where, name: str) -> Problem:
    return "empty", lambda: f"{where()}:{name}: blank: write text or remove the row"


def _no_object(row: Any, where: Where) -> Problem:
    if isinstance(row, Broken):
        return "broken", lambda: row.message
    return "wrong_type", lambda: f"{where()}: the row is no object: write {{...}} with the fields of a format"


def _empty(file: SourceFile) -> Problem:
    return "broken", lambda: f"{file.path}: holds no records: put some into it or leave it out"
