"""The report: one HTML file that needs nothing else, neither a network nor a server."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup, escape

from forgeline.core.pipeline import PipelineStage
from forgeline.reporting.comparison import Samples
from forgeline.reporting.contamination import contamination_table
from forgeline.reporting.conversations import conversation_page
from forgeline.reporting.corpus import drop_funnel, metrics_of, source_funnels, source_mix, trained_mix
from forgeline.reporting.corpus_charts import funnel_chart, mix_chart, source_styles
from forgeline.reporting.cost_charts import cost_charts, score_dot
from forgeline.reporting.graph import pipeline_graph, stage_edges
from forgeline.reporting.leaderboard import Column, Row, baseline_of, best_of, columns_of
from forgeline.reporting.lineage import code_revision
from forgeline.reporting.nodes import card_page, node_details
from forgeline.reporting.overlay import Overlay
from forgeline.reporting.plots import interval_bar, interval_chart
from forgeline.reporting.samples import Limits, PackedSamples, pack_samples
from forgeline.reporting.sections import figures, stage_scores, training_curves
from forgeline.reporting.terminal import arrow
from forgeline.reporting.tokenizer_charts import Figure, tokenizer_figures

NUM_COLOURS = 8  # s1 … s8 in report.css
_SPECIAL_TOKEN = re.compile(r"&lt;\|[^|]{1,40}\|&gt;")
_SCRIPTS = ("page.js", "samples.js", "lineage.js")
_HEAD_BYTES = 20_000  # kept free for the names and numbers that go into the page with the samples
_SAMPLES_HERE = "<!-- samples -->"


@dataclass(frozen=True)
class Cell:
    """One score in the table: `text` with the drawing `bar`; `sort` orders the column; `hint` says all of it."""

    text: str
    bar: str
    sort: str
    hint: str
    mark: str
    is_best: bool


@dataclass(frozen=True)
class Content:
    """What the page shows beside the metrics files.

    Attributes:
        rows: Of the leaderboard.
        missing: Models without an evaluation, as `not_evaluated` gives them.
        samples: Rows of samples.jsonl by model.
        learned: What the loss of fine-tuning sees, as `sft` wrote it.
        overlay: Curves of experiments.
        card: The data card, Markdown; empty where there is none.
    """

    rows: Sequence[Row]
    missing: Sequence[Mapping[str, str]]
    samples: Mapping[str, Samples]
    learned: Mapping[str, Any]
    overlay: Overlay
    card: str


def render_report(
    metrics_folder: Path,
    content: Content,
    stages: Sequence[PipelineStage],
    lock: Mapping[str, Mapping[str, Any]],
    limits: Limits,
    max_bytes: int,
) -> tuple[str, PackedSamples]:
    """The whole page, and what it holds of the samples.

    Args:
        metrics_folder: The metrics folder; files of stages that were not run may be missing.
        content: What else to show.
        stages: The pipeline.
        lock: Stage entries of dvc.lock as they are now: this very stage has none yet, or its previous one.
        limits: How much of the samples is wanted.
        max_bytes: Of the page: as many samples are left out as it takes.
    """
    page = _render(metrics_folder, content, stages, lock)
    room = max_bytes - len(page.encode("utf-8")) - _HEAD_BYTES
    packed = pack_samples(content.samples, limits, room)
    head = Markup('<script type="application/json" id="samples-head">{}</script>').format(
        htmlsafe_json_dumps(packed.head())
    )
    data = f'{head}\n<script type="text/plain" id="samples-data">{packed.data}</script>'
    return page.replace(_SAMPLES_HERE, data, 1), packed


def _render(
    metrics_folder: Path, content: Content, stages: Sequence[PipelineStage], lock: Mapping[str, Mapping[str, Any]]
) -> str:
    rows = content.rows
    columns = columns_of(rows)
    colours = {row["model"]: f"s{index % NUM_COLOURS + 1}" for index, row in enumerate(rows)}
    found = figures(metrics_folder, stages)
    edges = stage_edges(stages)
    order = [stage.address.partition("@")[2] or stage.name for stage in stages]
    return _template().render(
        css=_asset("report.css"),
        js=Markup("\n").join(_asset(name) for name in _SCRIPTS),
        samples_here=Markup(_SAMPLES_HERE),
        facts=_header_facts(metrics_folder, rows, stages, found),
        columns=columns,
        baselines=[baseline_of(rows, column.key) for column in columns],
        rows=rows,
        missing=content.missing,
        has_full_names=any(row.get("full_name") for row in rows),
        cells={row["model"]: [_cell(rows, row, column) for column in columns] for row in rows},
        compared_tasks=list(dict.fromkeys(task for row in rows for task in row["comparisons"])),
        colours=colours,
        parents={row["model"]: row["parent"] for row in rows if row["parent"]},
        charts=[Markup(_interval_chart(rows, column, colours)) for column in columns],
        cost_charts=cost_charts(rows, colours),
        methods={task: text for row in rows for task, text in row["methods"].items()},
        curves=training_curves(metrics_folder / "history", order),
        stage_scores=stage_scores(metrics_folder, stages),
        overlay=content.overlay,
        funnels=_funnels(metrics_folder, stages),
        mixes=_mixes(metrics_folder, stages),
        tokenizer_figures=_tokenizer_figures(metrics_folder, stages),
        text_figures=_figures_of_text(found),
        contamination=contamination_table(metrics_folder),
        conversations=conversation_page(metrics_folder, stages, content.learned),
        has_samples=any(content.samples.values()),
        tuned_answers=_tuned_answers(metrics_folder, stages),
        graph=Markup(pipeline_graph(stages, edges)),
        stages=node_details(stages, edges, lock, found),
        card=card_page(content.card),
    )


def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "token": _mark_token,
        "prompt": _mark_special_tokens,
        "words": lambda name: str(name).replace("_", " "),
        "slug": lambda name: re.sub(r"\W+", "-", str(name)),
    }
    return environment.from_string(_asset("report.jinja"))


def _asset(name: str) -> Markup:
    return Markup((resources.files("forgeline.reporting.assets") / name).read_text(encoding="utf-8"))


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
    dots = [score_dot(row, column.key, 0.0, colours) for row in rows if column.key in row["scores"]]
    label = column.label + (" (lower is better)" if column.lower_is_better else "")
    return interval_chart(column.label, dots, label, baseline_of(rows, column.key))


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
        name: {
            key: value for key, value in found[name].items() if "sources." not in key and not key.startswith("usage")
        }
        for name in ("tokenizer", "pack", "baseline")
        if name in found
    }


def _mark_token(text: str) -> Markup:
    """A token as the model reads it; line feeds can be seen."""
    return Markup(str(_mark_special_tokens(text)).replace("\n", '<span class="special">↵</span>\n'))


def _mark_special_tokens(text: str) -> Markup:
    """A prompt as the model reads it, its special tokens in a quieter colour."""
    return Markup(_SPECIAL_TOKEN.sub(lambda match: f'<span class="special">{match[0]}</span>', str(escape(text))))
