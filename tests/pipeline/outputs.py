"""Reading what a run left behind with plain libraries, not with the code that wrote it."""

import csv
import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.clone import Clone

SPLITS = ("train", "validation", "test")
EVALUATED = ("base", "sft", "dpo", "grpo", "rtn_w8", "gptq_w4")


def rows(run: Clone, path: str) -> list[dict[str, Any]]:
    """The rows of a Parquet file."""
    found: list[dict[str, Any]] = pq.read_table(run.root / path).to_pylist()
    return found


def reasons(run: Clone, path: str) -> dict[str, int]:
    """How many rows a `dropped.parquet` has for each reason."""
    return dict(Counter(row["reason"] for row in rows(run, path)))


def samples(run: Clone, model: str) -> list[dict[str, Any]]:
    """The evidence of a model's evaluation."""
    lines = (run.root / "data" / "evaluate" / model / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def history(run: Clone, name: str) -> list[dict[str, str]]:
    """The rows of a training curve, as text."""
    with (run.root / "metrics" / "history" / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def curve(run: Clone, name: str, column: str) -> list[tuple[int, float]]:
    """Step and value wherever a column of a training curve was measured."""
    return [(int(row["step"]), float(row[column])) for row in history(run, name) if row[column]]


def params(run: Clone) -> Any:
    """The run's params.yaml."""
    from forgeline.core.params import plain, read_yaml

    return plain(read_yaml(run.root / "params.yaml"))


def adapter_section(run: Clone, name: str) -> Any:
    """The parameters of `models/<name>_adapter`."""
    sections = params(run)
    return (sections["align"] | sections["reinforce"])[name]


def ontology(run: Clone) -> tuple[Any, dict[str, str]]:
    """The ontology and the split of each of its terms."""
    from forgeline.sources.hpo import load_ontology
    from forgeline.sources.hpo_split import HpoParams, split_terms

    loaded = load_ontology(run.root / "src" / "forgeline" / "sources" / "hpo.json")
    return loaded, dict(split_terms(loaded, HpoParams(**params(run)["hpo"])))


def committed_copy(run: Clone, target: Path) -> Clone:
    """A copy to write into, its results committed and its tracking store left out."""
    subprocess.run(["cp", "-a", str(run.root), str(target)], check=True)
    copy = Clone(target)
    copy.run("rm", "-rf", "mlflow.db", "mlruns")  # they name the original's folder
    copy.commit("results")
    return copy
