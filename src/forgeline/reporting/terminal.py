"""The leaderboard on a terminal: a line for each score, a column for each model, readable at 80 characters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from forgeline.reporting.leaderboard import Column, Row, baseline_of, best_of, columns_of

_LABEL_WIDTH, _BASELINE_WIDTH, _CELL_WIDTH = 15, 9, 9  # characters
_LEFT_OUT = ("preference.margin",)  # the report has it; a terminal is narrow
_CAPTION = "Below each score: its 95 % interval. ▲ ▼: better or worse than its parent (exact paired test)."


def leaderboard_table(rows: Sequence[Row]) -> RenderableType:
    """Rows of leaderboard.json: value and 95 % interval, best in bold, arrows for sure differences.

    A column for each model; what does not fit on a line of the terminal goes into further tables.
    """
    return _Tables(rows)


@dataclass(frozen=True)
class _Tables:
    rows: Sequence[Row]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """As rich asks for it."""
        for shown in _by_width(self.rows, options.max_width):
            yield _table(self.rows, shown)
        yield Text(_CAPTION, style="italic")


def _by_width(rows: Sequence[Row], width: int) -> list[list[Row]]:
    """As many models side by side as fit, at least one."""
    tables: list[list[Row]] = [[]]
    left = free = width - _LABEL_WIDTH - _BASELINE_WIDTH
    for row in rows:
        needed = max(len(row["model"]), _CELL_WIDTH) + 1
        if tables[-1] and needed > left:
            tables.append([])
            left = free
        tables[-1].append(row)
        left -= needed
    return tables


def _table(rows: Sequence[Row], shown: Sequence[Row]) -> Table:
    table = Table(title="Leaderboard", title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("", min_width=_LABEL_WIDTH - 1, overflow="fold")
    for row in shown:
        table.add_column(row["model"], justify="right", no_wrap=True)
    table.add_column("baseline", min_width=8, justify="right", overflow="fold", style="dim")
    for column in columns_of(rows):
        if column.key not in _LEFT_OUT:
            best = best_of(rows, column)
            table.add_row(column.label, *[_cell(row, column, best) for row in shown], _baseline(rows, column))
    table.add_section()
    table.add_row("size, MB", *[_cost(row, "size_bytes", 1e6, 1) for row in shown], "")
    table.add_row("bits/weight", *[_bits(row) for row in shown], "")
    table.add_row("tokens/s", *[_cost(row, "tokens_per_second", 1, 0) for row in shown], "")
    table.add_row("latency, ms", *[_cost(row, "latency_median_seconds", 1e-3, 0) for row in shown], "")
    table.add_row("memory, MB", *[_cost(row, "peak_memory_bytes", 1e6, 0) for row in shown], "")
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


def _bits(row: Row) -> str:
    storage = row.get("storage")  # leaderboards of older runs have none
    return f"{storage['bits_per_weight']:.2f}" if storage else ""


def _baseline(rows: Sequence[Row], column: Column) -> str:
    baseline = baseline_of(rows, column.key)
    return f"{_short(baseline[0], column.digits)}\n{baseline[1]}" if baseline else ""
