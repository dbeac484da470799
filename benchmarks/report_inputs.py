"""A finished run of many models for the report: this repository's metrics, with evaluations and answers made up.

Models after the default run's are copies of its quantized one under other names. Questions, answers and verdicts are
random, of the lengths and kinds of the default run; models that share a parent mostly agree, as real ones do.
"""

import random
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forgeline.core.params import plain, read_yaml, write_yaml
from forgeline.core.pipeline import find_stage
from forgeline.core.storage import read_json, sha256_text, write_json, write_jsonl

ROOT = Path(__file__).resolve().parent.parent
_TASKS = ("perplexity", "organ_system", "is_a", "definition_choice", "preference")
_COPIED = "gptq_w4"
_CHANGED_SHARE = 0.1  # of a model's answers that differ from those of the model it was made from
_CARD = "---\nlicense: other\n---\n\n# Made-up terms\n\n| split | documents |\n| --- | ---: |\n| train | 7 |\n"


def make_run(folder: Path, num_models: int, num_samples: int) -> list[str]:
    """Writes everything that the `report` stage reads and returns what follows `python` in its command.

    Args:
        folder: Where, a folder that does not exist yet.
        num_models: At least as many as the default run evaluates.
        num_samples: Of each model.
    """
    folder.mkdir(parents=True)
    for name in ("src", "stages", "tasks", "constraints.txt"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copyfile(ROOT / "dvc.yaml", folder / "dvc.yaml")
    if (ROOT / "dvc.lock").is_file():
        shutil.copyfile(ROOT / "dvc.lock", folder / "dvc.lock")
    shutil.copytree(ROOT / "metrics", folder / "metrics")
    models = _write_params(folder, num_models)
    rng = random.Random(17)
    _write_metrics(folder / "metrics", models, rng)
    _write_samples(folder / "data" / "evaluate", models, num_samples, rng)
    write_json(folder / "data" / "sft" / "samples.json", {})
    (folder / "data" / "card.md").write_text(_CARD, encoding="utf-8")
    stage = find_stage("report", folder)
    assert stage is not None
    return shlex.split(stage.command)[1:]


def commit_past(folder: Path, num_revisions: int) -> None:
    """Commits states of the run with other curves and parameters, which the report lays over the ones that stay."""
    kept = {path: path.read_text(encoding="utf-8") for path in (folder / "metrics" / "history").glob("*.csv")}
    params = plain(read_yaml(folder / "params.yaml"))
    lock = (folder / "dvc.lock").read_text(encoding="utf-8")
    _git(folder, "init", "--quiet")
    for number in range(num_revisions):
        for path, text in kept.items():
            head, first, rest = text.split("\n", 2)
            step, _, values = first.partition(",")
            path.write_text(f"{head}\n{step},{number}.5,{values.partition(',')[2]}\n{rest}", encoding="utf-8")
        write_yaml(folder / "params.yaml", {**params, "sft": {**params["sft"], "seed": number}})
        (folder / "dvc.lock").write_text(f"{lock}# {number}\n", encoding="utf-8")
        _git(folder, "add", "params.yaml", "dvc.lock", "metrics/history")
        _git(folder, "-c", "user.name=benchmark", "-c", "user.email=none", "commit", "--quiet", "-m", f"try {number}")
    for path, text in kept.items():
        path.write_text(text, encoding="utf-8")
    write_yaml(folder / "params.yaml", params)
    (folder / "dvc.lock").write_text(lock, encoding="utf-8")


def _git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)


def _write_params(folder: Path, num_models: int) -> list[str]:
    """params.yaml with further quantized models; returns every evaluated model."""
    params = plain(read_yaml(ROOT / "presets" / "default.yaml"))
    models: list[str] = params["evaluate"]["models"]
    for number in range(num_models - len(models)):
        name = f"{_COPIED}_{number}"
        params["quantize"][name] = params["quantize"][_COPIED]
        models.append(name)
        params["benchmark"]["models"].append(name)
    write_yaml(folder / "params.yaml", params)
    return models


def _write_metrics(metrics: Path, models: list[str], rng: random.Random) -> None:
    scores = {model: read_json(metrics / "evaluate" / f"{model}.json") for model in ("sft", _COPIED)}
    cost = read_json(metrics / "benchmark" / f"{_COPIED}.json")
    size = read_json(metrics / "quantize" / f"{_COPIED}.json")
    for model in models:
        if not (metrics / "evaluate" / f"{model}.json").is_file():
            write_json(metrics / "evaluate" / f"{model}.json", _moved(scores[_COPIED], rng) | {"model": model})
        if not (metrics / "benchmark" / f"{model}.json").is_file():
            scale = rng.uniform(0.5, 2.0)
            latency = {name: value * scale for name, value in cost["latency_seconds"].items()}
            changed = {"size_bytes": int(cost["size_bytes"] * scale), "latency_seconds": latency}
            write_json(metrics / "benchmark" / f"{model}.json", cost | changed)
        if model.startswith(f"{_COPIED}_"):
            bits = size["bits_per_weight"] * rng.uniform(0.5, 2.0)
            write_json(metrics / "quantize" / f"{model}.json", size | {"bits_per_weight": bits})


def _moved(evaluation: Mapping[str, Any], rng: random.Random) -> dict[str, Any]:
    tasks: dict[str, Any] = {}
    for task, scores in evaluation["tasks"].items():
        shift = rng.uniform(0.85, 1.0)
        tasks[task] = {
            name: score | {key: score[key] * shift for key in ("value", "low", "high")}
            for name, score in scores.items()
        }
    return {**evaluation, "tasks": tasks}


def _write_samples(folder: Path, models: list[str], num_samples: int, rng: random.Random) -> None:
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 11))) for _ in range(4_000)]

    def text(length: int) -> str:
        return " ".join(rng.choices(words, k=length))

    def answered(row: dict[str, Any]) -> dict[str, Any]:
        """Another answer to the same question."""
        if row["task"] == "perplexity":
            return row | {"details": row["details"] | {"nll_nats": rng.uniform(50, 400)}}
        answer, kind = text(rng.randint(2, 20)), rng.random()
        parsed = None if kind < 0.05 else answer
        return row | {"output": f"\\boxed{{{answer}}}", "parsed": parsed, "correct": kind > 0.4}

    rows = []
    for number in range(num_samples):
        prompt, task = text(rng.randint(10, 40)), _TASKS[number % len(_TASKS)]
        is_document = task == "perplexity"
        details = {"num_bytes": len(prompt), "nll_nats": 100.0} if is_document else {"num_output_tokens": 8}
        rows.append(
            answered({
                "task": task, "sample_id": sha256_text(prompt)[:32], "prompt_sha256": sha256_text(prompt),
                "prompt": prompt if is_document else f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n",
                "reference": "" if is_document else text(8), "details": details,
                "output": "", "parsed": None, "correct": None,
            })
        )  # fmt: skip
    for model in models:
        rows = [answered(row) if rng.random() < _CHANGED_SHARE else row for row in rows]
        write_jsonl(folder / model / "samples.jsonl", rows)
