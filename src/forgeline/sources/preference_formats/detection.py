"""Which format a preference file is in, judged by the fields of all its rows."""

from collections.abc import Iterable, Sequence

from forgeline.core.errors import DataError
from forgeline.sources.formats.records import Where
from forgeline.sources.preference_formats.graded import graded_fields
from forgeline.sources.preference_formats.pairs import PAIR_FORMATS, Row, missing_fields
from forgeline.sources.preference_formats.params import FormatName, GradedParams


def detect_format(rows: Iterable[tuple[Row, Where]], graded: GradedParams | None) -> FormatName:
    """The one format that every row can be read in.

    Args:
        rows: The rows and their places.
        graded: The fields of graded answers; without them these are not looked for.

    Raises:
        DataError: The first row is in none; a later one is in another (mixed formats) or lacks a field; or all rows can
            be read in several, which are named.
    """
    possible: list[FormatName] = []
    first = ""
    for row, where in rows:
        found = matching_formats(row, graded)
        if not first:
            first, possible = where(), found
            if not possible:
                raise DataError(f"{first}: {unknown_fields(row, graded)}")
            continue
        left = [name for name in possible if name in found]
        if not left:
            raise DataError(f"{where()}: {_odd(row, found, possible, first, graded)}")
        possible = left
    if len(possible) > 1:
        raise DataError(
            f"{first}: the rows can be read as {' and as '.join(possible)}: set format to the one that is meant"
        )
    return possible[0]


def matching_formats(row: Row, graded: GradedParams | None) -> list[FormatName]:
    """The formats whose fields a row has, in the order of the documentation."""
    found: list[FormatName] = [name for name in _PAIR_NAMES if PAIR_FORMATS[name].matches(row)]
    if graded is not None and not missing_fields(row, graded_fields(graded)):
        found.append("graded")
    return found


_PAIR_NAMES: Sequence[FormatName] = ("prompt", "question", "conversations", "transcripts")


def _fields(name: FormatName, graded: GradedParams | None) -> tuple[str, ...]:
    if name == "graded":
        return graded_fields(graded) if graded is not None else ()
    return PAIR_FORMATS[name].fields


def unknown_fields(row: Row, graded: GradedParams | None) -> str:
    """Says that a row is in no format, and what the fields of each are."""
    names: list[FormatName] = [*_PAIR_NAMES, *(["graded"] if graded is not None else [])]  # type: ignore[list-item]
    known = "; ".join(f"{name}: {', '.join(_fields(name, graded))}" for name in names)
    return (
        f"its fields ({', '.join(row) or 'none'}) are those of no preference format ({known}): rename them, or set "
        "graded to say where questions, answers and grades are"
    )


def _odd(
    row: Row, found: Sequence[FormatName], possible: Sequence[FormatName], first: str, graded: GradedParams | None
) -> str:
    if found:
        return (
            f"mixed formats: this row is {' or '.join(found)}, those from {first} on are {' or '.join(possible)}: "
            "put each format into a file of its own"
        )
    missing = missing_fields(row, _fields(possible[0], graded))
    what = f"no {', '.join(missing)}" if missing else "fields that are not as in the rows before"
    return f"{what}: the rows from {first} on are {possible[0]}: complete the row or remove it"
