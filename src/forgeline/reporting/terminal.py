"""The leaderboard on a terminal."""

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table

from forgeline.reporting.leaderboard import Column, Row, baseline_of, best_of, columns_of


def leaderboard_table(rows: Sequence[Row]) -> Table:
    """Rows of leaderboard.json as a table: value and 95 % interval, best in bold, arrows for sure differences."""
    table = Table(
        title="Leaderboard", caption=_CAPTION, title_justify="left", caption_justify="left", box=box.SIMPLE_HEAD
    )
    columns = [column for column in columns_of(rows) if column.key not in _LEFT_OUT]
    table.add_column("model")
    for column in columns:
        table.add_column(column.label, justify="right")
    for header in ("size", "tokens/s"):
        table.add_column(header, justify="right")
    for row in rows:
        cost = row["cost"] or {}
        size = f"{cost['size_bytes'] / 1e6:.1f} MB" if cost else ""
        speed = f"{cost['tokens_per_second']:,.0f}" if cost else ""
        table.add_row(row["model"], *[_cell(row, column, best_of(rows, column)) for column in columns], size, speed)
    table.add_section()
    table.add_row("baseline", *[_baseline(rows, column) for column in columns], "", "", style="dim")
    return table


_LEFT_OUT = ("preference.margin",)  # the report has it; a terminal is narrow
_CAPTION = "Second line: 95 % interval. ▲ ▼: better or worse than its parent (exact paired test)."


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
    value = f"{score['value']:.{column.digits}f}"
    if score["value"] == best:
        value = f"[bold]{value}[/bold]"
    mark = arrow(row, column)
    interval = f"{score['low']:.2f}…{score['high']:.2f}"
    return f"{value}{' ' + mark if mark else ''}\n[dim]{interval}[/dim]"


def _baseline(rows: Sequence[Row], column: Column) -> str:
    baseline = baseline_of(rows, column.key)
    return f"{baseline[0]:.{column.digits}f}\n{baseline[1]}" if baseline else ""
