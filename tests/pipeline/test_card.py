"""card: a description of the corpus that the files, the metrics and the hub agree with."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import datasets
import pytest
from huggingface_hub import DatasetCard

from tests.clone import Clone
from tests.pipeline.outputs import SPLITS, params, rows

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def card(smoke: Clone) -> str:
    return (smoke.root / "data" / "card.md").read_text(encoding="utf-8")


def number(text: str) -> int:
    return int(text.replace(",", ""))


def test_it_says_how_large_each_split_is(smoke: Clone, card: str) -> None:
    for split in SPLITS:
        found = rows(smoke, f"data/curate/{split}.parquet")
        [figures] = re.findall(rf"^\| {split} \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|$", card, re.MULTILINE)[:1]
        assert [number(figure) for figure in figures] == [
            len(found),
            sum(len(row["text"]) for row in found),
            sum(len(row["text"].encode()) for row in found),
        ]


def test_every_file_has_its_hash(smoke: Clone, card: str) -> None:
    files = {path for split in SPLITS for path in (smoke.root / f"data/curate/{split}.parquet").iterdir()}
    listed = dict(re.findall(r"^\| `([\w./]+)` \|.*\| `([0-9a-f]{64})` \|$", card, re.MULTILINE))
    assert {smoke.root / "data" / "curate" / name for name in listed} == files
    for name, digest in listed.items():
        assert hashlib.sha256((smoke.root / "data" / "curate" / name).read_bytes()).hexdigest() == digest


def test_its_funnel_is_that_of_the_metrics(smoke: Clone, card: str) -> None:
    for step in ("ingest", "clean"):
        records = [smoke.metrics(f"{step}/{name}")["records"] for name in params(smoke)["ingest"]["sources"]]
        assert f"| {step} | {sum(r['in'] for r in records):,} | {sum(r['out'] for r in records):,} |" in card
    records = smoke.metrics("curate")["records"]
    assert f"| curate | {records['in']:,} | {records['out']:,} |" in card
    for reason, count in records["dropped"].items():
        assert re.search(rf"^\| curate \| {reason.replace('_', ' ')} \|.* {count:,} \|$", card, re.MULTILINE)


def test_it_names_sources_rules_and_licence(smoke: Clone, card: str) -> None:
    values = params(smoke)
    for name, source in values["ingest"]["sources"].items():
        assert f"### {name}\n" in card
        assert source["license"] in card
        assert " ".join(source["citation"].split()) in card
    assert f"| `min_characters` | {values['clean']['min_characters']:,} |" in card
    assert f"runs of {values['curate']['minhash']['shingle_size']} words" in card
    head = DatasetCard(card).data
    assert (head.pretty_name, head.license) == (values["card"]["title"], values["card"]["license"])
    assert head.language == ["en"]


def test_published_beside_the_corpus_it_loads_with_datasets(smoke: Clone, card: str, tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    shutil.copytree(smoke.root / "data" / "curate", folder / "curate")
    (folder / "README.md").write_text(card, encoding="utf-8")
    found = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert {split: found[split].num_rows for split in found} == {
        split: len(rows(smoke, f"data/curate/{split}.parquet")) for split in SPLITS
    }


def test_the_plan_was_near_what_the_run_read(smoke: Clone) -> None:
    plan = json.loads(smoke.forgeline("plan", "--json", "--offline").stdout)
    for source in plan["sources"]:
        ingested = smoke.metrics(f"ingest/{source['name']}")["documents"]
        assert source["num_documents"] == pytest.approx(ingested["num_documents"], rel=0.2)
        assert source["num_bytes"] == pytest.approx(ingested["num_bytes"], rel=0.2)
    measured = smoke.metrics("pretrain")
    assert plan["training"]["num_parameters"] == pytest.approx(measured["num_parameters"], rel=0.02)
    assert plan["training"]["num_tokens"] == measured["num_tokens_seen"]
    assert {cost["basis"] for cost in plan["stages"]} == {"measured here"}
    assert {cost["stage"] for cost in plan["stages"]} == set(smoke.lock())


def test_any_document_can_be_traced(smoke: Clone) -> None:
    kept = rows(smoke, "data/curate/train.parquet")[0]
    [journey] = json.loads(smoke.forgeline("trace", kept["doc_id"][:12], "--json").stdout)["journeys"]
    assert [(step["stage"], step["outcome"]) for step in journey["steps"]] == [
        ("ingest", "kept"), ("clean", "kept"), ("curate", "train"),
    ]  # fmt: skip
    assert all(step["now"] == "" for step in journey["steps"])
    for row in rows(smoke, "data/curate/dropped.parquet")[:3]:
        journeys = json.loads(smoke.forgeline("trace", row["doc_id"], "--json").stdout)["journeys"]
        assert row["reason"] in {step["reason"] for journey in journeys for step in journey["steps"]}
    missing = smoke.forgeline("trace", "ffffffff00000000", check=False)
    assert missing.returncode == 1
    assert "no document is or contains 'ffffffff00000000'" in missing.stderr
