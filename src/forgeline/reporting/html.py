"""The report: one HTML file that needs nothing else, neither a network nor a server."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from forgeline.core.pipeline import PipelineStage
from forgeline.reporting.conversations import conversation_page
from forgeline.reporting.corpus import drop_funnel, metrics_of, source_funnels, source_mix, trained_mix
from forgeline.reporting.corpus_charts import funnel_chart, mix_chart, source_styles
from forgeline.reporting.generations import Question
from forgeline.reporting.graph import pipeline_graph
from forgeline.reporting.leaderboard import Column, Row, baseline_of, best_of, columns_of
from forgeline.reporting.lineage import code_revision, locked_params
from forgeline.reporting.plots import Dot, interval_bar, interval_chart, scatter_chart
from forgeline.reporting.sections import figures, training_curves
from forgeline.reporting.terminal import arrow
from forgeline.reporting.tokenizer_charts import Figure, tokenizer_figures

NUM_COLOURS = 8  # s1 … s8 in report.css
_SPECIAL_TOKEN = re.compile(r"&lt;\|[^|]{1,40}\|&gt;")


@dataclass(frozen=True)
class Cell:
    """One score in the table: `text` with the drawing `bar`; `sort` orders the column; `hint` says all of it."""

    text: str
    bar: str
    sort: str
    hint: str
    mark: str
    is_best: bool


def render_report(
    metrics_folder: Path,
    rows: Sequence[Row],
    questions: Sequence[Question],
    stages: Sequence[PipelineStage],
    lock: Mapping[str, Mapping[str, Any]],
    learned: Mapping[str, Any],
) -> str:
    """The whole page.

    Args:
        metrics_folder: The metrics folder; files of stages that were not run may be missing.
        rows: Of the leaderboard.
        questions: Sample generations.
        stages: The pipeline.
        lock: Stage entries of dvc.lock as they are now: this very stage has none yet, or its previous one.
        learned: What the loss of fine-tuning sees, as `sft` wrote it.
    """
    assets = resources.files("forgeline.reporting.assets")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "token": _mark_token,
        "prompt": _mark_special_tokens,
        "words": lambda name: str(name).replace("_", " "),
    }
    template = environment.from_string((assets / "report.jinja").read_text(encoding="utf-8"))
    columns = columns_of(rows)
    colours = {row["model"]: f"s{index % NUM_COLOURS + 1}" for index, row in enumerate(rows)}
    found = figures(metrics_folder, stages)
    return template.render(
        css=Markup((assets / "report.css").read_text(encoding="utf-8")),
        js=Markup((assets / "report.js").read_text(encoding="utf-8")),
        facts=_header_facts(metrics_folder, rows, stages, found),
        columns=columns,
        baselines=[baseline_of(rows, column.key) for column in columns],
        rows=rows,
        cells={row["model"]: [_cell(rows, row, column) for column in columns] for row in rows},
        compared_tasks=list(dict.fromkeys(task for row in rows for task in row["comparisons"])),
        colours=colours,
        charts=[Markup(_interval_chart(rows, column, colours)) for column in columns],
        scatters=[Markup(chart) for chart in _scatters(rows, colours) if chart],
        methods={task: text for row in rows for task, text in row["methods"].items()},
        curves=training_curves(
            metrics_folder / "history", [stage.address.partition("@")[2] or stage.name for stage in stages]
        ),
        funnels=_funnels(metrics_folder, stages),
        mixes=_mixes(metrics_folder, stages),
        tokenizer_figures=_tokenizer_figures(metrics_folder, stages),
        text_figures=_figures_of_text(found),
        conversations=conversation_page(metrics_folder, stages, learned),
        questions=questions,
        tuned_answers=_tuned_answers(metrics_folder, stages),
        tasks=list(dict.fromkeys(question.task for question in questions)),
        graph=Markup(pipeline_graph(stages)),
        stages={stage.address: _stage_details(stage, lock.get(stage.address), found) for stage in stages},
    )


def _header_facts(
    metrics_folder: Path, rows: Sequence[Row], stages: Sequence[PipelineStage], found: Mapping[str, Mapping[str, Any]]
) -> list[tuple[str, str]]:
    sources = [stage.address.partition("@")[2] for stage in stages if stage.name == "ingest"]
    funnel = {row.stage: row for row in drop_funnel(metrics_folder, stages)}
    kept = (
        f"{funnel['curate'].num_out:,} of {funnel['ingest'].num_in:,}" if {"ingest", "curate"} <= funnel.keys() else ""
    )
    parameters = found.get("pretrain", {}).get("num_parameters")
    facts = [
        ("code revision", _short_revision(code_revision())),
        ("models compared", str(len(rows))),
        ("parameters", f"{parameters:,}" if isinstance(parameters, int) else ""),
        ("sources", ", ".join(sources)),
        ("documents kept", kept),
    ]
    return [(name, value) for name, value in facts if value]


def _short_revision(revision: str) -> str:
    commit, _, changes = revision.partition(" ")
    return f"{commit[:10]} {changes}".strip() or "not committed"


def _cell(rows: Sequence[Row], row: Row, column: Column) -> Cell:
    score = row["scores"].get(column.key)
    if score is None:
        return Cell("", "", "", "not measured", "", False)
    baseline = baseline_of(rows, column.key)
    known = [r["scores"][column.key] for r in rows if column.key in r["scores"]]
    ends = [s["low"] for s in known] + [s["high"] for s in known] + ([baseline[0]] if baseline else [])
    digits = column.digits
    value, low, high = (float(score[name]) for name in ("value", "low", "high"))
    bar = interval_bar(value, low, high, baseline[0] if baseline else None, (min(ends), max(ends)))
    hint = f"{value:.{digits}f}, 95 % interval {low:.{digits}f} to {high:.{digits}f} ({score['interval']})"
    hint += f", n = {score['n']}"
    hint += f"; {baseline[1]} {baseline[0]:.{digits}f}" if baseline else ""
    return Cell(
        f"{value:.{digits}f}", Markup(bar), f"{value:.6g}", hint, arrow(row, column), value == best_of(rows, column)
    )


def _interval_chart(rows: Sequence[Row], column: Column, colours: Mapping[str, str]) -> str:
    dots = [_dot(row, column.key, 0.0, colours) for row in rows if column.key in row["scores"]]
    label = column.label + (" (lower is better)" if column.lower_is_better else "")
    return interval_chart(column.label, dots, label, baseline_of(rows, column.key))


def _scatters(rows: Sequence[Row], colours: Mapping[str, str]) -> list[str]:
    """Quality against cost, for the first accuracy that was measured; only models whose cost was measured."""
    column = next((column for column in columns_of(rows) if column.key.endswith(".accuracy")), None)
    measured = [row for row in rows if row["cost"] and column and column.key in row["scores"]]
    if column is None or not measured:
        return []
    costs = (
        ("size on disk (MB, log scale)", "size_bytes", 1e-6, True),
        ("median latency of one answer (ms)", "latency_median_seconds", 1e3, False),
        ("peak memory (MB)", "peak_memory_bytes", 1e-6, False),
    )
    return [
        scatter_chart(
            f"{column.label} against {label}",
            [_dot(row, column.key, row["cost"][key] * scale, colours) for row in measured],
            label, column.label, log,
        )
        for label, key, scale, log in costs
    ]  # fmt: skip


def _funnels(metrics_folder: Path, stages: Sequence[PipelineStage]) -> list[tuple[str, Markup]]:
    """Caption and drawing: all sources together, then, where there are several, each by itself."""
    charts = [("all sources", drop_funnel(metrics_folder, stages))]
    by_source = source_funnels(metrics_folder, stages)
    if len(by_source) > 1:
        charts += by_source.items()
    return [(name, Markup(funnel_chart(f"Where the documents went: {name}", rows))) for name, rows in charts if rows]


def _mixes(metrics_folder: Path, stages: Sequence[PipelineStage]) -> list[tuple[str, Markup, list[tuple[str, str]]]]:
    """Caption, drawing and legend (CSS class and source) of the source mix in bytes and in documents."""
    by_bytes = source_mix(metrics_folder, stages, "num_bytes")
    by_documents = source_mix(metrics_folder, stages, "num_documents")
    trained = trained_mix(metrics_folder, stages)
    styles = source_styles([*by_bytes, *by_documents])
    charts = (
        ("Source mix by bytes of text", by_bytes + ([trained] if trained else []), "bytes"),
        ("Source mix by documents", by_documents, "documents"),
    )
    legend = [(style, name) for name, style in styles.items()]
    return [(title, Markup(mix_chart(title, rows, styles, unit)), legend) for title, rows, unit in charts if rows]


def _tokenizer_figures(metrics_folder: Path, stages: Sequence[PipelineStage]) -> list[Figure]:
    """Pictures of the tokenizer stage, as far as it has run."""
    found = [metrics_of(metrics_folder, stage) for stage in stages if stage.name == "tokenizer"]
    return [replace(figure, chart=Markup(figure.chart)) for metrics in found for figure in tokenizer_figures(metrics)]


def _tuned_answers(metrics_folder: Path, stages: Sequence[PipelineStage]) -> list[dict[str, str]]:
    """What the model answered before and after supervised fine-tuning."""
    found = [metrics_of(metrics_folder, stage) for stage in stages if stage.name == "sft"]
    return [answer for metrics in found for answer in metrics.get("generations", [])]


def _figures_of_text(found: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Figures of the stages between the corpus and the model, but for those that a picture shows."""
    return {
        name: {key: value for key, value in found[name].items() if not key.startswith(("sources.", "usage"))}
        for name in ("tokenizer", "pack", "baseline")
        if name in found
    }


def _dot(row: Row, key: str, x: float, colours: Mapping[str, str]) -> Dot:
    score = row["scores"][key]
    return Dot(row["model"], x, score["value"], score["low"], score["high"], colours[row["model"]])


def _stage_details(
    stage: PipelineStage, entry: Mapping[str, Any] | None, found: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """What a click on the graph shows."""
    hashes = {
        item["path"]: str(item.get("md5", "")) for side in ("deps", "outs") for item in (entry or {}).get(side, [])
    }
    return {
        "command": stage.command,
        "params": locked_params(entry) if entry else {},
        "deps": [[path, hashes.get(path, "")] for path in stage.deps],
        "outs": [[path, hashes.get(path, "")] for path in stage.outs],
        "figures": found.get(stage.address, {}),
        "locked": entry is not None,
    }


def _mark_token(text: str) -> Markup:
    """A token as the model reads it; line feeds can be seen."""
    return Markup(str(_mark_special_tokens(text)).replace("\n", '<span class="special">↵</span>\n'))


def _mark_special_tokens(text: str) -> Markup:
    """A prompt as the model reads it, its special tokens in a quieter colour."""
    return Markup(_SPECIAL_TOKEN.sub(lambda match: f'<span class="special">{match[0]}</span>', str(escape(text))))
