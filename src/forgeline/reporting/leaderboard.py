"""All models side by side: scores with intervals and baselines, cost, and paired differences from their parents."""

import json
import os
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgeline.core.pipeline import PipelineStage
from forgeline.core.storage import read_json
from forgeline.reporting.comparison import Comparison

Row = Mapping[str, Any]
# By model, as JSON, `status` and `reason` of evaluations that failed in the run which makes the leaderboard.
FAILED_VARIABLE = "FORGELINE_FAILED_EVALUATIONS"


@dataclass(frozen=True)
class Column:
    """A score of the leaderboard: `key` is `<task>.<score>`; `lower_is_better` turns the order round."""

    key: str
    label: str
    lower_is_better: bool = False
    digits: int = 3

    @property
    def task(self) -> str:
        """The task whose score it is."""
        return self.key.partition(".")[0]


HEADLINES = (
    Column("perplexity.bits_per_byte", "bits per byte", lower_is_better=True),
    Column("organ_system.accuracy", "organ system accuracy"),
    Column("organ_system.macro_f1", "organ system macro-F1"),
    Column("organ_system.format_rate", "answer format"),
    Column("is_a.accuracy", "yes/no accuracy"),
    Column("is_a.mcc", "yes/no MCC"),
    Column("definition_choice.accuracy", "definition choice"),
    Column("preference.accuracy", "preference accuracy"),
    Column("preference.margin", "preference margin", digits=2),
)
_COMPARED = ("difference", "p_value", "significant")
_KNOWN_TASKS = {column.task for column in HEADLINES}


def collect_rows(
    metrics_folder: Path, order: Sequence[str], parents: Mapping[str, str], comparisons: Iterable[Comparison]
) -> list[dict[str, Any]]:
    """One row per evaluated model, in the given order (models it does not name come last, by name).

    Args:
        metrics_folder: The metrics folder, with evaluate/<model>.json and, if measured, benchmark/<model>.json.
        order: Models as the pipeline lists them.
        parents: The model each was made from.
        comparisons: Paired differences from the parents.
    """
    found = {path.stem: read_json(path) for path in sorted((metrics_folder / "evaluate").glob("*.json"))}
    known = [model for model in order if model in found]
    models = known + [model for model in found if model not in known]
    by_model: dict[str, dict[str, Any]] = {model: {} for model in models}
    storage = _storage(metrics_folder)
    for comparison in comparisons:
        by_model[comparison.model][comparison.task] = comparison.as_json()
    return [
        {
            "model": model,
            "parent": parents.get(model),
            "scores": {
                f"{task}.{name}": score
                for task, scores in found[model]["tasks"].items()
                for name, score in scores.items()
            },
            "methods": found[model].get("methods", {}),
            "cost": _cost(metrics_folder / "benchmark" / f"{model}.json"),
            "storage": storage.get(model),
            "comparisons": by_model[model],
        }
        for model in models
    ]


def not_evaluated(metrics_folder: Path, order: Sequence[str], lock: Container[str]) -> list[dict[str, str]]:
    """The models of the pipeline that no row can stand for, each with the reason.

    DVC removes a stage's outputs before it runs and a stage that fails writes none, so a failed evaluation shows as a
    missing metrics file. Why it failed only its run knows, which can say so in `FAILED_VARIABLE`.

    Args:
        metrics_folder: The metrics folder.
        order: Models as the pipeline lists them.
        lock: Stages in dvc.lock: they tell an evaluation that never ended well from one whose output is gone.
    """
    failed: dict[str, dict[str, str]] = json.loads(os.environ.get(FAILED_VARIABLE, "{}"))
    missing = []
    for model in order:
        if (metrics_folder / "evaluate" / f"{model}.json").is_file():
            continue
        ran = f"evaluate@{model}" in lock
        reason = "its last evaluation failed or was removed" if ran else "its evaluation has not ended well yet"
        advice = f"`dvc repro evaluate@{model}` says why or makes it"
        unknown = {"status": "not evaluated", "reason": f"{reason}: {advice}"}
        missing.append({"model": model, **unknown, **failed.get(model, {})})
    return missing


def columns_of(rows: Sequence[Row]) -> list[Column]:
    """The score columns that these rows fill: the headlines, then every score of tasks the headlines do not know."""
    present = {key for row in rows for key in row["scores"]}
    others = sorted(key for key in present if key.partition(".")[0] not in _KNOWN_TASKS)
    labels = [Column(key, key.replace(".", " ").replace("_", " ")) for key in others]
    return [column for column in HEADLINES if column.key in present] + labels


def baseline_of(rows: Sequence[Row], key: str) -> tuple[float, str] | None:
    """Value and name of a score's baseline; it belongs to the task, so every model has the same."""
    for row in rows:
        score = row["scores"].get(key)
        if score and score.get("baseline") is not None:
            return float(score["baseline"]), str(score["baseline_name"])
    return None


def best_of(rows: Sequence[Row], column: Column) -> float | None:
    """The best value of a column."""
    values = [row["scores"][column.key]["value"] for row in rows if column.key in row["scores"]]
    if not values:
        return None
    return float(min(values) if column.lower_is_better else max(values))


def as_csv(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Flat rows: every score with its interval, n and baseline, the paired differences, cost and storage.

    Blank where not measured.
    """
    keys = sorted({key for row in rows for key in row["scores"]})
    tasks = sorted({task for row in rows for task in row["comparisons"]})
    costs = sorted({key for row in rows for key in _measured(row)})
    flat = []
    for row in rows:
        line: dict[str, Any] = {"model": row["model"], "parent": row["parent"] or ""}
        for key in keys:
            score = row["scores"].get(key, {})
            line[key] = score.get("value", "")
            line |= {f"{key}.{name}": _blank(score.get(name)) for name in ("low", "high", "n", "baseline")}
        for task in tasks:
            compared = row["comparisons"].get(task, {})
            line |= {f"{task}.parent.{name}": _blank(compared.get(name)) for name in _COMPARED}
        flat.append(line | {key: _measured(row).get(key, "") for key in costs})
    return flat


def model_parents(stages: Sequence[PipelineStage], evaluated: Iterable[str]) -> dict[str, str]:
    """The nearest evaluated model that each evaluated model was made from, read from the pipeline's models/ paths."""
    wanted = set(evaluated)
    position: dict[str, int] = {}
    deps: dict[str, list[str]] = {}
    for index, stage in enumerate(stages):
        for out in stage.outs:
            if out.startswith("models/"):
                position[out] = index
                deps[out] = [dep for dep in stage.deps if dep.startswith("models/")]

    def nearest(path: str) -> str | None:
        """`path` itself when evaluated, else its own nearest evaluated ancestor."""
        return path if path.removeprefix("models/") in wanted else parent(path)

    def parent(path: str) -> str | None:
        ancestors = [found for dep in deps.get(path, []) if (found := nearest(dep)) is not None]
        return max(ancestors, key=lambda ancestor: position.get(ancestor, -1), default=None)

    found = {model: parent(f"models/{model}") for model in sorted(wanted)}
    return {model: path.removeprefix("models/") for model, path in found.items() if path is not None}


def _cost(path: Path) -> dict[str, Any] | None:
    """What running a model costs, from its benchmark; None when nobody measured."""
    if not path.is_file():
        return None
    content = read_json(path)
    latency = {f"latency_{key}_seconds": value for key, value in content["latency_seconds"].items()}
    names = ("tokens_per_second", "peak_memory_bytes", "size_bytes", "load_seconds")
    return {**latency, **{name: content[name] for name in names}}


def _storage(metrics_folder: Path) -> dict[str, dict[str, Any]]:
    """Bits per weight as stored: of quantized models as they say, of what they were made from by size."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((metrics_folder / "quantize").glob("*.json")):
        content = read_json(path)
        found[path.stem] = {"bits_per_weight": content["bits_per_weight"], "quantization": content["tag"]}
        cost = _cost(metrics_folder / "benchmark" / f"{content['model']}.json")
        if cost:
            bits = 8 * cost["size_bytes"] / content["num_parameters"]
            found.setdefault(content["model"], {"bits_per_weight": bits, "quantization": ""})
    return found


def _measured(row: Row) -> dict[str, Any]:
    return {**(row["cost"] or {}), **(row.get("storage") or {})}


def _blank(value: object) -> object:
    return "" if value is None else value
