"""What `forgeline validate --preferences` prints: a table of figures, or all of it as JSON."""

from typing import Any

from rich.markup import escape
from rich.table import Table

from forgeline.sources.preference_formats.checking import PairVerdict


def summary_table(verdict: PairVerdict) -> Table:
    """Files with their formats, good rows and problems."""
    table = Table(box=None, pad_edge=False)
    table.add_column("file", overflow="fold")
    table.add_column("format")
    for name in ("good rows", "problems"):
        table.add_column(name, justify="right")
    for figures in verdict.files:
        counted = (figures.num_rows, figures.problems.total())
        table.add_row(escape(str(figures.path)), figures.format or "none", *(f"{number:,}" for number in counted))
    return table


def as_json(verdict: PairVerdict) -> dict[str, Any]:
    """All of it for another program."""
    return {
        "files": [
            {
                "path": figures.path.as_posix(),
                "format": figures.format or None,
                "num_rows": figures.num_rows,
                "problems": dict(sorted(figures.problems.items())),
            }
            for figures in verdict.files
        ],
        "listed_problems": verdict.problems.listed,
        "num_problems": verdict.problems.total,
    }
