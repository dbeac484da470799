"""holdout: of the test documents those that no training answer quotes, for every model the same."""

import re

import pytest

from tests.clone import Clone
from tests.pipeline.outputs import EVALUATED, params, rows, samples

pytestmark = pytest.mark.slow


def words_of(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def runs_of_words(text: str, size: int) -> set[tuple[str, ...]]:
    words = words_of(text)
    return {tuple(words[start : start + size]) for start in range(len(words) - size + 1)}


def taught(run: Clone) -> list[str]:
    conversations = rows(run, "data/instructions/train.parquet")
    pairs = rows(run, "data/preferences/train.parquet")
    said = [turn["content"] for row in conversations for turn in row["messages"]]
    return said + [row[name] for row in pairs for name in ("chosen", "rejected")]


def test_no_training_answer_quotes_a_scored_document(smoke: Clone) -> None:
    size = params(smoke)["holdout"]["shared_words"]
    quotes = set().union(*(runs_of_words(text, size) for text in taught(smoke)))
    assert len(quotes) > 100
    documents = rows(smoke, "data/holdout/documents.parquet")
    assert documents
    for row in documents:
        assert not runs_of_words(row["text"], size) & quotes, row["text"]


def test_it_takes_test_documents_in_their_order_and_leaves_the_quoted_ones_out(smoke: Clone) -> None:
    before, after = (rows(smoke, f"data/{path}.parquet") for path in ("curate/test", "holdout/documents"))
    kept = {row["doc_id"] for row in after}
    assert after == [row for row in before if row["doc_id"] in kept]
    assert smoke.metrics("holdout")["records"] == {
        "in": len(before),
        "out": len(after),
        "dropped": {"quoted_in_training": len(before) - len(after)},
    }
    size = params(smoke)["holdout"]["shared_words"]
    quotes = set().union(*(runs_of_words(text, size) for text in taught(smoke)))
    whole = [words_of(text) for text in taught(smoke)]
    short = [f" {' '.join(words)} " for words in whole if size / 2 <= len(words) < size]  # shorter ones mean nothing
    for row in before:
        if row["doc_id"] not in kept:
            text = f" {' '.join(words_of(row['text']))} "
            assert runs_of_words(row["text"], size) & quotes or any(words in text for words in short)


@pytest.mark.parametrize("model", EVALUATED)
def test_every_model_is_scored_on_the_same_held_out_documents(smoke: Clone, model: str) -> None:
    held_out = {row["doc_id"] for row in rows(smoke, "data/holdout/documents.parquet")}
    scored = [row["sample_id"] for row in samples(smoke, model) if row["task"] == "perplexity"]
    assert set(scored) <= held_out
    assert scored == [row["sample_id"] for row in samples(smoke, "base") if row["task"] == "perplexity"]
