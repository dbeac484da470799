import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from forgeline.core.pipeline import PipelineStage, read_pipeline
from forgeline.core.storage import read_jsonl, write_json
from forgeline.reporting.comparison import compare
from forgeline.reporting.leaderboard import (
    FAILED_VARIABLE,
    as_csv,
    baseline_of,
    best_of,
    collect_rows,
    columns_of,
    model_parents,
    not_evaluated,
)
from forgeline.reporting.terminal import leaderboard_table

METRICS = Path("metrics")


def test_rows_follow_the_pipeline_and_hold_scores_and_comparisons(repository: Path) -> None:
    samples = {name: read_jsonl(Path(f"data/evaluate/{name}/samples.jsonl")) for name in ("base", "sft")}
    parents = model_parents(read_pipeline(), samples)
    rows = collect_rows(METRICS, ["base", "sft"], parents, compare(samples, parents))
    assert [(row["model"], row["parent"]) for row in rows] == [("base", None), ("sft", "base")]
    assert rows[1]["scores"]["organ_system.accuracy"]["value"] == 0.75
    assert (rows[1]["comparisons"]["organ_system"]["wins"], rows[1]["cost"]) == (2, None)
    assert rows[0]["comparisons"] == {}
    accuracy, bits = columns_of(rows)[1], columns_of(rows)[0]
    assert (best_of(rows, accuracy), best_of(rows, bits)) == (0.75, 1.1)  # fewer bits per byte are better
    assert baseline_of(rows, "perplexity.bits_per_byte") == (1.9, "trigram")


def test_the_cost_comes_from_the_benchmark_and_only_from_there(repository: Path) -> None:
    latency = {"mean": 0.2, "median": 0.1, "p95": 0.4}
    figures = {"tokens_per_second": 50.0, "peak_memory_bytes": 9, "size_bytes": 8, "load_seconds": 0.3}
    write_json(Path("metrics/benchmark/sft.json"), {"latency_seconds": latency, **figures})
    rows = collect_rows(METRICS, ["sft", "base"], {}, [])
    assert [row["model"] for row in rows] == ["sft", "base"]
    assert rows[0]["cost"]["latency_p95_seconds"] == 0.4
    sft, base = as_csv(rows)
    assert (sft["size_bytes"], base["size_bytes"]) == (8, "")
    assert (sft["organ_system.accuracy"], sft["organ_system.accuracy.baseline"]) == (0.75, 0.25)
    assert list(sft) == list(base)


def test_parents_are_the_nearest_evaluated_ancestors() -> None:
    def makes(out: str, *deps: str) -> PipelineStage:
        return PipelineStage(out, "", tuple(f"models/{dep}" for dep in deps), (f"models/{out}",), ())

    stages = [
        makes("base", "tokenizer"), makes("sft", "base", "tokenizer"), makes("reward", "sft"),
        makes("ppo_adapter", "sft", "reward"), makes("ppo", "sft", "ppo_adapter"), makes("w8", "ppo"),
    ]  # fmt: skip
    assert model_parents(stages, ["base", "sft", "ppo", "w8"]) == {"sft": "base", "ppo": "sft", "w8": "ppo"}
    assert model_parents(stages, ["base", "w8"]) == {"w8": "base"}


def test_the_terminal_shows_values_intervals_and_baselines(repository: Path) -> None:
    console = Console(width=80, record=True, file=StringIO())
    console.print(leaderboard_table(collect_rows(METRICS, ["base", "sft"], {}, [])))
    text = console.export_text()
    assert ".750" in text
    assert ".65….85" in text
    assert "trigram" in text


def test_bits_per_weight_come_from_quantization_and_of_its_parent_from_the_size(repository: Path) -> None:
    write_json(
        METRICS / "quantize" / "sft.json",
        {"bits_per_weight": 4.5, "tag": "GPTQ_w4", "model": "base", "num_parameters": 10},
    )
    latency = {"mean": 0.2, "median": 0.1, "p95": 0.4}
    figures = {"tokens_per_second": 50.0, "peak_memory_bytes": 9, "size_bytes": 40, "load_seconds": 0.3}
    write_json(METRICS / "benchmark" / "base.json", {"latency_seconds": latency, **figures})
    base, sft = collect_rows(METRICS, ["base", "sft"], {}, [])
    assert sft["storage"] == {"bits_per_weight": 4.5, "quantization": "GPTQ_w4"}
    assert base["storage"] == {"bits_per_weight": 32.0, "quantization": ""}
    assert [line["bits_per_weight"] for line in as_csv([base, sft])] == [32.0, 4.5]


def test_the_csv_says_which_differences_are_sure(repository: Path) -> None:
    samples = {"base": [{"task": "maths", "sample_id": str(n), "correct": False} for n in range(9)]}
    samples["sft"] = [row | {"correct": True} for row in samples["base"]]
    base, sft = as_csv(collect_rows(METRICS, ["base", "sft"], {"sft": "base"}, compare(samples, {"sft": "base"})))
    assert (sft["maths.parent.difference"], sft["maths.parent.significant"]) == (1.0, True)
    assert sft["maths.parent.p_value"] == pytest.approx(2 / 2**9)
    assert base["maths.parent.significant"] == ""


def test_models_without_an_evaluation_are_named_with_the_reason(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = not_evaluated(METRICS, ["base", "sft", "dpo", "ppo"], {"evaluate@dpo"})
    assert [model["model"] for model in missing] == ["dpo", "ppo"]
    assert missing[0]["reason"].startswith("its last evaluation failed or was removed: `dvc repro evaluate@dpo`")
    assert missing[1]["reason"].startswith("its evaluation has not ended well yet")
    monkeypatch.setenv(FAILED_VARIABLE, json.dumps({"dpo": {"status": "failed", "reason": "the logits are NaN"}}))
    [dpo, ppo] = not_evaluated(METRICS, ["dpo", "ppo"], {})
    assert dpo == {"model": "dpo", "status": "failed", "reason": "the logits are NaN"}
    assert ppo["status"] == "not evaluated"


def test_more_models_than_fit_go_into_further_tables(repository: Path) -> None:
    rows = collect_rows(METRICS, ["base", "sft"], {}, [])
    many = [{**rows[1], "model": f"a_longer_name_{number}"} for number in range(9)]
    console = Console(width=80, record=True, file=StringIO())
    console.print(leaderboard_table(many))
    text = console.export_text()
    assert text.count("Leaderboard") == 3
    assert all(row["model"] in text for row in many)
    assert text.count(".750") == 9
