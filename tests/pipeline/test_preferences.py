"""preferences: the right answer is preferred, and every answer is as often right as wrong."""

from collections import Counter

import pytest

from tests.clone import Clone
from tests.pipeline.outputs import SPLITS, ontology, params, rows

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("split", SPLITS)
def test_the_preferred_answer_is_right_and_the_other_wrong(smoke: Clone, split: str) -> None:
    terms, splits = ontology(smoke)
    for row in rows(smoke, f"data/preferences/{split}.parquet"):
        term = terms.terms[row["split_key"]]
        assert splits[term.term_id] == split
        assert term.name in row["prompt"][-1]["content"]
        right = term.definition if row["task"] == "definition" else f"\\boxed{{{terms.systems_of(term.term_id)[0]}}}"
        assert row["chosen"] == right
        assert row["rejected"] != right


@pytest.mark.parametrize("split", SPLITS)
def test_an_answer_alone_gives_nothing_away(smoke: Clone, split: str) -> None:
    pairs = rows(smoke, f"data/preferences/{split}.parquet")
    assert Counter(row["chosen"] for row in pairs) == Counter(row["rejected"] for row in pairs)


@pytest.mark.parametrize("split", SPLITS)
def test_half_of_the_pairs_are_of_each_task(smoke: Clone, split: str) -> None:
    limit = params(smoke)["preferences"][f"max_{split}"]
    counts = Counter(row["task"] for row in rows(smoke, f"data/preferences/{split}.parquet"))
    assert counts == {"definition": limit // 2, "organ_system": limit // 2}
    assert {task: numbers[split] for task, numbers in smoke.metrics("preferences")["pairs"].items()} == counts
