"""contamination: the shares are those that plain sets of words give, and no model depends on them."""

import re
from typing import Any

import pytest

from tests.clone import Clone
from tests.pipeline.outputs import params, rows

pytestmark = pytest.mark.slow


def words_of(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def runs_of_words(text: str, size: int) -> set[tuple[str, ...]]:
    words = words_of(text)
    return {tuple(words[start : start + size]) for start in range(len(words) - size + 1)}


def learned(run: Clone) -> dict[str, list[str]]:
    pairs = rows(run, "data/preferences/train.parquet")
    return {
        "corpus": [row["text"] for row in rows(run, "data/curate/train.parquet")],
        "instructions": [
            turn["content"] for row in rows(run, "data/instructions/train.parquet") for turn in row["messages"]
        ],
        "preferences": [turn["content"] for row in pairs for turn in row["prompt"]]
        + [row[name] for row in pairs for name in ("chosen", "rejected")],
    }


def asked(run: Clone) -> dict[tuple[str, str], list[str]]:
    texts: dict[tuple[str, str], list[str]] = {
        ("perplexity", "prompts"): [row["text"] for row in rows(run, "data/holdout/documents.parquet")]
    }
    for row in rows(run, "data/instructions/test.parquet"):
        texts.setdefault((row["task"], "prompts"), []).append("\n".join(turn["content"] for turn in row["prompt"]))
        texts.setdefault((row["task"], "answers"), []).append(row["reference"])
    for row in rows(run, "data/preferences/test.parquet"):
        texts.setdefault(("preference", "prompts"), []).append("\n".join(turn["content"] for turn in row["prompt"]))
        texts.setdefault(("preference", "answers"), []).append(row["chosen"])
    return texts


def test_shares_are_those_of_sets_of_words(smoke: Clone) -> None:
    size = params(smoke)["contamination"]["shared_words"]
    sizes = range((size + 1) // 2, size + 1)
    seen = {
        kind: {length: set().union(*(runs_of_words(text, length) for text in texts)) for length in sizes}
        for kind, texts in learned(smoke).items()
    }
    tasks: dict[str, Any] = smoke.metrics("contamination")["tasks"]
    for (task, part), texts in asked(smoke).items():
        score = tasks[task][part]
        lengths = [min(len(words_of(text)), size) for text in texts]
        assert score["too_short"] == sum(length not in sizes for length in lengths)
        for kind, by_length in seen.items():
            found = [
                length in sizes and bool(runs_of_words(text, length) & by_length[length])
                for text, length in zip(texts, lengths, strict=True)
            ]
            assert (score[kind]["value"], score[kind]["n"]) == (sum(found) / len(texts), len(texts)), (task, part, kind)
    assert {"smoke_prompts", "perplexity", "organ_system"} <= set(tasks)


def test_no_prompt_stands_in_the_corpus(smoke: Clone) -> None:
    for task, parts in smoke.metrics("contamination")["tasks"].items():
        if task not in ("perplexity", "smoke_prompts"):  # documents, and prompts that curate does not know
            assert parts["prompts"]["corpus"]["value"] == 0.0


def test_only_the_report_depends_on_it(smoke: Clone) -> None:
    made = "metrics/contamination.json"
    readers = [name for name, stage in smoke.lock().items() if made in {dep["path"] for dep in stage.get("deps", [])}]
    assert readers == ["report"]
