"""What the commands print: formats with the reason, a table of figures, the problems."""

from typing import Any

from rich.markup import escape
from rich.table import Table

from forgeline.sources.conversations.commands import FileFigures, Verdict
from forgeline.sources.conversations.problems import Problems


def format_lines(verdict: Verdict) -> list[str]:
    """A line for each file: its format, why, and the fields that are not read."""
    return [_format_line(figures) for figures in verdict.files]


def summary_table(verdict: Verdict) -> Table:
    """Files with their conversations, turns and problems."""
    table = Table(box=None, pad_edge=False)
    table.add_column("file", overflow="fold")
    table.add_column("format")
    for name in ("conversations", "turns", "with tools", "problems"):
        table.add_column(name, justify="right")
    for figures in verdict.files:
        counted = (figures.num_conversations, figures.num_turns, figures.num_with_tools, figures.problems.total())
        table.add_row(escape(str(figures.path)), figures.format or "none", *(f"{number:,}" for number in counted))
    return table


def problem_lines(problems: Problems) -> list[str]:
    """The first problems in full, then how many there are of each kind."""
    if not problems.total:
        return []
    left_out = problems.total - len(problems.listed)
    kinds = ", ".join(f"{kind} {number:,}" for kind, number in sorted(problems.counts.items()))
    more = [f"... and {left_out:,} more (--errors lists more)"] if left_out else []
    return [*problems.listed, *more, f"problems: {problems.total:,} ({kinds})"]


def as_json(verdict: Verdict) -> dict[str, Any]:
    """All of it for another program."""
    return {
        "files": [
            {
                "path": figures.path.as_posix(),
                "format": figures.format or None,
                "reason": figures.reason,
                "unread_fields": list(figures.unread),
                "num_conversations": figures.num_conversations,
                "num_turns": figures.num_turns,
                "num_with_tools": figures.num_with_tools,
                "problems": dict(sorted(figures.problems.items())),
            }
            for figures in verdict.files
        ],
        "listed_problems": verdict.problems.listed,
        "num_problems": verdict.problems.total,
    }


def _format_line(figures: FileFigures) -> str:
    if not figures.format:
        return f"{figures.path}: no format found"
    unread = f"; not read: {', '.join(figures.unread)}" if figures.unread else ""
    return f"{figures.path}: {figures.format} ({figures.reason}{unread})"
