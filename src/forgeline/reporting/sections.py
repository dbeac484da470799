"""What the report shows beside the leaderboard: training curves and figures of stages."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgeline.core.errors import DataError
from forgeline.core.pipeline import PipelineStage
from forgeline.reporting.corpus import metrics_of
from forgeline.reporting.plots import Line, line_chart

MAX_POINTS = 400  # of one curve; longer ones are averaged over equal runs of steps
_NO_FIGURES = ("records", "generations")  # shown elsewhere
_SPLITS = ("train_", "validation_", "eval_")
_FIRST = ("loss", "reward", "accuracy", "margin", "exact", "kl")  # what a reader looks for first, by part of the name
_SECOND = ("_std", "learning_rate")  # although the name holds such a part
_UNITS = {"loss": "loss (nats)", "kl": "KL (nats)", "margin": "margin (nats)", "entropy": "entropy (nats)"}
_LOG_FROM_RATIO = 8.0  # curves that span more than this are drawn on a logarithmic axis


@dataclass(frozen=True)
class Curves:
    """The charts of one training stage: the ones to show, the ones to show on request, and their legends."""

    stage: str
    main: Sequence[tuple[str, str]]
    more: Sequence[tuple[str, str]]


def training_curves(history: Path, order: Sequence[str]) -> list[Curves]:
    """Charts of every `<stage>.csv` in `history`, in the order of `order`, then by name."""
    files = {path.stem: path for path in sorted(history.glob("*.csv"))}
    names = [name for name in dict.fromkeys(order) if name in files]
    return [_curves(name, files[name]) for name in names + [name for name in files if name not in names]]


def figures(metrics_folder: Path, stages: Sequence[PipelineStage]) -> dict[str, dict[str, Any]]:
    """The plain figures of every stage's metrics file, by address and dotted name."""
    found = {}
    for stage in stages:
        if stage.name not in ("evaluate", "report", "register"):
            leaves = dict(_leaves({k: v for k, v in metrics_of(metrics_folder, stage).items() if k not in _NO_FIGURES}))
            found[stage.address] = leaves
    return {address: leaves for address, leaves in found.items() if leaves}


@dataclass(frozen=True)
class StageScore:
    """A figure with an interval that a training stage measured of its own model."""

    stage: str
    name: str
    value: float
    low: float
    high: float
    n: int
    baseline: float | None
    baseline_name: str | None

    @property
    def is_clear(self) -> bool:
        """Whether the baseline lies outside the interval."""
        return self.baseline is not None and not self.low <= self.baseline <= self.high


def stage_scores(metrics_folder: Path, stages: Sequence[PipelineStage]) -> list[StageScore]:
    """The figures with intervals of every stage but `evaluate`, which the leaderboard shows."""
    return [
        StageScore(
            stage.address, name, score["value"], score["low"], score["high"], score["n"],
            score.get("baseline"), score.get("baseline_name"),
        )
        for stage in stages
        if stage.name not in ("evaluate", "report", "register")
        for name, score in _scores(metrics_of(metrics_folder, stage))
    ]  # fmt: skip


def _scores(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and {"value", "low", "high", "n"} <= value.keys():
            yield f"{prefix}{name}", value
        elif isinstance(value, Mapping):
            yield from _scores(value, f"{prefix}{name}.")


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        elif isinstance(value, str | int | float | bool) or value is None:
            yield f"{prefix}{name}", value
        else:
            yield f"{prefix}{name}", json.dumps(value)[:200]


def _curves(stage: str, path: Path) -> Curves:
    with path.open(encoding="utf-8", newline="") as file:
        columns = parse_history(csv.DictReader(file), path.as_posix())
    groups: dict[str, list[str]] = {}
    for column in columns:
        groups.setdefault(base_name(column), []).append(column)
    charts = {
        base: _chart(stage, base, {column: columns[column] for column in found}) for base, found in groups.items()
    }
    main = sorted((base for base in charts if is_prominent(base) and charts[base][1]), key=_rank)
    more = [base for base in charts if not is_prominent(base) and charts[base][1]]
    return Curves(stage, [charts[base] for base in main], [charts[base] for base in more])


def base_name(column: str) -> str:
    """The figure that a column of a history holds: `loss` of `train_loss`."""
    return next((column.removeprefix(split) for split in _SPLITS if column.startswith(split)), column)


def is_prominent(base: str) -> bool:
    """Whether a reader looks for this figure first."""
    return any(word in base for word in _FIRST) and not any(word in base for word in _SECOND)


def prominent(columns: Sequence[str]) -> list[str]:
    """One column for each figure that a reader looks for first, the one on held-out data where there is one."""
    chosen: dict[str, str] = {}
    for column in columns:
        base = base_name(column)
        if is_prominent(base) and (base not in chosen or not column.startswith("train_")):
            chosen[base] = column
    return [chosen[base] for base in sorted(chosen, key=_rank)]


def axis_label(base: str, wide: bool) -> str:
    """Name and unit of a figure."""
    return _UNITS.get(base_name(base), base.replace("_", " ")) + (", log scale" if wide else "")


def is_wide(base: str, lines: Sequence[Line]) -> bool:
    """Whether a loss spans so much that it is drawn on a logarithmic axis."""
    values = [y for line in lines for _, y in line.points]
    return bool(values) and min(values) > 0 and max(values) / min(values) > _LOG_FROM_RATIO and "loss" in base


def _rank(base: str) -> int:
    return next(place for place, word in enumerate(_FIRST) if word in base)


def _chart(stage: str, base: str, columns: Mapping[str, list[tuple[float, float]]]) -> tuple[str, str]:
    """Legend and drawing of the columns that belong together, `train_loss` and `validation_loss` for instance."""
    lines = []
    for index, (name, points) in enumerate(columns.items()):
        sparse = len(points) <= 40 and len(points) < max(map(len, columns.values()))
        lines.append(Line(name.replace("_", " "), thin(points, MAX_POINTS), f"s{index + 1}", marked=sparse))
    wide = is_wide(base, lines)
    drawing = line_chart(f"{stage}: {axis_label(base, False)}", lines, "step", axis_label(base, wide), wide)
    legend = "".join(f'<span class="key {line.style}">{line.name}</span>' for line in lines if line.points)
    return legend, drawing


def thin(points: list[tuple[float, float]], limit: int) -> list[tuple[float, float]]:
    """At most `limit` points; each stands for the mean of equally many neighbours."""
    size = -(-len(points) // limit)
    if size <= 1:
        return points
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


def parse_history(rows: Iterable[dict[str, str]], source: str) -> dict[str, list[tuple[float, float]]]:
    """Points (step, value) by column; blanks are steps at which the column was not measured.

    Args:
        rows: Of the CSV file.
        source: What to call the file.

    Raises:
        DataError: A row has no step or something that is no number; the message names its line.
    """
    columns: dict[str, list[tuple[float, float]]] = {}
    for number, row in enumerate(rows, start=2):
        try:
            step = float(row.pop("step"))
            for name, value in row.items():
                if value:
                    columns.setdefault(name, []).append((step, float(value)))
        except (KeyError, ValueError):
            raise DataError(f"{source}:{number}: not a training history: delete it and run `dvc repro`") from None
    return columns
