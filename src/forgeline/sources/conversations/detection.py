"""Which format a file is in, told by the fields of its first record.

A format matches when the record has all fields by which it is known. Exactly one must match; a field `text` only counts
where nothing else matches, since data sets often keep the rendered conversation beside its parts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from forgeline.sources.conversations.formats import FORMATS, Converter, Format, FormatName, Names
from forgeline.sources.conversations.plain_text import is_transcript
from forgeline.sources.conversations.problems import RecordProblem

_TURN_FIELDS = (("role", "content"), ("from", "value"))  # of `messages` and of ShareGPT, in this order


@dataclass(frozen=True)
class Detected:
    """The format of a file.

    Attributes:
        format: Its name.
        reason: Why it is this one.
        converter: Makes chats of the records.
        names: Name in the file of each field that is read.
        unread: Fields of the first record that are not.
    """

    format: FormatName
    reason: str
    converter: Converter
    names: Names
    unread: tuple[str, ...]


def detect(row: Any, declared: FormatName | Literal["auto"], renamed: Names) -> Detected:
    """The format of a file whose first record is `row`.

    Args:
        row: The record.
        declared: The format, or `auto`.
        renamed: Fields that the file calls otherwise than the format.

    Raises:
        RecordProblem: No format matches, or several do.
    """
    if not isinstance(row, dict):
        raise RecordProblem("wrong_type", "", "the record is no object: write {...} with the fields of a format")
    if declared != "auto":
        return _bound(FORMATS[declared], row, renamed, "declared")
    found = candidates(row, renamed)
    if not found:
        raise RecordProblem("unknown_format", "", _advice(row))
    if len(found) > 1:
        listed = "; ".join(f"{spec.name} ({', '.join(_required(spec, renamed))})" for spec in found)
        raise RecordProblem(
            "unknown_format",
            "",
            f"the fields fit several formats: {listed}: name the right one as the format of the file",
        )
    reason = f"the first record has {' and '.join(_required(found[0], renamed))}"
    if found[0].name == "transcript":
        reason += ", which begins with who speaks"
    return _bound(found[0], row, renamed, reason)


def candidates(row: Mapping[str, Any], renamed: Names) -> list[Format]:
    """The formats whose fields a record has."""
    found = [spec for spec in FORMATS.values() if all(row.get(name) is not None for name in _required(spec, renamed))]
    others = [spec for spec in found if spec.name not in ("text", "transcript")]
    if others or not found:
        return others
    text = row[renamed.get("text", "text")]
    return [FORMATS["transcript" if isinstance(text, str) and is_transcript(text) else "text"]]


def _bound(spec: Format, row: Mapping[str, Any], renamed: Names, reason: str) -> Detected:
    names = spec.names(renamed)
    if spec.inner:
        turns = row.get(names[spec.required[0]])
        first = turns[0] if isinstance(turns, list) and turns and isinstance(turns[0], dict) else {}
        spelled = [pair for pair in _TURN_FIELDS if all(field in first for field in pair)]
        if spelled and not any(field in renamed for field in spec.inner) and spec.inner != spelled[0]:
            names |= dict(zip(spec.inner, spelled[0], strict=True))
            reason += f"; its turns have {' and '.join(spelled[0])}"
    unread = tuple(sorted(str(field) for field in row if field not in names.values()))
    return Detected(spec.name, reason, spec.build(names), names, unread)


def _required(spec: Format, renamed: Names) -> tuple[str, ...]:
    return tuple(renamed.get(field, field) for field in spec.required)


def _advice(row: Mapping[str, Any]) -> str:
    known = "; ".join(f"{spec.name}: {', '.join(spec.required)}" for spec in FORMATS.values())
    return (
        f"no known format has the fields {', '.join(sorted(map(str, row))) or '(none)'}: name the format and what the"
        f" file calls its fields ({known})"
    )
