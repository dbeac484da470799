"""What the report shows beside the leaderboard: training curves and figures of stages."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
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
_FIRST = ("mean_reward", "loss", "reward", "accuracy", "margin")  # what a reader looks for first, by part of the name
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


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        elif isinstance(value, str | int | float | bool) or value is None:
            yield f"{prefix}{name}", value
        else:
            yield f"{prefix}{name}", json.dumps(value)[:200]


def _curves(stage: str, path: Path) -> Curves:
    columns = _read_history(path)
    groups: dict[str, list[str]] = {}
    for column in columns:
        base = next((column.removeprefix(split) for split in _SPLITS if column.startswith(split)), column)
        groups.setdefault(base, []).append(column)
    charts = {
        base: _chart(stage, base, {column: columns[column] for column in found}) for base, found in groups.items()
    }
    is_main = {base: any(word in base for word in _FIRST) for base in charts}
    main = sorted((base for base in charts if is_main[base] and charts[base][1]), key=_rank)
    more = [base for base in charts if not is_main[base] and charts[base][1]]
    return Curves(stage, [charts[base] for base in main], [charts[base] for base in more])


def _rank(base: str) -> int:
    return next(place for place, word in enumerate(_FIRST) if word in base)


def _chart(stage: str, base: str, columns: Mapping[str, list[tuple[float, float]]]) -> tuple[str, str]:
    """Legend and drawing of the columns that belong together, `train_loss` and `validation_loss` for instance."""
    lines = []
    for index, (name, points) in enumerate(columns.items()):
        sparse = len(points) <= 40 and len(points) < max(map(len, columns.values()))
        lines.append(Line(name.replace("_", " "), _thin(points), f"s{index + 1}", marked=sparse))
    values = [y for line in lines for _, y in line.points]
    wide = bool(values) and min(values) > 0 and max(values) / min(values) > _LOG_FROM_RATIO and "loss" in base
    label = _UNITS.get(base, base.replace("_", " "))
    drawing = line_chart(f"{stage}: {label}", lines, "step", label + (", log scale" if wide else ""), wide)
    legend = "".join(f'<span class="key {line.style}">{line.name}</span>' for line in lines if line.points)
    return legend, drawing


def _thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most MAX_POINTS points; each stands for the mean of equally many neighbours."""
    size = -(-len(points) // MAX_POINTS)
    if size <= 1:
        return points
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


def _read_history(path: Path) -> dict[str, list[tuple[float, float]]]:
    """Points (step, value) by column; blanks are steps at which the column was not measured."""
    columns: dict[str, list[tuple[float, float]]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            try:
                step = float(row.pop("step"))
                for name, value in row.items():
                    if value:
                        columns.setdefault(name, []).append((step, float(value)))
            except (KeyError, ValueError):
                raise DataError(f"{path}:{number}: not a training history: delete it and run `dvc repro`") from None
    return columns
