"""Where the texts of a source go: into shards of documents or, with a reason, into shards of dropped records."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from forgeline.core.records import document_id, documents_table
from forgeline.core.shards import ShardWriter
from forgeline.sources.budget import Budget
from forgeline.text.funnel import DroppedRow, dropped_table
from forgeline.text.measure import text_figures


@dataclass
class Figures:
    """What came of records: counts that add up, of a part of a source or of all of it.

    Attributes:
        num_records: Records read.
        documents: As `text_figures`, of those that became documents.
        dropped: Number of the others by reason: `empty` (nothing but white space) and `over_limit`.
        reading: Counts about reading: unpacked bytes, repairs.
        is_spent: Whether the budget left something out.
    """

    num_records: int = 0
    documents: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    reading: Counter[str] = field(default_factory=Counter)
    is_spent: bool = False

    def add(self, other: "Figures") -> None:
        """Adds those of another part."""
        self.num_records += other.num_records
        self.documents.update(other.documents)
        self.dropped.update(other.dropped)
        self.reading.update(other.reading)
        self.is_spent = self.is_spent or other.is_spent


class Sink:
    """Writes what it is given, in that order, as far as the budget goes."""

    def __init__(self, source: str, budget: Budget, documents: ShardWriter, dropped: ShardWriter) -> None:
        self.figures = Figures()
        self._source = source
        self._budget = budget
        self._documents = documents
        self._dropped = dropped

    def write(self, texts: Sequence[str], origin: str) -> int:
        """Takes the texts of consecutive records up to the first that the budget has no room for.

        Args:
            texts: In order.
            origin: The file they are from, which dropped records name as their detail.

        Returns:
            How many records were taken or dropped: all, or as many as there are up to and with the one too many.
        """
        filled = [index for index, text in enumerate(texts) if not _is_blank(text)]
        num_kept = self._budget.take([texts[index] for index in filled])
        kept = filled[:num_kept]
        end = len(texts) if num_kept == len(filled) else filled[num_kept] + 1
        table = documents_table([texts[index] for index in kept], self._source)
        self._documents.write(table)
        self.figures.documents.update(text_figures(table))
        self.figures.num_records += end
        self.figures.is_spent = self._budget.is_spent
        left = [texts[index] for index in sorted(set(range(end)).difference(kept))] if end > num_kept else []
        self._drop([(text, "empty" if _is_blank(text) else "over_limit") for text in left], origin)
        return end

    def write_over_limit(self, texts: Sequence[str], origin: str) -> None:
        """Drops records that are there but that the budget has no room for."""
        self.figures.num_records += len(texts)
        self._drop([(text, "over_limit") for text in texts], origin)

    def _drop(self, rows: Sequence[tuple[str, str]], origin: str) -> None:
        if not rows:
            return
        self._dropped.write(
            dropped_table(DroppedRow(document_id(text), text, self._source, reason, origin) for text, reason in rows)
        )
        self.figures.dropped.update(reason for _, reason in rows)


def _is_blank(text: str) -> bool:
    return not text or text.isspace()
