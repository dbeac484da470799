from io import StringIO
from pathlib import Path

from rich.console import Console

from forgeline.core.pipeline import PipelineStage, read_pipeline
from forgeline.core.storage import read_jsonl, write_json
from forgeline.reporting.comparison import compare
from forgeline.reporting.leaderboard import as_csv, baseline_of, best_of, collect_rows, columns_of, model_parents
from forgeline.reporting.terminal import LeaderboardTable

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
    console.print(LeaderboardTable(collect_rows(METRICS, ["base", "sft"], {}, []), []))
    text = console.export_text()
    assert ".750" in text
    assert ".65….85" in text
    assert "trigram" in text
