"""curate: one copy of each document, none with a run of words of a held-out question, split by hash."""

import hashlib
import re

import pytest

from tests.clone import Clone
from tests.pipeline.outputs import SPLITS, params, rows

pytestmark = pytest.mark.slow


def runs_of_words(text: str, size: int) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[start : start + size]) for start in range(len(words) - size + 1)}


def question_runs(run: Clone, size: int) -> dict[str, set[tuple[str, ...]]]:
    return {
        row["sample_id"]: set().union(
            *(
                runs_of_words(text, size)
                for text in [*(turn["content"] for turn in row["prompt"]), *row["choices"], row["reference"]]
            )
        )
        for row in rows(run, "data/instructions/test.parquet")
    }


def test_no_kept_document_shares_a_run_of_words_with_a_question(smoke: Clone) -> None:
    size = params(smoke)["curate"]["decontaminate_words"]
    asked = set().union(*question_runs(smoke, size).values())
    assert asked
    for split in SPLITS:
        for row in rows(smoke, f"data/curate/{split}.parquet"):
            assert not runs_of_words(row["text"], size) & asked, row["text"]


def test_contaminated_documents_name_a_question_that_they_share_words_with(smoke: Clone) -> None:
    size = params(smoke)["curate"]["decontaminate_words"]
    asked = question_runs(smoke, size)
    dropped = [row for row in rows(smoke, "data/curate/dropped.parquet") if row["reason"] == "contaminated"]
    assert dropped
    for row in dropped:
        assert runs_of_words(row["text"], size) & asked[row["detail"]]


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
