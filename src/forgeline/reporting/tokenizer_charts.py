"""What the tokenizer does to each source, and how its vocabulary is used, as inline SVG in the manner of `plots`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

from forgeline.reporting.corpus import Mix
from forgeline.reporting.corpus_charts import mix_chart
from forgeline.reporting.plots import WIDTH, drawing

MAX_SOURCES = 12  # the largest; more would make the picture long
_NAME_WIDTH, _VALUE_WIDTH = 130.0, 48.0
_BAR, _ROW = 11.0, 20.0
_LONGEST_NAME = 20
_STYLES = ("s8", "s2", "s3", "s1", "s5")  # from entries that never occur to the most frequent


@dataclass(frozen=True)
class Figure:
    """A drawing with its caption and, where colours need one, its legend of CSS classes and names."""

    caption: str
    chart: str
    legend: Sequence[tuple[str, str]]


def tokenizer_figures(metrics: Mapping[str, Any]) -> list[Figure]:
    """The pictures of the `tokenizer` stage's metrics, none before it has run.

    Bytes per token is compression: more is better. Tokens per word is fertility: less is better.
    """
    sources = sorted(metrics.get("sources", {}).items(), key=lambda item: (-item[1]["num_tokens"], item[0]))
    shown = [("all sources", metrics), *sources[:MAX_SOURCES]] if len(sources) > 1 else sources
    figures = [
        Figure(caption, bar_chart(caption, [(name, float(values[figure])) for name, values in shown]), ())
        for caption, figure in (("Bytes per token", "bytes_per_token"), ("Tokens per word", "tokens_per_word"))
    ]
    return [figure for figure in [*figures, _usage(metrics.get("usage", []))] if figure.chart]


def bar_chart(title: str, rows: Sequence[tuple[str, float]], value_format: str = "{:.2f}") -> str:
    """Horizontal bars from zero, each with its name and value. Empty without rows."""
    if not rows:
        return ""
    largest = max(value for _, value in rows) or 1.0
    length = WIDTH - _NAME_WIDTH - _VALUE_WIDTH
    body = ""
    for number, (name, value) in enumerate(rows):
        y = number * _ROW
        short = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
        body += f'<text class="name" x="0" y="{y + 12:.1f}">{escape(short)}</text>'
        body += f'<rect class="fill s1" x="{_NAME_WIDTH:g}" y="{y + 3:.1f}" width="{length * value / largest:.1f}" '
        body += f'height="{_BAR:g}"/>'
        body += f'<text class="tick" x="{WIDTH}" y="{y + 12:.1f}" text-anchor="end">{value_format.format(value)}</text>'
    said = " ".join(f"{name}: {value_format.format(value)}." for name, value in rows)
    return drawing(title, said, body, "chart", len(rows) * _ROW)


def _usage(rows: Sequence[Mapping[str, int]]) -> Figure:
    """Which part of the vocabulary is frequent, and which part of the text that is."""
    names = _range_names([row["at_least"] for row in rows])
    styles = dict(zip(names, _STYLES, strict=False))
    mixes = [
        Mix(point, {name: float(row[figure]) for name, row in zip(names, rows, strict=True)})
        for point, figure in (
            ("entries of the vocabulary", "num_entries"),
            ("tokens of the training text", "num_tokens"),
        )
    ]
    caption = "How often entries occur in the training text"
    chart = mix_chart(caption, [mix for mix in mixes if mix.total > 0], styles, "")
    return Figure(caption, chart, [(style, name) for name, style in styles.items()])


def _range_names(edges: Sequence[int]) -> list[str]:
    """`never`, `1 to 9 times`, ..., `1,000 times or more`."""
    inner = ["never" if low == 0 else f"{low:,} to {high - 1:,} times" for low, high in pairwise(edges)]
    return [*inner, f"{edges[-1]:,} times or more"] if edges else []
