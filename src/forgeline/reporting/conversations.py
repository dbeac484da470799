"""The report's page of instruction data: what it is made of, and what the loss of fine-tuning sees of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from forgeline.core.pipeline import PipelineStage
from forgeline.reporting.corpus import FunnelStage, Mix, metrics_of
from forgeline.reporting.corpus_charts import funnel_chart, mix_chart, source_styles
from forgeline.reporting.tokenizer_charts import Figure, bar_chart

_SPLITS = ("train", "validation", "test")
_LEARNED = {"learned": "s1", "only read": "s8"}


@dataclass(frozen=True)
class Sample:
    """A conversation as tokens, each with whether it is learned."""

    source: str
    task: str
    tokens: Sequence[tuple[str, bool]]

    @property
    def num_learned(self) -> int:
        """Tokens that the loss is taken of."""
        return sum(is_learned for _, is_learned in self.tokens)


@dataclass(frozen=True)
class ConversationPage:
    """Pictures and samples of the page; both are empty before the stages have run."""

    figures: Sequence[Figure]
    samples: Sequence[Sample]


def conversation_page(
    metrics_folder: Path, stages: Sequence[PipelineStage], learned: Mapping[str, Any]
) -> ConversationPage:
    """The page from the metrics of `instructions` and from what `sft` wrote of its rows.

    Args:
        metrics_folder: The metrics folder.
        stages: The pipeline.
        learned: As `training.loss_view` wrote it; empty where `sft` has not run.
    """
    metrics = next((metrics_of(metrics_folder, stage) for stage in stages if stage.name == "instructions"), {})
    figures = [_funnel(metrics), *_mixes(metrics), *_histograms(metrics.get("train", {})), *_token_figures(learned)]
    samples = [
        Sample(sample["source"], sample["task"], [(text, bool(on)) for text, on in sample["tokens"]])
        for sample in learned.get("samples", [])
    ]
    return ConversationPage([figure for figure in figures if figure.chart], samples)


def _funnel(metrics: Mapping[str, Any]) -> Figure:
    records = metrics.get("records")
    if not records:
        return Figure("", "", ())
    dropped = sorted(records["dropped"].items(), key=lambda item: (-item[1], item[0]))
    caption = "Where the conversations went"
    stage = FunnelStage("instructions", records["in"], records["out"], dropped)
    return Figure(caption, Markup(funnel_chart(caption, [stage], "conversations")), ())


def _mixes(metrics: Mapping[str, Any]) -> list[Figure]:
    """By set, where there are several, and by task: each split is a bar."""
    sets = {
        split: {name: float(figures[f"num_{split}"]) for name, figures in metrics.get("sets", {}).items()}
        for split in _SPLITS
    }
    tasks = {
        split: {task: float(numbers[split]) for task, numbers in metrics.get("questions", {}).items()}
        for split in _SPLITS
    }
    charts = [("Conversations by set", sets)] if len(metrics.get("sets", {})) > 1 else []
    return [_mix(caption, amounts) for caption, amounts in [*charts, ("Conversations by task", tasks)]]


def _mix(caption: str, amounts: Mapping[str, Mapping[str, float]]) -> Figure:
    mixes = [Mix(split, found) for split, found in amounts.items() if sum(found.values()) > 0]
    styles = source_styles(mixes)
    chart = mix_chart(caption, mixes, styles, "conversations")
    return Figure(caption, Markup(chart), [(style, name.replace("_", " ")) for name, style in styles.items()])


def _histograms(train: Mapping[str, Any]) -> list[Figure]:
    turns = [(f"{number} turns", float(amount)) for number, amount in _by_number(train.get("turns", {}))]
    return [
        _bars("Length of training conversations, in characters", _ranges(train.get("characters", {}))),
        _bars("Turns of training conversations", turns),
    ]


def _token_figures(learned: Mapping[str, Any]) -> list[Figure]:
    if not learned.get("num_tokens"):
        return []
    caption = f"Length of {learned['num_measured']:,} drawn at random, in tokens"
    if learned["num_left_out"]:
        caption += f"; {learned['num_left_out']:,} do not fit into max_length {learned['max_length']}"
    lengths = _bars(caption, _ranges(learned["tokens"]))
    trained = float(learned["num_trained_tokens"])
    mix = Mix("tokens", {"learned": trained, "only read": learned["num_tokens"] - trained})
    chart = mix_chart("Tokens that the loss is taken of", [mix], _LEARNED, "")
    legend = [(style, name) for name, style in _LEARNED.items()]
    return [lengths, Figure("Tokens that the loss is taken of", Markup(chart), legend)]


def _bars(caption: str, rows: Sequence[tuple[str, float]]) -> Figure:
    return Figure(caption, Markup(bar_chart(caption, rows, "{:,.0f}")), ())


def _ranges(histogram: Mapping[str, int]) -> list[tuple[str, float]]:
    """Rows of a histogram whose keys are powers of two: `33 to 64`."""
    found = _by_number(histogram)
    first = found[0][0] if found else 0
    return [
        (f"up to {edge:,}" if edge == first else f"{edge // 2 + 1:,} to {edge:,}", float(number))
        for edge, number in found
    ]


def _by_number(histogram: Mapping[str, int]) -> list[tuple[int, int]]:
    return sorted((int(key), number) for key, number in histogram.items())
