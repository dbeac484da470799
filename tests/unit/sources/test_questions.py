from collections import Counter

import pytest
from tests.unit.sources.instruction_sets import instruction_params

from forgeline.sources.instruction_params import HpoQuestionSet
from forgeline.sources.instructions import build_instructions
from forgeline.sources.pairing import swap_pairs
from forgeline.sources.preferences import PreferenceParams, build_preferences
from forgeline.sources.questions import Question, cap, drop_long, drop_repeated, drop_revealing, user


@pytest.fixture(scope="module")
def built(descriptor, hpo):
    packaged = HpoQuestionSet(kind="hpo_questions", path=str(descriptor), weight=None)
    return build_instructions(instruction_params({"hpo": packaged}), hpo)


@pytest.fixture(scope="module")
def preferences(descriptor, hpo):
    limits = {"max_train": 800, "max_validation": 100, "max_test": 100}
    sets = {"hpo": {"kind": "hpo", "path": str(descriptor)}}
    params = PreferenceParams(sets=sets, **limits, validation_fraction=0.1, test_fraction=0.1, seed=17)
    return build_preferences(params, hpo)


def prompts(records) -> list[str]:
    return [record.prompt[0]["content"] for record in records]


def test_split_is_by_term(built, splits) -> None:
    assert {splits[record.split_key] for record in built.train} == {"train"}
    assert {splits[record.split_key] for record in built.validation} == {"validation"}
    assert {splits[record.split_key] for record in built.test} == {"test"}


def test_no_held_out_term_is_asked_about_or_asked_for_in_training(built, ontology, splits) -> None:
    held_out = {ontology.terms[key].name for key, split in splits.items() if split != "train"}
    for record in built.train:
        question = record.messages[0]["content"]
        if record.task == "is_a":
            words = ("Is ", "Does "), (" a kind of ", " a subtype of ", " fall under ")
            start = next(word for word in words[0] if question.startswith(word))
            middle = next(word for word in words[1] if word in question)
            named = question.removeprefix(start).removesuffix("?").rsplit(middle, 1)
            assert len(named) == 2
        else:
            named = [ontology.terms[record.split_key].name]
            assert named[0] in question
        assert not held_out & set(named), question


def test_organ_system_answers_are_boxed_and_right(built, ontology) -> None:
    for record in built.test:
        if record.task == "organ_system":
            name = ontology.terms[record.split_key].name
            assert record.prompt == user(f"What organ system does {name} affect? Answer in \\boxed{{}}.")
            assert record.choices == []
            (system,) = ontology.systems_of(record.split_key)
            assert record.reference == "\\boxed{" + system + "}"


def test_is_a_cannot_be_guessed_from_one_side(built, ontology) -> None:
    samples = [sample for sample in built.test if sample.task == "is_a"]
    by_name = {term.name: term.term_id for term in ontology.terms.values()}
    terms: dict[str, Counter] = {"Yes.": Counter(), "No.": Counter()}
    kinds: dict[str, Counter] = {"Yes.": Counter(), "No.": Counter()}
    for sample in samples:
        assert sample.choices == ["Yes.", "No."]
        x, y = sample.prompt[0]["content"].removeprefix("Is ").removesuffix("?").rsplit(" a kind of ", 1)
        terms[sample.reference][x] += 1
        kinds[sample.reference][y] += 1
        truth = "Yes." if by_name[y] in ontology.ancestors(by_name[x]) else "No."
        assert sample.reference == truth
    assert len(samples) == 200
    assert terms["Yes."] == terms["No."]
    assert kinds["Yes."] == kinds["No."]


def test_definition_choices_are_four_different_definitions_of_relatives(built, ontology) -> None:
    samples = [sample for sample in built.test if sample.task == "definition_choice"]
    assert len(samples) == 200
    learned = {record.messages[-1]["content"] for record in built.train if record.task == "definition"}
    for sample in samples:
        assert len(set(sample.choices)) == 4
        assert sample.reference == ontology.terms[sample.split_key].definition
        assert sample.reference in sample.choices
        assert not learned & set(sample.choices)
    places = Counter(sample.choices.index(sample.reference) for sample in samples)
    assert min(places.values()) > 30  # of 50 expected


def test_every_question_is_kept_or_dropped_and_caps_hold(built) -> None:
    assert built.dropped.num_rows == sum(built.counts.dropped.values())
    assert built.counts.num_out == len(built.train) + len(built.validation) + len(built.test)
    assert built.figures["questions"]["is_a"] == {"train": 2000, "validation": 200, "test": 200}
    assert built.figures["questions"]["definition"]["test"] == 0
    texts = [str(record.messages[:-1]) for record in built.train + built.validation]
    assert len(set(texts)) == len(texts)


def test_preference_pairs_are_split_by_term_and_balanced(preferences, splits) -> None:
    for split, pairs in preferences.splits.items():
        assert {splits[pair.split_key] for pair in pairs} == {split}
        assert all(pair.chosen != pair.rejected for pair in pairs)
        assert Counter(pair.chosen for pair in pairs) == Counter(pair.rejected for pair in pairs)
    assert {pair.source for pairs in preferences.splits.values() for pair in pairs} == {"hpo"}
    assert preferences.dropped.num_rows == 0  # what is over a limit is only counted
    assert list(preferences.counts.dropped) == ["over_limit"]
    assert preferences.per_task["definition"] == {"train": 400, "validation": 50, "test": 50}
    assert preferences.per_task["organ_system"] == {"train": 400, "validation": 50, "test": 50}


def test_rejected_definitions_are_of_another_organ_system(preferences, ontology) -> None:
    systems: dict[str, set[str]] = {}
    for term in ontology.terms.values():
        systems.setdefault(term.definition, set()).update(ontology.systems_of(term.term_id))
    for pair in preferences.splits["test"]:
        if pair.task == "definition":
            assert pair.prompt == user(f"What is {ontology.terms[pair.split_key].name}?")
            assert not systems[pair.rejected] & set(ontology.systems_of(pair.split_key))
            assert pair.chosen == ontology.terms[pair.split_key].definition
        else:
            assert pair.chosen.startswith("\\boxed{")


def test_swap_pairs_takes_the_nearest_compatible_one() -> None:
    assert swap_pairs(["a1", "a2", "b1", "b2", "c1", "c2", "c3"], lambda x, y: x[0] != y[0]) == [
        ("a1", "b1"),
        ("a2", "b2"),
    ]
    assert swap_pairs([], lambda x, y: True) == []


def question(text: str, split: str = "train", task: str = "t", **extra) -> Question:
    return Question(task, split, extra.pop("key", text), "s", user(text), "answer", **extra)


def test_long_and_repeated_questions_are_dropped() -> None:
    questions = [question("what is it"), question("x" * 30), question("What  is it", "test"), question("other")]
    fates = drop_long(questions, max_characters=20)
    assert fates == {1: ("too_long", "36 characters")}
    repeated = drop_repeated(questions, fates)
    assert repeated == {0: ("duplicate_prompt", questions[2].conversation().conversation_id)}


def test_training_answers_that_are_wrong_choices_of_a_kept_test_are_dropped() -> None:
    test = question("q", "test", distractor_keys=("k1", "k2"))
    gone = question("r", "test", distractor_keys=("k3",))
    train = [question(text, task="definition", key=key) for text, key in (("a", "k1"), ("b", "k3"), ("c", "k4"))]
    other = question("d", task="organ_system", key="k1")
    fates = drop_revealing([test, gone, *train, other], {1: ("over_limit", "")}, frozenset({"definition"}))
    assert fates == {2: ("contaminated", test.sample().sample_id)}


def test_a_cap_keeps_whole_blocks_and_does_not_depend_on_order() -> None:
    questions = [question(f"{block}{n}", block=f"block{block}") for block in range(5) for n in range(3)]
    over = cap(questions, {}, {("t", "train"): 7}, seed=1)
    kept = [q.block for place, q in enumerate(questions) if place not in over]
    assert sorted(Counter(kept).values()) == [3, 3]
    backwards = questions[::-1]
    over_backwards = cap(backwards, {}, {("t", "train"): 7}, seed=1)
    assert {q.block for place, q in enumerate(backwards) if place not in over_backwards} == set(kept)
    assert cap(questions, {}, {("t", "train"): None, ("t", "test"): 1}, seed=1) == {}
