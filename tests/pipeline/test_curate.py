"""curate: one copy of each document, none with a run of words of a held-out question, split by hash."""

import hashlib
import re
from typing import Any

import pytest

from tests.clone import Clone
from tests.pipeline.outputs import SPLITS, params, rows

pytestmark = pytest.mark.slow


def words_of(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", text.lower()))


def shared(text: str, other: str, size: int) -> bool:
    """Whether `text` holds a run of `size` words of `other`, or all of it if it has at least half as many."""
    ours, theirs = words_of(text), words_of(other)
    size = min(size, len(theirs)) if 2 * len(theirs) >= size else size
    runs = {ours[start : start + size] for start in range(len(ours) - size + 1)}
    return any(theirs[start : start + size] in runs for start in range(len(theirs) - size + 1))


def texts_of(question: dict[str, Any]) -> list[str]:
    return [*(turn["content"] for turn in question["prompt"]), *question["choices"], question["reference"]]


def test_no_kept_document_shares_a_run_of_words_with_a_question(smoke: Clone) -> None:
    size = params(smoke)["curate"]["decontaminate_words"]
    asked = {words_of(text) for row in rows(smoke, "data/instructions/test.parquet") for text in texts_of(row)}
    by_size: dict[int, set[tuple[str, ...]]] = {}
    for words in asked:
        if 2 * len(words) >= size:
            length = min(size, len(words))
            runs = {words[start : start + length] for start in range(len(words) - length + 1)}
            by_size.setdefault(length, set()).update(runs)
    assert len(by_size[size]) > 100
    for split in SPLITS:
        for row in rows(smoke, f"data/curate/{split}.parquet"):
            words = words_of(row["text"])
            for length, runs in by_size.items():
                found = {words[start : start + length] for start in range(len(words) - length + 1)} & runs
                assert not found, row["text"]


def test_contaminated_documents_name_a_question_that_they_share_words_with(smoke: Clone) -> None:
    size = params(smoke)["curate"]["decontaminate_words"]
    asked = {row["sample_id"]: texts_of(row) for row in rows(smoke, "data/instructions/test.parquet")}
    dropped = [row for row in rows(smoke, "data/curate/dropped.parquet") if row["reason"] == "contaminated"]
    assert dropped
    for row in dropped:
        assert any(shared(row["text"], text, size) for text in asked[row["detail"]]), row["text"]


def test_no_two_documents_have_the_same_words(smoke: Clone) -> None:
    texts = [
        " ".join(row["text"].lower().split()) for split in SPLITS for row in rows(smoke, f"data/curate/{split}.parquet")
    ]
    assert len(set(texts)) == len(texts)


def test_the_split_is_a_function_of_the_id(smoke: Clone) -> None:
    rules = params(smoke)["curate"]
    seed, test, validation = rules["minhash"]["seed"], rules["test_fraction"], rules["validation_fraction"]
    for split in SPLITS:
        for row in rows(smoke, f"data/curate/{split}.parquet"):
            place = int(hashlib.sha256(f"{seed}:{row['doc_id']}".encode()).hexdigest()[:13], 16) / 16**13
            expected = "test" if place < test else "validation" if place < test + validation else "train"
            assert split == expected


def test_splits_have_about_the_asked_sizes(smoke: Clone) -> None:
    rules = params(smoke)["curate"]
    sizes = {split: len(rows(smoke, f"data/curate/{split}.parquet")) for split in SPLITS}
    total = sum(sizes.values())
    for split in ("validation", "test"):
        share = rules[f"{split}_fraction"]
        assert abs(sizes[split] / total - share) < 4 * (share / total) ** 0.5


def test_both_sources_are_in_every_split(smoke: Clone) -> None:
    for split in SPLITS:
        found = {row["source"] for row in rows(smoke, f"data/curate/{split}.parquet")}
        assert found == {"hpo_terms", "hpo_diseases"}
