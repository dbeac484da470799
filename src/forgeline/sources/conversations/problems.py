"""What can be wrong with a record, and how much of it is told."""

from collections import Counter
from collections.abc import Callable
from typing import Literal

Kind = Literal[
    "broken",  # no record could be read: JSON, UTF-8, a damaged file
    "unknown_format",
    "mixed_formats",
    "missing_field",
    "wrong_type",
    "unknown_role",
    "role_order",
    "empty",
    "echo",
    "tools",  # a definition or a call that is no JSON
    "equal_answers",  # of a preference pair
    "parted_early",  # two transcripts that are answers to different prompts
]
FILTERABLE: tuple[Kind, ...] = ("empty", "echo")  # a whole conversation that teaches nothing: may be dropped instead


class RecordProblem(Exception):
    """One record is not a conversation to learn from. Caught where the record's place is known."""

    def __init__(self, kind: Kind, field: str, text: str) -> None:
        """Notes the problem.

        Args:
            kind: By which problems are counted.
            field: Path of the field, `messages[1].content` for instance; empty for the whole record.
            text: What is wrong and what to do.
        """
        super().__init__(text)
        self.kind: Kind = kind
        self.field = field

    def at(self, where: str) -> str:
        """The message: place of the record, field, what is wrong, what to do."""
        return f"{where}:{self.field}: {self}" if self.field else f"{where}: {self}"


class Problems:
    """All problems counted by kind, the first ones with their messages."""

    def __init__(self, max_listed: int) -> None:
        """Starts with none; no more than `max_listed` messages are kept."""
        self.listed: list[str] = []
        self.counts: Counter[Kind] = Counter()
        self._max_listed = max_listed

    def add(self, kind: Kind, message: Callable[[], str]) -> None:
        """Counts a problem. `message` is called only if it is kept: it may have to read the file again."""
        self.counts[kind] += 1
        if len(self.listed) < self._max_listed:
            self.listed.append(message())

    @property
    def total(self) -> int:
        """How many there are, listed or not."""
        return self.counts.total()
