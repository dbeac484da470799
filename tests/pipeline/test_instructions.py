"""instructions: questions about ontology terms whose answers the ontology confirms."""

from collections import Counter

import pytest

from tests.clone import Clone
from tests.pipeline.outputs import SPLITS, ontology, params, rows

pytestmark = pytest.mark.slow

TASKS = {"organ_system", "is_a", "definition_choice"}


def test_answers_are_those_of_the_ontology(smoke: Clone) -> None:
    terms, _ = ontology(smoke)
    for row in rows(smoke, "data/instructions/test.parquet"):
        term = terms.terms[row["split_key"]]
        question = row["prompt"][-1]["content"]
        assert term.name in question
        if row["task"] == "organ_system":
            (system,) = terms.systems_of(term.term_id)
            assert row["reference"] == f"\\boxed{{{system}}}"
        elif row["task"] == "is_a":
            kinds = [terms.terms[key].name for key in terms.ancestors(term.term_id)]
            kind = question.removeprefix(f"Is {term.name} a kind of ").removesuffix("?")
            assert row["reference"] == ("Yes." if kind in kinds else "No.")
        else:
            assert row["reference"] == term.definition
            assert len(set(row["choices"])) == 4
            assert term.definition in row["choices"]


def test_training_answers_are_those_of_the_ontology(smoke: Clone) -> None:
    terms, _ = ontology(smoke)
    for row in rows(smoke, "data/instructions/train.parquet"):
        term = terms.terms[row["split_key"]]
        assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"]
        question, answer = (turn["content"] for turn in row["messages"])
        assert term.name in question
        if row["task"] == "organ_system":
            assert answer == f"\\boxed{{{terms.systems_of(term.term_id)[0]}}}"
        elif row["task"] == "definition":
            assert answer == term.definition
        else:
            assert answer in ("Yes.", "No.")


def test_yes_and_no_are_balanced(smoke: Clone) -> None:
    held_out = [row["reference"] for row in rows(smoke, "data/instructions/test.parquet") if row["task"] == "is_a"]
    train = rows(smoke, "data/instructions/train.parquet")
    learned = [row["messages"][-1]["content"] for row in train if row["task"] == "is_a"]
    for answers in (held_out, learned):
        counts = Counter(answers)
        assert counts["Yes."] == counts["No."] == len(answers) / 2


def test_caps_hold(smoke: Clone) -> None:
    limits = params(smoke)["instructions"]
    train = Counter(row["task"] for row in rows(smoke, "data/instructions/train.parquet"))
    assert train == Counter(limits["max_per_task"])
    for split in ("validation", "test"):
        counts = Counter(row["task"] for row in rows(smoke, f"data/instructions/{split}.parquet"))
        assert set(counts.values()) == {limits["max_test_per_task"]}
        assert set(counts) == (TASKS if split == "test" else {"organ_system", "is_a", "definition"})


def test_every_question_is_in_the_split_of_its_term(smoke: Clone) -> None:
    _, splits = ontology(smoke)
    for split in SPLITS:
        for row in rows(smoke, f"data/instructions/{split}.parquet"):
            assert splits[row["split_key"]] == split


def test_figures_count_the_questions(smoke: Clone) -> None:
    counted = {
        split: Counter(row["task"] for row in rows(smoke, f"data/instructions/{split}.parquet")) for split in SPLITS
    }
    for task, numbers in smoke.metrics("instructions")["questions"].items():
        assert numbers == {split: counted[split][task] for split in SPLITS}
