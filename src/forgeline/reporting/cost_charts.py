"""Quality against what it costs: size, bits per weight, latency, memory, each with its Pareto front."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from forgeline.reporting.leaderboard import Column, Row, columns_of
from forgeline.reporting.plots import Dot, scatter_chart

MAX_SCORES = 12  # to choose from; each has a drawing for every cost


@dataclass(frozen=True)
class CostChart:
    """The scatter plots of one score."""

    score: str
    charts: Sequence[Markup]


@dataclass(frozen=True)
class _Cost:
    label: str
    group: str
    key: str
    scale: float
    log: bool = False


_COSTS = (
    _Cost("size on disk (MB, log scale)", "cost", "size_bytes", 1e-6, log=True),
    _Cost("bits per weight as stored", "storage", "bits_per_weight", 1.0),
    _Cost("median latency of one answer (ms)", "cost", "latency_median_seconds", 1e3),
    _Cost("peak memory (MB)", "cost", "peak_memory_bytes", 1e-6),
)


def cost_charts(rows: Sequence[Row], colours: Mapping[str, str]) -> list[CostChart]:
    """The first score of each task, accuracies first, against every cost that was measured.

    Args:
        rows: Of the leaderboard.
        colours: CSS class of each model.
    """
    firsts: dict[str, Column] = {}
    for column in columns_of(rows):
        firsts.setdefault(column.task, column)
    ordered = sorted(firsts.values(), key=lambda column: not column.key.endswith(".accuracy"))
    found = [CostChart(column.label, _charts(rows, column, colours)) for column in ordered[:MAX_SCORES]]
    return [chart for chart in found if chart.charts]


def score_dot(row: Row, key: str, x: float, colours: Mapping[str, str]) -> Dot:
    """A model's score with its interval, at `x`."""
    score = row["scores"][key]
    return Dot(row["model"], x, score["value"], score["low"], score["high"], colours[row["model"]])


def _charts(rows: Sequence[Row], column: Column, colours: Mapping[str, str]) -> list[Markup]:
    charts = []
    for cost in _COSTS:
        measured = [row for row in rows if row[cost.group] and column.key in row["scores"]]
        dots = [score_dot(row, column.key, row[cost.group][cost.key] * cost.scale, colours) for row in measured]
        title = f"{column.label} against {cost.label}"
        chart = scatter_chart(title, dots, cost.label, column.label, cost.log, column.lower_is_better)
        charts.append(Markup(chart))
    return [chart for chart in charts if chart]
