"""clean: what stays obeys the rules, and what left broke one."""

import hashlib
import re
import unicodedata

import pytest

from forgeline.core.storage import read_json
from tests.clone import Clone
from tests.pipeline.outputs import params, rows

pytestmark = pytest.mark.slow

SOURCES = ("hpo_terms", "hpo_diseases")


@pytest.mark.parametrize("source", SOURCES)
def test_what_stays_is_normalised_and_long_enough(smoke: Clone, source: str) -> None:
    rules = params(smoke)["clean"]
    for row in rows(smoke, f"data/clean/{source}/documents.parquet"):
        text = row["text"]
        assert rules["min_characters"] <= len(text) <= rules["max_characters"]
        assert text == unicodedata.normalize("NFC", text).strip("\n")
        assert not re.search(r"[\t\x0b\x0c ]+\n|\n\n\n|\r", text)
        assert row["doc_id"] == hashlib.sha256(text.encode()).hexdigest()[:32]


def test_what_left_was_too_short(smoke: Clone) -> None:
    shortest = params(smoke)["clean"]["min_characters"]
    dropped = rows(smoke, "data/clean/hpo_terms/dropped.parquet")
    assert dropped
    for row in dropped:
        assert row["reason"] == "too_short"
        assert len(row["text"]) < shortest
        assert row["detail"] == f"{len(row['text'])} characters"


@pytest.mark.parametrize("source", SOURCES)
def test_metrics_tell_what_was_done_besides_dropping(smoke: Clone, source: str) -> None:
    metrics = read_json(smoke.root / f"metrics/clean/{source}.json")
    assert metrics["records"]["out"] == metrics["documents"]["num_documents"]
    assert (metrics["repaired"], metrics["pii"], metrics["languages"], metrics["warnings"]) == (0, {}, {}, [])


@pytest.mark.parametrize("source", SOURCES)
def test_there_is_a_shard_out_for_every_shard_in(smoke: Clone, source: str) -> None:
    def shards(folder: str) -> list[str]:
        return sorted(path.name for path in (smoke.root / "data" / folder).iterdir())

    ingested = shards(f"ingest/{source}/documents.parquet")
    assert shards(f"clean/{source}/documents.parquet") == shards(f"clean/{source}/dropped.parquet") == ingested


def test_nothing_but_normalisation_happens_to_the_rest(smoke: Clone) -> None:
    """Words in order, dropped documents taken out: exactly those of `ingest`."""
    for source in SOURCES:
        left = {row["doc_id"] for row in rows(smoke, f"data/clean/{source}/dropped.parquet")}
        came = [row for row in rows(smoke, f"data/ingest/{source}/documents.parquet") if row["doc_id"] not in left]
        stayed = rows(smoke, f"data/clean/{source}/documents.parquet")
        assert [row["text"].split() for row in stayed] == [
            unicodedata.normalize("NFC", row["text"]).split() for row in came
        ]
