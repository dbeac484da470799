"""What `curate` says about its work: the metrics, and the manifest with a hash of every shard."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgeline.core.shards import shard_path
from forgeline.text.curate_shards import FOLDERS, REASONS, WrittenShard
from forgeline.text.evaluation_texts import EvaluationSet
from forgeline.text.kernels.runs import Owners
from forgeline.text.split import SPLITS

Figures = dict[str, int]


@dataclass(frozen=True)
class SourceShard:
    """A shard of cleaned documents."""

    source: str
    path: Path
    num_documents: int


def split_figures(shards: Sequence[SourceShard], written: Sequence[WrittenShard]) -> dict[str, Any]:
    """Figures of the text of each split, and under `sources` of each split by source."""
    totals: dict[str, Figures] = {split: {} for split in SPLITS}
    by_source: dict[str, dict[str, Figures]] = {split: {} for split in SPLITS}
    for entry in written:
        if entry.folder in totals:
            source = shards[entry.number].source
            for figures in (totals[entry.folder], by_source[entry.folder].setdefault(source, {})):
                for name, value in entry.figures.items():
                    figures[name] = figures.get(name, 0) + value
    return {**totals, "sources": by_source}


def count_drops(shards: Sequence[SourceShard], fates: NDArray[np.int8]) -> dict[str, dict[str, int]]:
    """Source -> reason -> dropped documents."""
    counts: dict[str, Counter[str]] = {shard.source: Counter() for shard in shards}
    start = 0
    for shard in shards:
        own = fates[start : start + shard.num_documents]
        start += shard.num_documents
        counts[shard.source].update({reason: int((own == place).sum()) for place, reason in enumerate(REASONS)})
    return {source: {reason: n for reason, n in found.items() if n} for source, found in counts.items()}


def count_contaminated(evaluations: Sequence[EvaluationSet], found: Owners) -> dict[str, dict[str, int]]:
    """Evaluation set -> task -> documents dropped for one of its texts.

    Args:
        evaluations: The sets.
        found: For each dropped document the position of the text among those of all sets.
    """
    hits = np.bincount(found, minlength=sum(len(evaluation.texts) for evaluation in evaluations)).tolist()
    counts: dict[str, dict[str, int]] = {}
    for evaluation in evaluations:
        tasks = counts.setdefault(evaluation.name, {})
        for text, number in zip(evaluation.texts, hits[: len(evaluation.texts)], strict=True):
            tasks[text.task] = tasks.get(text.task, 0) + number
        hits = hits[len(evaluation.texts) :]
    return counts


def manifest_of(
    shards: Sequence[SourceShard],
    written: Sequence[WrittenShard],
    folders: Mapping[str, str],
    params: Mapping[str, Any],
) -> dict[str, Any]:
    """What `manifest.json` holds: parameters, documents and shards of each source, and each shard written.

    Args:
        shards: The shards that were read.
        written: The shards that were written.
        folders: Name of each folder that was written to, beside the manifest.
        params: The parameters that decide the result.
    """
    sources: dict[str, Figures] = {}
    for shard in shards:
        figures = sources.setdefault(shard.source, {"num_documents": 0, "num_shards": 0})
        figures["num_documents"] += shard.num_documents
        figures["num_shards"] += 1
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in FOLDERS}
    for entry in written:
        file = shard_path(Path(folders[entry.folder]), entry.number).as_posix()
        identity = {"file": file, "sha256": entry.sha256, "file_bytes": entry.file_bytes}
        tables[entry.folder].append({**identity, "source": shards[entry.number].source, **entry.figures})
    return {"params": dict(params), "sources": sources, "shards": tables}
