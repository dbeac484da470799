"""Where the documents went and what the corpus is made of, from the metrics files of the data stages."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgeline.core.pipeline import PipelineStage
from forgeline.core.storage import read_json

FUNNEL_STAGES = ("ingest", "clean", "curate")


@dataclass(frozen=True)
class FunnelStage:
    """Where the documents of one stage went; `dropped` has the reasons in falling order of their numbers."""

    stage: str
    num_in: int
    num_out: int
    dropped: Sequence[tuple[str, int]]


@dataclass(frozen=True)
class Mix:
    """How much of each source there is at one point of the pipeline, in the order of params.yaml."""

    point: str
    amounts: Mapping[str, float]

    @property
    def total(self) -> float:
        """Of all sources."""
        return sum(self.amounts.values())


def metrics_of(metrics_folder: Path, stage: PipelineStage) -> dict[str, Any]:
    """The metrics file of a stage: metrics/<stage>.json or metrics/<stage>/<key>.json; empty when it is not there."""
    path = metrics_folder / f"{stage.address.replace('@', '/')}.json"
    content = read_json(path) if path.is_file() else {}
    return content if isinstance(content, dict) else {}


def drop_funnel(metrics_folder: Path, stages: Sequence[PipelineStage]) -> list[FunnelStage]:
    """Ingest, clean and curate, each summed over its sources; stages without a metrics file are left out."""
    rows = []
    for name in FUNNEL_STAGES:
        found = [metrics_of(metrics_folder, stage).get("records") for stage in stages if stage.name == name]
        if records := [record for record in found if record]:
            rows.append(_summed(name, records))
    return rows


def source_funnels(metrics_folder: Path, stages: Sequence[PipelineStage]) -> dict[str, list[FunnelStage]]:
    """The same for each source by itself, as far as its stages have run."""
    funnels: dict[str, list[FunnelStage]] = {}
    for stage in stages:
        records = metrics_of(metrics_folder, stage).get("records")
        if stage.name in ("ingest", "clean") and records:
            funnels.setdefault(stage.address.partition("@")[2], []).append(_summed(stage.name, [records]))
    dropped = _curated(metrics_folder, stages).get("dropped_by_source", {})
    for source, rows in funnels.items():
        if source in dropped and rows[-1].stage == "clean":
            num_in = rows[-1].num_out
            reasons = dropped[source]
            rows.append(FunnelStage("curate", num_in, num_in - sum(reasons.values()), _falling(reasons)))
    return funnels


def source_mix(metrics_folder: Path, stages: Sequence[PipelineStage], figure: str) -> list[Mix]:
    """The amount of each source after ingest, after clean and in the training split, as far as there are metrics.

    Args:
        metrics_folder: The metrics folder.
        stages: The pipeline.
        figure: `num_documents` or `num_bytes`.
    """
    points: dict[str, dict[str, float]] = {"ingested": {}, "cleaned": {}}
    for stage in stages:
        point = {"ingest": "ingested", "clean": "cleaned"}.get(stage.name)
        documents = metrics_of(metrics_folder, stage).get("documents", {})
        if point and figure in documents:
            points[point][stage.address.partition("@")[2]] = documents[figure]
    train = _curated(metrics_folder, stages).get("sources", {}).get("train", {})
    points["training split"] = {source: figures[figure] for source, figures in train.items() if figure in figures}
    return [Mix(point, amounts) for point, amounts in points.items() if sum(amounts.values()) > 0]


def trained_mix(metrics_folder: Path, stages: Sequence[PipelineStage]) -> Mix | None:
    """Share of each source among the tokens that pretraining read; None when it says nothing about it."""
    for stage in stages:
        if stage.name == "pretrain" and (shares := metrics_of(metrics_folder, stage).get("source_mix")):
            return Mix("read in pretraining", shares)
    return None


def _curated(metrics_folder: Path, stages: Sequence[PipelineStage]) -> dict[str, Any]:
    """The metrics of `curate`, empty before it has run."""
    return next((metrics_of(metrics_folder, stage) for stage in stages if stage.name == "curate"), {})


def _summed(name: str, records: Iterable[Mapping[str, Any]]) -> FunnelStage:
    num_in = num_out = 0
    reasons: dict[str, int] = {}
    for record in records:
        num_in += record["in"]
        num_out += record["out"]
        for reason, number in record["dropped"].items():
            reasons[reason] = reasons.get(reason, 0) + number
    return FunnelStage(name, num_in, num_out, _falling(reasons))


def _falling(reasons: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(((name, number) for name, number in reasons.items() if number), key=lambda item: (-item[1], item[0]))
