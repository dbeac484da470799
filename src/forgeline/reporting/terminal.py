"""The leaderboard on a terminal: a line for each score, a column for each model, readable at 80 characters."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from forgeline.reporting.leaderboard import Column, Row, baseline_of, best_of, columns_of

_LEFT_OUT = ("preference.margin",)  # the report has it; a terminal is narrow
_CAPTION = "Below each score: its 95 % interval. ▲ ▼: better or worse than its parent (exact paired test)."


def leaderboard_table(rows: Sequence[Row]) -> Table:
    """Rows of leaderboard.json as a table: value and 95 % interval, best in bold, arrows for sure differences."""
    table = Table(
        title="Leaderboard",
        caption=_CAPTION,
        title_justify="left",
        caption_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
    )
    table.add_column("", min_width=13, overflow="fold")
    for row in rows:
        table.add_column(row["model"], justify="right", no_wrap=True)
    table.add_column("baseline", min_width=8, justify="right", overflow="fold", style="dim")
    for column in columns_of(rows):
        if column.key not in _LEFT_OUT:
            best = best_of(rows, column)
            table.add_row(column.label, *[_cell(row, column, best) for row in rows], _baseline(rows, column))
    table.add_section()
    table.add_row("size, MB", *[_cost(row, "size_bytes", 1e6, 1) for row in rows], "")
    table.add_row("tokens/s", *[_cost(row, "tokens_per_second", 1, 0) for row in rows], "")
    return table


def arrow(row: Row, column: Column) -> str:
    """▲ or ▼ when the model differs significantly from its parent on the samples of this score, else nothing."""
    if not column.key.endswith((".accuracy", ".bits_per_byte")):
        return ""
    comparison: dict[str, Any] = row["comparisons"].get(column.task, {})
    if not comparison.get("significant"):
        return ""
    return "▲" if comparison["difference"] > 0 else "▼"


def _cell(row: Row, column: Column, best: float | None) -> str:
    score = row["scores"].get(column.key)
    if score is None:
        return ""
    value = _short(score["value"], column.digits)
    if score["value"] == best:
        value = f"[bold]{value}[/bold]"
    interval = f"{_short(score['low'], 2)}…{_short(score['high'], 2)}"
    return f"{arrow(row, column)}{value}\n[dim]{interval}[/dim]"


def _short(value: float, digits: int) -> str:
    """The value without the zero before the point, which scores between -1 and 1 do not need."""
    return f"{value:.{digits}f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.{digits}f}"


def _cost(row: Row, key: str, unit: float, digits: int) -> str:
    return f"{row['cost'][key] / unit:,.{digits}f}" if row["cost"] else ""


def _baseline(rows: Sequence[Row], column: Column) -> str:
    baseline = baseline_of(rows, column.key)
    return f"{_short(baseline[0], column.digits)}\n{baseline[1]}" if baseline else ""
