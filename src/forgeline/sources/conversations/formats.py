"""The formats that conversations come in, each with the fields it is known by."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

from forgeline.core.errors import ParamsError
from forgeline.sources.conversations.multi_turn import Chat, MultiTurn
from forgeline.sources.conversations.plain_text import Transcript, WholeText
from forgeline.sources.conversations.single_turn import SingleTurn

FormatName = Literal[
    "messages",
    "sharegpt",
    "alpaca",
    "prompt_completion",
    "instruction_response",
    "question_answer",
    "openorca",
    "transcript",
    "text",
]
NO_FIELD = ""  # no record has a field of this name, so a converter never finds it
Names = Mapping[str, str]  # a format's own name of a field -> its name in the file


class Converter(Protocol):
    """Makes chats of records."""

    def chat(self, row: dict[str, Any]) -> Chat:
        """The conversation of a record; raises `RecordProblem`."""


@dataclass(frozen=True)
class Format:
    """A way to write conversations.

    Attributes:
        name: What params and commands call it.
        required: Fields by which it is known.
        optional: Fields that it reads where they are.
        inner: Fields of a turn, for formats with a list of turns.
        build: The converter for the names of the fields in a file.
    """

    name: FormatName
    required: tuple[str, ...]
    optional: tuple[str, ...]
    build: Callable[[Names], Converter]
    inner: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """All fields that it knows."""
        return (*self.required, *self.optional, *self.inner)

    def names(self, renamed: Names) -> dict[str, str]:
        """Name in the file of each field."""
        return {field: renamed.get(field, field) for field in self.fields}


def _multi_turn(turns: str, role: str, content: str) -> Callable[[Names], Converter]:
    return lambda names: MultiTurn(names[turns], names[role], names[content], names["system"], names["tools"])


def _single_turn(
    question: str, answer: str, details: str = NO_FIELD, system: str = "system"
) -> Callable[[Names], Converter]:
    def build(names: Names) -> Converter:
        fields = (names.get(field, NO_FIELD) for field in (question, answer, details, system, "history"))
        return SingleTurn(*fields)

    return build


_OF_ROLE = ("role", "content")
_OF_FROM = ("from", "value")
_ALL = (
    Format("messages", ("messages",), ("system", "tools", "format"), _multi_turn("messages", *_OF_ROLE), _OF_ROLE),
    Format("sharegpt", ("conversations",), ("system", "tools"), _multi_turn("conversations", *_OF_FROM), _OF_FROM),
    Format(
        "alpaca", ("instruction", "output"), ("input", "system", "history"),
        _single_turn("instruction", "output", "input"),
    ),
    Format("prompt_completion", ("prompt", "completion"), ("system",), _single_turn("prompt", "completion")),
    Format(
        "instruction_response", ("instruction", "response"), ("context", "system"),
        _single_turn("instruction", "response", "context"),
    ),
    Format("question_answer", ("question", "answer"), ("system",), _single_turn("question", "answer")),
    Format(
        "openorca", ("system_prompt", "question", "response"), (),
        _single_turn("question", "response", system="system_prompt"),
    ),
    Format("transcript", ("text",), (), lambda names: Transcript(names["text"])),
    Format("text", ("text",), (), lambda names: WholeText(names["text"])),
)  # fmt: skip
FORMATS: dict[FormatName, Format] = {known.name: known for known in _ALL}


@dataclass(frozen=True)
class Expected:
    """What is known of a file beforehand: its format or `auto`, and fields that it calls otherwise than the format.

    Raises:
        ValueError: The format does not know a field.
    """

    format: FormatName | Literal["auto"]
    fields: Names

    def __post_init__(self) -> None:
        chosen = FORMATS.values() if self.format == "auto" else [FORMATS[self.format]]
        known = sorted({field for spec in chosen for field in spec.fields})
        for field in self.fields:
            if field not in known:
                raise ValueError(f"format {self.format} has no field '{field}': name one of {', '.join(known)}")


def expected_format(name: str, fields: Sequence[str]) -> Expected:
    """What a command line says of a file: the name of a format, and `field=name in the file` for each renamed field.

    Raises:
        ParamsError: The format or a field is unknown, or the form is another.
    """
    if name != "auto" and name not in FORMATS:
        raise ParamsError(f"unknown format '{name}': choose auto or one of {', '.join(FORMATS)}")
    pairs = [field.partition("=") for field in fields]
    if not all(own and sign and there for own, sign, there in pairs):
        raise ParamsError(
            "write --field as field=name, answer=long_answer for instance: the format's own name comes first"
        )
    try:
        return Expected(cast(FormatName, name), {own: there for own, _, there in pairs})
    except ValueError as error:
        raise ParamsError(str(error)) from None
