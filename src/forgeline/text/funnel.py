"""Nothing disappears silently: rows for dropped documents, each with its reason."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import pyarrow as pa

from forgeline.core.records import DROPPED


@dataclass(frozen=True)
class DroppedRow:
    """A record that went no further, in the columns of `records.DROPPED`.

    Attributes:
        doc_id: Its content hash.
        text: Its text, so that a reader can judge the decision.
        source: Where it came from.
        reason: One word that the metrics count.
        detail: What made the rule fire: a number, or the id of the record it collides with.
    """

    doc_id: str
    text: str
    source: str
    reason: str
    detail: str = ""


def dropped_table(rows: Iterable[DroppedRow]) -> pa.Table:
    """The rows as a table, in the given order."""
    return pa.Table.from_pylist([asdict(row) for row in rows], schema=DROPPED)


def count_reasons(dropped: pa.Table) -> dict[str, int]:
    """How many rows of a dropped table have each reason, by name."""
    return dict(sorted(Counter(dropped["reason"].to_pylist()).items()))
