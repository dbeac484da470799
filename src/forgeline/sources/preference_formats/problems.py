"""What is wrong with a row of preference data."""

from forgeline.core.errors import DataError
from forgeline.sources.conversations.problems import Kind
from forgeline.sources.formats.records import Where


class RowProblem(DataError):
    """A row cannot be read as a pair. The message is file, line and field, what is wrong, and what to do."""

    def __init__(self, kind: Kind, where: Where, field: str, text: str) -> None:
        """Notes the problem.

        Args:
            kind: By which problems are counted.
            where: The row's place.
            field: Path of the field, `history[0]` for instance.
            text: What is wrong and what to do.
        """
        super().__init__(text)
        self.kind: Kind = kind
        self._where, self._field = where, field

    def __str__(self) -> str:
        """The message; a place is only looked up for it, which may read the file again."""
        return f"{self._where()}:{self._field}: {self.args[0]}"
