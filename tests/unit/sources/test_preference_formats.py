"""Preference files: what each format is read as, how it is told from the others, and what is refused."""

import json
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgeline.core.errors import DataError
from forgeline.sources.hpo_split import HpoParams
from forgeline.sources.preference_formats.graded import graded_pairs
from forgeline.sources.preference_formats.params import GradedParams
from forgeline.sources.preference_formats.reading import read_preferences
from forgeline.sources.preferences import PreferenceParams, build_preferences

GRADED = {
    "question_field": "question",
    "answer_field": "answer",
    "grade_field": "grade",
    "min_margin": 1.0,
    "max_pairs_per_question": None,
}
HH = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: What is red?\n\nAssistant:"
TURNS = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "What is red?"},
]
ROWS: dict[str, dict[str, Any]] = {
    "prompt": {"prompt": "What is red?", "chosen": "A color.", "rejected": "A fruit."},
    "question": {
        "system": "",
        "history": [["Hi", "Hello."]],
        "question": "What is red?",
        "response_chosen": "A color.",
        "response_rejected": "A fruit.",
    },
    "conversations": {
        "conversations": [
            {"from": "human", "value": "Hi"},
            {"from": "gpt", "value": "Hello."},
            {"from": "human", "value": "What is red?"},
        ],
        "chosen": {"from": "gpt", "value": "A color."},
        "rejected": [{"role": "assistant", "content": "A fruit."}],
    },
    "transcripts": {"chosen": f"{HH} A color.", "rejected": f"{HH} A fruit."},
    "graded": {"question": "What is red?", "answer": "A color.", "grade": 4},
}


@pytest.fixture
def written(tmp_path: Path):
    def write(*rows: Any, name: str = "pairs.jsonl") -> Path:
        file = tmp_path / name
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return file

    return write


def read(path: Path, name: str = "auto", **changes: Any):
    return read_preferences(path, name, GradedParams(**{**GRADED, **changes}), seed=17)


def error(path: Path, name: str = "auto", **changes: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(path, name, **changes)
    assert str(caught.value).startswith(str(path))
    return str(caught.value).removeprefix(str(path))


@pytest.mark.parametrize("name", ["prompt", "question", "conversations", "transcripts"])
def test_each_format_is_recognised_and_read(written, name: str) -> None:
    file = written(ROWS[name], ROWS[name])
    found = read(file)
    assert (found.format, found.is_detected, found.num_rows) == (name, True, 2)
    candidate = found.candidates[0]
    assert candidate.prompt == (TURNS[2:] if name == "prompt" else TURNS)
    assert (candidate.chosen, candidate.rejected, candidate.margin) == ("A color.", "A fruit.", None)
    assert read(file, name).candidates == found.candidates


def test_messages_may_repeat_the_prompt_and_hold_it_alone(written) -> None:
    answers = {
        key: [*TURNS, {"role": "assistant", "content": text}] for key, text in (("chosen", "a"), ("rejected", "b"))
    }
    with_prompt, alone = read(written({"prompt": TURNS, **answers})), read(written(answers, name="alone.jsonl"))
    assert (with_prompt.format, alone.format) == ("prompt", "transcripts")
    assert with_prompt.candidates == alone.candidates
    assert alone.candidates[0].prompt == TURNS


def test_a_system_text_comes_first(written) -> None:
    (candidate,) = read(written({**ROWS["prompt"], "system": "Be brief."})).candidates
    assert [turn["role"] for turn in candidate.prompt] == ["system", "user"]


def test_a_json_array_is_read_too(tmp_path: Path) -> None:
    file = tmp_path / "pairs.json"
    file.write_text(json.dumps([ROWS["prompt"], ROWS["prompt"]]))
    assert read(file).num_rows == 2


def test_transcripts_that_part_before_the_last_answer_are_set_aside(written) -> None:
    other = "\n\nHuman: Hi\n\nAssistant: Go away.\n\nHuman: What is red?\n\nAssistant: A color."
    (candidate,) = read(written({"chosen": f"{HH} A color.", "rejected": other})).candidates
    assert (candidate.reason, candidate.detail) == ("parted_early", "they part after turn 1 of 4 and 4")


turn_text = st.text(st.characters(codec="utf-8", exclude_characters=":\n"), min_size=1).map(str.strip).filter(bool)


@given(turns=st.lists(st.tuples(turn_text, turn_text), min_size=1, max_size=4), other=turn_text)
def test_a_transcript_gives_its_turns_back(turns: list[tuple[str, str]], other: str) -> None:
    from forgeline.sources.preference_formats.pairs import PAIR_FORMATS

    text = "".join(f"\n\nHuman: {asked}\n\nAssistant: {said}" for asked, said in turns)
    rejected = text.rpartition("\n\nAssistant: ")[0] + f"\n\nAssistant: {other}"
    candidate = PAIR_FORMATS["transcripts"].read({"chosen": text, "rejected": rejected}, lambda: "here:1")
    contents = [content for pair in turns for content in pair]
    assert [turn["content"] for turn in candidate.prompt] == contents[:-1]
    assert (candidate.chosen, candidate.rejected, candidate.reason) == (contents[-1], other, None)


def graded(*answers: tuple[str, str, float]) -> list[dict[str, Any]]:
    return [{"question": question, "answer": answer, "grade": grade} for question, answer, grade in answers]


def test_pairs_lie_between_the_grades_of_one_question(written) -> None:
    rows = graded(("Q", "a4", 4), ("R", "b2", 2), ("q ", "a1", 1), ("Q", "a2", 2), ("R", "c2", 2), ("Q", " ", 3))
    found = read(written(*rows), min_margin=2.0)
    assert found.format == "graded"
    usable = [candidate for candidate in found.candidates if candidate.reason is None]
    assert [(each.chosen, each.rejected, each.margin) for each in usable] == [("a4", "a1", 3.0), ("a4", "a2", 2.0)]
    assert {each.prompt[0]["content"] for each in usable} == {"Q"}
    assert [each.reason for each in found.candidates if each.reason] == ["empty_answer"]
    assert (found.num_rows, found.questions_without_pair) == (6, 1)


def test_of_too_many_pairs_the_seed_chooses(written) -> None:
    file = written(*graded(*[("Q", f"answer {grade}", grade) for grade in range(8)]))
    everything = read(file).candidates
    few = read(file, max_pairs_per_question=5)
    assert (len(everything), len(few.candidates), few.over_limit) == (28, 5, 23)
    assert [each for each in everything if each in few.candidates] == few.candidates


@given(grades=st.lists(st.integers(1, 4), min_size=2, max_size=7), margin=st.sampled_from([0.5, 1.0, 2.0]))
def test_every_two_grades_far_enough_apart_make_one_pair(grades: list[int], margin: float) -> None:
    rows = [
        ({"question": "q", "answer": f"a{place}", "grade": grade}, lambda: "x:1") for place, grade in enumerate(grades)
    ]
    params = GradedParams(**{**GRADED, "min_margin": margin})
    expected = sorted(abs(a - b) for a, b in combinations(grades, 2) if abs(a - b) >= margin)
    if not expected:
        with pytest.raises(DataError, match="no question has two answers whose grades"):
            graded_pairs(rows, Path("x"), params, 17)
        return
    found = graded_pairs(rows, Path("x"), params, 17).candidates
    assert sorted(candidate.margin for candidate in found) == expected
    for candidate in found:
        better, worse = (grades[int(text[1:])] for text in (candidate.chosen, candidate.rejected))
        assert candidate.margin == better - worse


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([{"text": "x"}], ":1: its fields (text) are those of no preference format (prompt: prompt, chosen, "),
        (
            [ROWS["prompt"], ROWS["prompt"], ROWS["question"]],
            ":3: mixed formats: this row is question, those from {file}:1 on are prompt: put each format into a file",
        ),
        (
            [{**ROWS["prompt"], **ROWS["graded"]}, {**ROWS["prompt"], **ROWS["graded"]}],
            ":1: the rows can be read as prompt and as graded: set format to the one that is meant",
        ),
        (
            [ROWS["prompt"], {"prompt": "x", "chosen": "y"}],
            ":2: no rejected: the rows from {file}:1 on are prompt: complete the row or remove it",
        ),
        (
            [{"chosen": f"{HH} a", "rejected": "\n\nHuman: Hi\n\nHuman: You?\n\nAssistant: b"}],
            ":1:rejected: turn 2 is the user's like the one before it: join the two, or remove the row",
        ),
        (
            [{"chosen": "\n\nHuman: Hi", "rejected": f"{HH} a"}],
            ":1:chosen: ends with the human's turn: it must end with an answer",
        ),
        (
            [{**ROWS["conversations"], "conversations": [{"from": "bob", "value": "Hi"}]}],
            ":1:conversations[0]: has the role 'bob', which is none of system, user, assistant,",
        ),
        (
            [{**ROWS["prompt"], "prompt": [*TURNS, TURNS[-1]]}],
            ":1:prompt: turns 3 and 4 are both the user's: join them",
        ),
        ([{**ROWS["prompt"], "prompt": " "}], ":1:prompt: turn 1 is empty: write text into it or"),
        (graded(("Q", "a", 3), ("Q", "b", 3)), ": no question has two answers whose grades lie 1 apart (grades in"),
        (graded(("Q", "a", True)), ":1:grade: True is not a number: correct it"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told_with_its_place(written, rows: list[dict[str, Any]], expected: str) -> None:
    file = written(*rows)
    assert error(file).startswith(expected.replace("{file}", str(file)))


def test_a_declared_format_names_the_field_that_is_missing(written) -> None:
    file = written(ROWS["question"], {"question": "x", "response_chosen": "y"})
    assert error(file, "question").startswith(
        ":2:response_rejected: missing: format question needs question, response_chosen"
    )


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text("prompt,chosen,rejected\na,b,c\n")
    assert "preference data are read from .jsonl and .json, not from csv" in error(file)


def params(path: Path, **changes: Any) -> PreferenceParams:
    values = {
        "sets": {"mine": {"kind": "files", "path": str(path), "format": "auto", "graded": None}},
        "max_train": 1000,
        "max_validation": 1000,
        "max_test": 1000,
        "validation_fraction": 0.3,
        "test_fraction": 0.3,
        "seed": 17,
    }
    return PreferenceParams(**{**values, **changes})


HPO = HpoParams(seed=17, validation_fraction=0.1, test_fraction=0.1, max_phenotypes=8)


def test_a_set_is_cleaned_split_by_prompt_and_accounted_for(written) -> None:
    rows = [
        {"prompt": f"{'WHAT' if answer % 2 else 'What'} is  {prompt}?", "chosen": f"good {answer}", "rejected": "bad"}
        for prompt in range(30)
        for answer in range(3)
    ]
    bad = [
        {"prompt": "What is 0?", "chosen": "same", "rejected": " same\n"},
        {"prompt": "What is 0?", "chosen": "", "rejected": "bad"},
        {"prompt": "what is 0?", "chosen": "Good 0", "rejected": "bad"},
    ]
    result = build_preferences(params(written(*rows, *bad)), HPO)
    assert dict(result.counts.dropped) == {"duplicate": 1, "empty_answer": 1, "equal_answers": 1, "over_limit": 0}
    assert (result.counts.num_in, result.counts.num_out) == (93, 90)
    assert Counter(result.dropped["reason"].to_pylist()) == {"duplicate": 1, "empty_answer": 1, "equal_answers": 1}
    assert set(result.dropped["source"].to_pylist()) == {"mine"}
    sides: dict[str, set[str]] = {}
    for split, pairs in result.splits.items():
        for pair in pairs:
            sides.setdefault(" ".join(pair.prompt[0]["content"].lower().split()), set()).add(split)
    assert len(sides) == 30
    assert all(len(splits) == 1 for splits in sides.values())
    assert result.per_task == {"mine": {split: len(pairs) for split, pairs in result.splits.items()}}
    assert result.sets == {"mine": {"format": "prompt", "is_detected": True, "num_rows": 93}}


def test_margins_reach_the_records_and_limits_hold(written) -> None:
    file = written(*graded(*[(f"Q{number}", f"a{grade}", grade) for number in range(40) for grade in (1, 2, 4)]))
    sets = {"mine": {"kind": "files", "path": str(file), "format": "graded", "graded": GRADED}}
    result = build_preferences(params(file, sets=sets, max_train=20), HPO)
    assert {pair.margin for pair in result.splits["train"]} == {1.0, 2.0, 3.0}
    assert len(result.splits["train"]) == 20
    assert result.counts.num_in == 120 == result.counts.num_out + result.counts.dropped["over_limit"]


def test_a_split_without_pairs_is_an_error(written) -> None:
    with pytest.raises(DataError, match="of 1 pairs none is left for validation and test \\(dropped: nothing\\)"):
        build_preferences(params(written(ROWS["prompt"]), validation_fraction=0.0, test_fraction=0.0), HPO)


def test_graded_answers_need_their_fields() -> None:
    with pytest.raises(ValueError, match="format graded needs the keys of graded"):
        params(Path("x"), sets={"mine": {"kind": "files", "path": "x", "format": "graded", "graded": None}})
