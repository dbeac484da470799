"""Every record of a real run is accounted for: in = out + Σ dropped(reason), and the files hold what the counts say."""

from typing import Any

import pytest

from tests.clone import Clone
from tests.pipeline.outputs import EVALUATED, SPLITS, params, reasons, rows, samples

pytestmark = pytest.mark.slow

SOURCES = ("hpo_terms", "hpo_diseases")
NOT_RECORDS = {"leaderboard"}  # a table of other files' figures


def records(run: Clone, name: str) -> dict[str, Any]:
    found: dict[str, Any] = run.metrics(name)["records"]
    return found


def test_every_metrics_file_adds_up(smoke: Clone) -> None:
    folder = smoke.root / "metrics"
    names = {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.json")} - NOT_RECORDS
    assert len(names) == len(smoke.lock()), "one metrics file a stage"
    for name in sorted(names):
        counts = records(smoke, name)
        assert counts["in"] == counts["out"] + sum(counts["dropped"].values()), name
        assert min([counts["out"], *counts["dropped"].values()]) >= 0, name
        assert counts["out"] > 0, name


@pytest.mark.parametrize("stage", ["ingest", "clean"])
@pytest.mark.parametrize("source", SOURCES)
def test_counts_of_a_source_are_the_rows_of_its_files(smoke: Clone, stage: str, source: str) -> None:
    counts = records(smoke, f"{stage}/{source}")
    assert len(rows(smoke, f"data/{stage}/{source}/documents.parquet")) == counts["out"]
    assert reasons(smoke, f"data/{stage}/{source}/dropped.parquet") == counts["dropped"]


@pytest.mark.parametrize("stage", ["instructions", "curate"])
def test_counts_are_the_rows_of_the_splits(smoke: Clone, stage: str) -> None:
    counts = records(smoke, stage)
    assert sum(len(rows(smoke, f"data/{stage}/{split}.parquet")) for split in SPLITS) == counts["out"]
    assert reasons(smoke, f"data/{stage}/dropped.parquet") == counts["dropped"]


def test_counts_of_preferences_are_the_rows_of_the_splits(smoke: Clone) -> None:
    kept = sum(len(rows(smoke, f"data/preferences/{split}.parquet")) for split in SPLITS)
    assert kept == records(smoke, "preferences")["out"]


def test_documents_get_lost_between_no_two_stages(smoke: Clone) -> None:
    for source in SOURCES:
        assert records(smoke, f"clean/{source}")["in"] == records(smoke, f"ingest/{source}")["out"]
    assert records(smoke, "curate")["in"] == sum(records(smoke, f"clean/{source}")["out"] for source in SOURCES)
    sizes = {split: len(rows(smoke, f"data/curate/{split}.parquet")) for split in SPLITS}
    assert records(smoke, "tokenizer")["in"] == sizes["train"]
    assert records(smoke, "pack")["in"] == sizes["train"] + sizes["validation"]
    assert records(smoke, "holdout")["in"] == sizes["test"]
    held_out = len(rows(smoke, "data/holdout/documents.parquet"))
    assert records(smoke, "baseline")["in"] == records(smoke, "holdout")["out"] == held_out
    assert records(smoke, "pretrain")["in"] == smoke.metrics("pack")["train"]["num_windows"]


def test_conversations_and_pairs_get_lost_between_no_two_stages(smoke: Clone) -> None:
    asked = {split: len(rows(smoke, f"data/instructions/{split}.parquet")) for split in SPLITS}
    pairs = {split: len(rows(smoke, f"data/preferences/{split}.parquet")) for split in SPLITS}
    assert records(smoke, "sft")["in"] == asked["train"] + asked["validation"]
    assert records(smoke, "reinforce/grpo")["in"] == asked["train"] + asked["validation"]
    assert records(smoke, "align/dpo")["in"] == pairs["train"] + pairs["validation"]
    assert records(smoke, "reward")["in"] == sum(pairs.values())


@pytest.mark.parametrize("model", EVALUATED)
def test_every_held_out_sample_is_scored_or_left_out_for_a_reason(smoke: Clone, model: str) -> None:
    counts = records(smoke, f"evaluate/{model}")
    documents = len(rows(smoke, "data/holdout/documents.parquet"))
    asked = sum(len(rows(smoke, f"data/{stage}/test.parquet")) for stage in ("instructions", "preferences"))
    prompts = len((smoke.root / "tasks" / "smoke_prompts.jsonl").read_text().splitlines())
    assert counts["in"] == documents + asked + prompts
    assert counts["out"] == len(samples(smoke, model))
    limit = params(smoke)["evaluate"]["scoring"]["max_documents"]
    assert counts["dropped"] == {"beyond_max_documents": documents - limit}


def test_the_report_and_the_registry_count_what_they_read(smoke: Clone) -> None:
    assert records(smoke, "report")["in"] == sum(len(samples(smoke, model)) for model in EVALUATED)
    assert records(smoke, "register")["in"] == len(params(smoke)["register"]["models"])
    asked = len(rows(smoke, "data/instructions/test.parquet"))
    for model in params(smoke)["benchmark"]["models"]:
        assert records(smoke, f"benchmark/{model}")["in"] == asked


def test_no_document_is_in_two_places(smoke: Clone) -> None:
    """Kept and dropped documents of `curate` together are exactly the cleaned ones, each once."""
    cleaned = [row["doc_id"] for source in SOURCES for row in rows(smoke, f"data/clean/{source}/documents.parquet")]
    found = [row["doc_id"] for name in (*SPLITS, "dropped") for row in rows(smoke, f"data/curate/{name}.parquet")]
    assert sorted(found) == sorted(cleaned)
