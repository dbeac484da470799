"""The data card for hand-written metrics, word for word."""

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import DatasetCard

from forgeline.core.errors import DataError
from forgeline.core.storage import write_json
from forgeline.sources.fetch_params import FetchParams
from forgeline.sources.params import SourcesParams
from forgeline.text.card import CardInputs, CardParams, data_card, fetched_by, read_corpus
from forgeline.text.card_sections import Corpus

GOLDEN = Path(__file__).parent / "golden" / "card.md"

CARD = CardParams(
    title="Two small sources",
    description="Notes and a dataset, to see what a card says.",
    license="other",
    license_name="see sources",
    license_link="https://example.org/licence",
)
SOURCE = {
    "kind": "files", "pattern": None, "text": "text", "documents": None, "marker": None, "encoding": "repair",
    "weight": 1.0, "max_documents": None, "max_tokens": None, "license": None, "citation": None,
}  # fmt: skip
INGEST = {
    "shard_megabytes": 16,
    "max_document_megabytes": 50,
    "max_source_gigabytes": 100,
    "bytes_per_token": 4.0,
    "sources": {
        "notes": {**SOURCE, "path": "/home/someone/notes", "pattern": "**/*.jsonl", "language": "auto"},
        "far": {
            **SOURCE, "path": "data/fetch/far", "language": "de", "weight": 2.0, "max_documents": 1000,
            "license": "CC BY 4.0", "citation": "Doe J.\n  A dataset | of things. 2024.",
        },
    },
}  # fmt: skip
FETCH = {
    "far": {
        "kind": "hub", "dataset": "someone/things", "subset": "small", "split": "train", "revision": "a" * 40,
        "streaming": True, "max_documents": 1000, "max_tokens": None,
    }
}  # fmt: skip
CLEAN = {
    "min_characters": 40,
    "languages": ["de", "en"],
    "unicode_repair": True,
    "pii": {"email": {"enabled": True, "replacement": "<email>"}, "phone": {"enabled": False, "replacement": "<p>"}},
    "rules": {
        "default": {
            "c4": {"enabled": False, "min_sentences": 3},
            "gopher_quality": {"max_words": None, "min_words": 50},
        }
    },
}


def records(num_in: int, num_out: int, **dropped: int) -> dict[str, Any]:
    return {"in": num_in, "out": num_out, "dropped": dropped}


def text(num_documents: int) -> dict[str, int]:
    return {"num_documents": num_documents, "num_characters": 1_000 * num_documents, "num_bytes": 1_100 * num_documents}


def shard(split: str, source: str, num_documents: int, digit: str) -> dict[str, Any]:
    identity = {"file": f"{split}.parquet/00000.parquet", "sha256": digit * 64, "file_bytes": 4321}
    return {**identity, "source": source, **text(num_documents)}


METRICS: dict[str, Any] = {
    "ingest/notes": {
        "records": records(1_510, 1_500, empty=10),
        "sha256": "b" * 64,
        "budget": {"reached": False},
        "encoding": {"num_replaced": 3, "num_removed": 1},
    },
    "ingest/far": {"records": records(1_001, 1_000, over_limit=1), "budget": {"reached": True}},
    "clean/notes": {
        "records": records(1_500, 1_300, too_short=150, language=50),
        "languages": {"en": 1_000, "de": 300, "fr": 150, "la": 4},
        "pii": {"email": 12},
        "warnings": ["notes: c4 assumes English"],
    },
    "clean/far": {"records": records(1_000, 990, too_short=10), "pii": {"email": 3}, "languages": {}, "warnings": []},
    "curate": {
        "records": records(2_290, 2_200, exact_duplicate=50, near_duplicate=30, contaminated=10),
        "train": text(2_000),
        "validation": text(100),
        "test": text(100),
        "sources": {"train": {"notes": text(1_100), "far": text(900)}, "validation": {"far": text(100)}, "test": {}},
        "dropped_by_source": {"notes": {"exact_duplicate": 50, "contaminated": 10}, "far": {"near_duplicate": 30}},
        "copies": {"num_clusters": 60, "num_copies": 80, "largest": 7},
        "contaminated": {"instructions": {"definition": 8, "is_a": 0}, "preferences": {"definition": 2}},
        "too_short": {"instructions": {"definition": 0, "is_a": 1_200}, "preferences": {"definition": 3}},
        "unchecked": ["arc_easy", "hellaswag"],
    },
}
MANIFEST = {
    "params": {
        "exact": True,
        "minhash": {
            "enabled": True, "num_permutations": 112, "shingle_size": 5, "shingle_unit": "words", "threshold": 0.8,
        },
        "decontaminate_words": 13,
    },
    "shards": {
        "train": [shard("train", "notes", 1_100, "1"), shard("train", "far", 900, "2")],
        "validation": [shard("validation", "far", 100, "3")],
        "test": [shard("test", "far", 100, "4")],
    },
}  # fmt: skip


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    for name, content in METRICS.items():
        write_json(tmp_path / f"{name}.json", content)
    write_json(tmp_path / "manifest.json", MANIFEST)
    sources = SourcesParams.model_validate(INGEST)
    fetch = {name: FetchParams.model_validate(values) for name, values in FETCH.items()}
    assert fetched_by(sources) == ["far"]
    inputs = CardInputs(tmp_path / "ingest", tmp_path / "clean", tmp_path / "curate.json", tmp_path / "manifest.json")
    return read_corpus(sources, fetch, CLEAN, inputs)


def test_the_whole_card(corpus: Corpus) -> None:
    assert data_card(CARD, corpus) == GOLDEN.read_text(encoding="utf-8")


def test_the_hub_can_read_its_head(corpus: Corpus) -> None:
    head = DatasetCard(data_card(CARD, corpus)).data
    assert head.pretty_name == "Two small sources"
    assert head.language == ["de", "en"]  # 990 declared and 300 found, 1,000 found
    assert (head.license, head.license_name) == ("other", "see sources")
    assert head.size_categories == ["1K<n<10K"]
    [config] = head.configs
    assert [entry["split"] for entry in config["data_files"]] == ["train", "validation", "test"]


@pytest.mark.parametrize(
    ("num_documents", "category"),
    [(0, "n<1K"), (999, "n<1K"), (1_000, "1K<n<10K"), (10**6 - 1, "100K<n<1M"), (10**9, "1B<n<10B"), (10**12, "n>1T")],
)
def test_size_categories_are_the_hubs(corpus: Corpus, num_documents: int, category: str) -> None:
    splits = {"train": text(num_documents), "validation": text(0), "test": text(0)}
    changed = Corpus(**{**vars(corpus), "curated": {**corpus.curated, **splits}})
    assert DatasetCard(data_card(CARD, changed)).data.size_categories == [category]


def test_no_path_of_somebodys_disk_is_published(corpus: Corpus) -> None:
    assert "/home" not in data_card(CARD, corpus)


def test_a_title_cannot_break_the_head(corpus: Corpus) -> None:
    title = 'He said: "no" # --- \\ {x} | y'
    assert DatasetCard(data_card(CARD.model_copy(update={"title": title}), corpus)).data.pretty_name == title


def test_without_metrics_the_message_names_the_file(tmp_path: Path) -> None:
    inputs = CardInputs(tmp_path / "ingest", tmp_path / "clean", tmp_path / "curate.json", tmp_path / "manifest.json")
    with pytest.raises(DataError, match=r"ingest/notes\.json does not exist: run `dvc repro`"):
        read_corpus(SourcesParams.model_validate(INGEST), {}, CLEAN, inputs)


def test_only_other_needs_to_be_explained() -> None:
    values = CARD.model_dump()
    with pytest.raises(ValueError, match="license other needs license_name and license_link"):
        CardParams.model_validate({**values, "license_link": None})
    with pytest.raises(ValueError, match="set them to null for mit"):
        CardParams.model_validate({**values, "license": "mit"})
