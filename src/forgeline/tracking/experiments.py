"""One leaderboard over commits and experiments: params that set them apart, scores, differences that are sure."""

import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table

from forgeline.core.errors import DataError
from forgeline.core.params import plain, read_yaml
from forgeline.reporting.comparison import Comparison, compare
from forgeline.reporting.leaderboard import Column, columns_of
from forgeline.tracking.batches import flatten
from forgeline.tracking.evidence import find_samples, samples_path
from forgeline.tracking.git import LOCK_FILE, Revision, committed_revisions, find_revision, workspace

LEADERBOARD = "metrics/leaderboard.json"
PARAMS = "params.yaml"
WORKSPACE = "workspace"
_LISTED_PARAMS = 20
_LISTED_SCORES = 5  # columns that a terminal has room for
_UNTOLD = ("margin", "macro_f1", "mcc", "format_rate")  # in the files, not on the terminal


@dataclass(frozen=True)
class Result:
    """One revision.

    Attributes:
        revision: Its name and commit.
        params: All its params by dotted name.
        rows: Its leaderboard.
        samples: DVC's hash of the samples behind each model's scores.
    """

    revision: Revision
    params: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    samples: Mapping[str, str]


@dataclass(frozen=True)
class Overview:
    """Results side by side, the first of which is the reference.

    Attributes:
        results: In the order in which they are shown.
        differing: Params that do not have the same value in all of them.
        comparisons: By revision and model, against the reference's model of the same name, by task.
        num_left_out: Older results that were not looked at.
    """

    results: Sequence[Result]
    differing: Sequence[str]
    comparisons: Mapping[tuple[str, str], Mapping[str, Comparison]]
    num_left_out: int

    def entries(self) -> Iterator[tuple[Result, Mapping[str, Any], str, Mapping[str, Any]]]:
        """Every score: its result, its row, its name `<task>.<score>`, and the score."""
        for result in self.results:
            for row in result.rows:
                for key, score in row["scores"].items():
                    yield result, row, key, score

    def difference(self, model: str, key: str, value: float) -> float | None:
        """How far a score is from the reference's, None when that has no such model or score."""
        for row in self.results[0].rows:
            if row["model"] == model and key in row["scores"]:
                return float(value - row["scores"][key]["value"])
        return None

    def comparison(self, result: Result, model: str, key: str) -> Comparison | None:
        """The paired test of a score's task, for the scores that it speaks of."""
        if not key.endswith((".accuracy", ".bits_per_byte")):
            return None
        return self.comparisons.get((result.revision.name, model), {}).get(key.partition(".")[0])


def overview(names: Sequence[str], most: int) -> Overview:
    """Reads the results of revisions and compares them with the first.

    Two models are compared on the same samples, those asked with the same prompt, by the exact paired tests of
    `comparison`, with Holm's correction over all that are made here. Where samples are not in DVC's cache there is a
    difference and no verdict.

    Args:
        names: Experiments, commits, branches, `workspace`; none stands for the files here and every commit and
            experiment with another result, the newest first.
        most: How many results are read when none are named.

    Raises:
        DataError: A name is unknown, or there is no leaderboard.
    """
    revisions = [workspace() if name == WORKSPACE else find_revision(name) for name in names]
    named = bool(revisions)
    results: list[Result] = []
    seen: set[tuple[str, str | None]] = set()
    num_left_out = 0
    for revision in revisions or [workspace(), *reversed(committed_revisions())]:
        text = revision.read(LEADERBOARD)
        if text is None:
            continue
        state = (text, revision.read(PARAMS))
        if state in seen and not named:
            continue
        seen.add(state)
        if not named and len(results) == most:
            num_left_out += 1
            continue
        results.append(_result(revision, text))
    if not results:
        raise DataError(f"no {LEADERBOARD} in {', '.join(names) or 'any revision'}: `forgeline repro` makes it")
    return Overview(results, _differing(results), _comparisons(results), num_left_out)


def _result(revision: Revision, leaderboard: str) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / PARAMS
        file.write_text(revision.read(PARAMS) or "", encoding="utf-8")
        params = dict(flatten(plain(read_yaml(file)) or {}))
    rows = json.loads(leaderboard)["rows"]
    lock = revision.read(LOCK_FILE) or ""
    # dvc.lock is long, and parsing that of every revision would take most of the time.
    hashes = {
        row["model"]: match[1]
        for row in rows
        if (match := re.search(rf"- path: {re.escape(samples_path(row['model']))}\n +hash: md5\n +md5: (\w+)\n", lock))
    }
    return Result(revision, params, rows, hashes)


def _differing(results: Sequence[Result]) -> list[str]:
    """Those that all have and give other values first: the others came or went with a version of the pipeline."""
    names = list(dict.fromkeys(name for result in results for name in result.params))
    found = [name for name in names if len({str(result.params.get(name)) for result in results}) > 1]
    return sorted(found, key=lambda name: sum(name not in result.params for result in results))


def _comparisons(results: Sequence[Result]) -> dict[tuple[str, str], dict[str, Comparison]]:
    reference, *others = results
    read: dict[str, list[dict[str, Any]] | None] = {}

    def samples(model: str, md5: str) -> list[dict[str, Any]] | None:
        if md5 not in read:
            read[md5] = find_samples(model, md5)
        return read[md5]

    evidence: dict[str, list[dict[str, Any]]] = {}
    references: dict[str, str] = {}
    owners: dict[str, tuple[str, str]] = {}
    for number, result in enumerate(others):
        for model, md5 in result.samples.items():
            first = reference.samples.get(model)
            if first is None or first == md5:  # the same evaluation: nothing differs
                continue
            ours, theirs = samples(model, md5), samples(model, first)
            if ours is None or theirs is None:
                continue
            key = f"{number} {model}"
            evidence[key], evidence[f"reference {model}"] = _same_prompts(ours, theirs), theirs
            references[key] = f"reference {model}"
            owners[key] = (result.revision.name, model)
    found: dict[tuple[str, str], dict[str, Comparison]] = {}
    for comparison in compare(evidence, references):
        found.setdefault(owners[comparison.model], {})[comparison.task] = comparison
    return found


def _same_prompts(ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    prompts = {(row["task"], row["sample_id"]): row["prompt_sha256"] for row in theirs}
    return [row for row in ours if prompts.get((row["task"], row["sample_id"])) == row["prompt_sha256"]]


def as_json(found: Overview) -> dict[str, Any]:
    """Everything, for other programs."""
    revisions: list[dict[str, Any]] = []
    for result in found.results:
        models: dict[str, Any] = {}
        for row in result.rows:
            compared = found.comparisons.get((result.revision.name, row["model"]), {})
            scores = {
                key: {**score, "difference": found.difference(row["model"], key, score["value"])}
                for key, score in row["scores"].items()
            }
            models[row["model"]] = {
                "full_name": row.get("full_name", row["model"]),
                "scores": scores,
                "cost": row.get("cost"),
                "comparisons": {task: comparison.as_json() for task, comparison in compared.items()},
            }
        revision = result.revision
        params = {name: result.params.get(name) for name in found.differing}
        facts = {"name": revision.name, "commit": revision.commit, "kind": revision.kind}
        revisions.append({**facts, "params": params, "models": models})
    return {"reference": found.results[0].revision.name, "revisions": revisions, "left_out": found.num_left_out}


def as_csv(found: Overview) -> list[dict[str, Any]]:
    """A line for every score of every model of every revision, with the params that differ."""
    lines = []
    for result, row, key, score in found.entries():
        comparison = found.comparison(result, row["model"], key)
        difference = found.difference(row["model"], key, score["value"])
        line = {
            "revision": result.revision.name,
            "commit": result.revision.commit,
            "model": row["model"],
            "full_name": row.get("full_name", row["model"]),
            "score": key,
            **{name: score.get(name) for name in ("value", "low", "high", "n")},
            "difference": difference,
            "p_value": comparison.p_value if comparison else None,
            "significant": comparison.significant if comparison else None,
            **{f"params.{name}": result.params.get(name) for name in found.differing},
        }
        lines.append({name: "" if value is None else value for name, value in line.items()})
    return lines


def overview_tables(found: Overview) -> Group:
    """For the terminal: the params that differ, then a table for each model with a line for each revision."""
    caption = f"Against {found.results[0].revision.name}: ▲ ▼ better or worse on the same samples (exact paired test)."
    if found.num_left_out:
        caption += f" {found.num_left_out} older results are left out."
    if len(found.differing) > _LISTED_PARAMS:
        caption += f" {len(found.differing) - _LISTED_PARAMS} more params differ: --json has them."
    models = list(dict.fromkeys(row["model"] for result in found.results for row in result.rows))
    return Group(_params_table(found), *[_model_table(found, model) for model in models], caption)


def _params_table(found: Overview) -> Table:
    table = Table(title="Params that differ", title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("", overflow="fold")
    for result in found.results:
        table.add_column(result.revision.name, overflow="fold")
    for name in found.differing[:_LISTED_PARAMS]:
        table.add_row(name, *[_value(result.params.get(name)) for result in found.results])
    return table


def _model_table(found: Overview, model: str) -> Table:
    rows = {result.revision.name: row for result in found.results for row in result.rows if row["model"] == model}
    columns = [c for c in columns_of(list(rows.values())) if not c.key.endswith(_UNTOLD)][:_LISTED_SCORES]
    full_name = next(iter(rows.values())).get("full_name")
    title = f"[bold]{model}[/bold]" + (f" {full_name}" if full_name else "")
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("", overflow="fold")
    for column in columns:
        table.add_column(column.label, justify="right", overflow="fold")
    for result in found.results:
        if (row := rows.get(result.revision.name)) is not None:
            table.add_row(result.revision.name, *[_cell(found, result, row, column) for column in columns])
    return table


def _cell(found: Overview, result: Result, row: Mapping[str, Any], column: Column) -> str:
    score = row["scores"].get(column.key)
    if score is None:
        return ""
    text = f"{score['value']:.{column.digits}f}"
    comparison = found.comparison(result, row["model"], column.key)
    if comparison is not None and comparison.significant:
        text = f"{'▲' if comparison.difference > 0 else '▼'}{text}"
    difference = found.difference(row["model"], column.key, score["value"])
    if difference and result is not found.results[0]:
        text += f" {difference:+.{column.digits}f}"
    return f"{text}\n[dim]{score['low']:.2f}…{score['high']:.2f}[/dim]"


def _value(value: object) -> str:
    return "" if value is None else str(value)
