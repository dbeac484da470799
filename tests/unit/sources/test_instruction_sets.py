"""Sets of files in the stage `instructions`: split, filters, mixture, and what happens to bad records."""

import json
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.unit.sources.instruction_sets import answered, file_set, filter_params, instruction_params, write_lines

from forgeline.core.errors import DataError
from forgeline.sources.declared_files import undeclared
from forgeline.sources.filters import filter_questions
from forgeline.sources.hpo_split import HpoParams
from forgeline.sources.instructions import InstructionResult, build_instructions
from forgeline.sources.mixture import set_sizes, take
from forgeline.sources.questions import Question, user


def build(hpo: HpoParams, sets: dict[str, Any], **params: Any) -> InstructionResult:
    return build_instructions(instruction_params(sets, **params), hpo)


def asked(result: InstructionResult) -> list[str]:
    prompts = [record.messages[0] for record in result.train + result.validation]
    return sorted(turn["content"] for turn in [*prompts, *(sample.prompt[0] for sample in result.test)])


def test_files_are_split_by_prompt_and_all_are_accounted_for(tmp_path: Path, hpo: HpoParams) -> None:
    rows = [answered(f"Q{number % 90}", f"A{number % 90}") for number in range(100)]
    result = build(hpo, {"mine": file_set(write_lines(tmp_path / "a.jsonl", *rows))})
    assert result.counts.as_json() == {"in": 100, "out": 90, "dropped": {"duplicate_prompt": 10}}
    assert asked(result) == sorted(f"Q{number}" for number in range(90))
    assert result.train
    assert result.validation
    assert {sample.task for sample in result.test} == {"reference_answer"}
    assert result.test[0].reference == "A" + result.test[0].prompt[0]["content"][1:]
    figures = result.figures["sets"]["mine"]
    assert figures["num_read"] == 100
    assert figures["num_train"] == len(result.train)
    assert figures["files_by_format"] == {"messages": 1}
    assert result.figures["train"]["turns"] == {"2": len(result.train)}


def test_conversations_that_begin_alike_never_part(tmp_path: Path, hpo: HpoParams) -> None:
    short = [answered(f"Question {number}", "A") for number in range(60)]
    long = [{"messages": answered(f"question  {number}", "A")["messages"] * 2} for number in range(60)]
    result = build(hpo, {"mine": file_set(write_lines(tmp_path / "a.jsonl", *short, *long))}, duplicate_prompts="keep")
    split_of: dict[str, set[str]] = {}
    for split, records in (("train", result.train), ("validation", result.validation), ("test", result.test)):
        for record in records:
            first = (record.prompt if split == "test" else record.messages)[0]["content"]
            split_of.setdefault(" ".join(first.lower().split()), set()).add(split)
    assert len(split_of) == 60
    assert all(len(splits) == 1 for splits in split_of.values())
    assert {next(iter(splits)) for splits in split_of.values()} == {"train", "validation", "test"}


def test_tools_and_calls_reach_training_and_test(tmp_path: Path, hpo: HpoParams) -> None:
    call = '{"name": "f", "arguments": {}}'
    rows = [
        {
            "conversations": [{"from": "human", "value": f"Q{n}"}, {"from": "function_call", "value": call}],
            "tools": '[{"name": "f"}]',
        }
        for n in range(40)
    ]
    result = build(hpo, {"mine": file_set(write_lines(tmp_path / "a.jsonl", *rows))})
    assert {record.messages[1]["role"] for record in result.train} == {"function_call"}
    assert {record.tools for record in result.train} == {sample.tools for sample in result.test} == {'[{"name": "f"}]'}
    assert result.test[0].reference == call


def test_texts_without_a_question_are_never_tested(tmp_path: Path, hpo: HpoParams) -> None:
    rows = [{"text": f"text {number}"} for number in range(50)]
    result = build(hpo, {"mine": file_set(write_lines(tmp_path / "a.jsonl", *rows))})
    assert result.test == []
    assert len(result.train) + len(result.validation) == 50


def test_a_folder_with_a_pattern_and_other_names_is_read(tmp_path: Path, hpo: HpoParams) -> None:
    write_lines(tmp_path / "a.jsonl", *({"ask": f"Q{n}", "say": "A"} for n in range(20)))
    (tmp_path / "b.txt").write_text("not this")
    names = {"question": "ask", "answer": "say"}
    result = build(hpo, {"mine": file_set(tmp_path, pattern="*.jsonl", format="question_answer", fields=names)})
    assert asked(result) == sorted(f"Q{number}" for number in range(20))


def test_blank_and_echoing_conversations_are_errors_or_dropped_with_their_reason(
    tmp_path: Path, hpo: HpoParams
) -> None:
    rows = [*(answered(f"Q{n}", "A") for n in range(20)), answered("blank", " "), answered("echo", "echo ")]
    path = write_lines(tmp_path / "a.jsonl", *rows)
    with pytest.raises(
        DataError, match=r"a\.jsonl:21:messages\[1\]\.content: .* set instructions\.filters\.empty to drop"
    ):
        build(hpo, {"mine": file_set(path)})
    with pytest.raises(DataError, match=r"a\.jsonl:22:.* set instructions\.filters\.echo to drop"):
        build(hpo, {"mine": file_set(path)}, empty="drop")
    result = build(hpo, {"mine": file_set(path)}, empty="drop", echo="drop")
    assert result.counts.as_json() == {"in": 22, "out": 20, "dropped": {"echo": 1, "empty": 1}}
    dropped = result.dropped.to_pylist()
    assert [json.loads(row["text"]) for row in dropped] == rows[20:]
    assert [row["reason"] for row in dropped] == ["empty", "echo"]


def test_a_record_that_is_no_conversation_is_an_error(tmp_path: Path, hpo: HpoParams) -> None:
    path = write_lines(tmp_path / "a.jsonl", answered("Q", "A"), {"messages": [{"role": "assistant", "content": "A"}]})
    with pytest.raises(
        DataError, match=r"a\.jsonl:2:messages\[0\]: roles out of order.*`forgeline validate .*a\.jsonl`"
    ):
        build(hpo, {"mine": file_set(path)}, empty="drop", echo="drop")


def question(text: str, answer: str = "answer", source: str = "s") -> Question:
    return Question("t", "train", text, source, user(text), answer)


def test_filters_name_what_they_found() -> None:
    questions = [
        question("see HTTPS://example.org/a b"), question("x", "Use\n```python\n1\n```"), question("y" * 30),
        question("asked"), question("Asked "), question("www.example.org"), question("plain"),
    ]  # fmt: skip
    assert filter_questions(questions, filter_params(max_characters=35, urls="drop", code="drop")) == {
        2: ("too_long", "36 characters"),
        0: ("url", "HTTPS://example.org/a"),
        5: ("url", "www.example.org"),
        1: ("code", "```python"),
        4: ("duplicate_prompt", questions[3].identity),
    }
    assert filter_questions(questions, filter_params(duplicate_prompts="keep")) == {}


def test_a_mixture_has_the_shares_of_the_weights() -> None:
    assert set_sizes({"a": 1200, "b": 500}, {"a": 1.0, "b": 1.0}, 1) == {"a": 500, "b": 500}
    assert set_sizes({"a": 1200, "b": 500}, {"a": 1.0, "b": 1.0}, 2) == {"a": 1000, "b": 1000}
    assert set_sizes({"a": 1200, "b": 500}, {"a": 1.0, "b": 1.0}, 9) == {"a": 1200, "b": 1200}
    assert set_sizes({"a": 1200, "b": 500}, {"a": 3.0, "b": 1.0}, 1) == {"a": 1200, "b": 400}
    assert set_sizes({"a": 1200}, {"a": 0.3}, 5) == {"a": 1200}
    with pytest.raises(DataError, match="instruction set 'b' has a weight but no training conversation is left"):
        set_sizes({"a": 1, "b": 0}, {"a": 1.0, "b": 1.0}, 1)


@given(
    st.dictionaries(st.sampled_from("abcd"), st.tuples(st.integers(50, 5000), st.integers(1, 9)), min_size=1),
    st.integers(1, 5),
)
def test_a_mixture_is_as_large_as_can_be(sets: dict[str, tuple[int, int]], max_repeats: int) -> None:
    available = {name: number for name, (number, _) in sets.items()}
    weights = {name: float(weight) for name, (_, weight) in sets.items()}
    sizes = set_sizes(available, weights, max_repeats)
    total, total_weight = sum(sizes.values()), sum(weight for _, weight in sets.values())
    for name, (number, weight) in sets.items():
        assert sizes[name] <= max_repeats * number
        assert abs(sizes[name] - total * Fraction(weight, total_weight)) <= len(sets)
    whole = [name for name in sets if abs(sizes[name] - available[name]) <= 1]
    full = [name for name in sets if abs(sizes[name] - max_repeats * available[name]) <= 1]
    assert whole or full  # a larger one would take something too often, or everything more than once
    assert any(sizes[name] <= available[name] + 1 for name in sets)


def test_taking_is_even_and_does_not_depend_on_order() -> None:
    questions = [question(str(number)) for number in range(10)]
    taken, left = take(questions, 23, seed=1)
    counts = Counter(each.split_key for each in taken)
    assert sorted(counts.values()) == [2] * 7 + [3] * 3
    assert left == []
    few, left = take(questions, 4, seed=1)
    backwards, _ = take(questions[::-1], 4, seed=1)
    assert {each.split_key for each in few} == {each.split_key for each in backwards}
    assert {each.split_key for each in few} | {questions[place].split_key for place in left} == set(map(str, range(10)))
    assert {each.split_key for each in take(questions, 4, seed=2)[0]} != {each.split_key for each in few}


def test_sets_with_weights_are_mixed_and_what_is_left_over_is_kept(tmp_path: Path, hpo: HpoParams) -> None:
    large = write_lines(tmp_path / "a.jsonl", *(answered(f"a{n}", "A") for n in range(300)))
    small = write_lines(tmp_path / "b.jsonl", *(answered(f"b{n}", "B") for n in range(50)))
    sets = {"large": file_set(large, weight=2.0), "small": file_set(small, weight=1.0)}
    result = build(hpo, sets, max_repeats=2)
    counts = Counter(record.source for record in result.train)
    num_small = len({record.conversation_id for record in result.train if record.source == "small"})
    assert counts == {"small": 2 * num_small, "large": 4 * num_small}
    assert result.counts.num_in == 350
    assert result.counts.dropped == {"over_share": result.dropped.num_rows}
    assert result.figures["sets"]["small"]["num_train"] == 2 * num_small
    assert build(hpo, sets, max_repeats=2).train == result.train


def test_files_that_dvc_does_not_watch_are_named() -> None:
    deps = ["src/forgeline/sources/hpo.json", "corpus/chats"]
    paths = ["src/forgeline/sources/hpo.json", "./corpus/chats/a.jsonl", "corpus/chats2", "corpus"]
    assert undeclared(paths, deps) == ["corpus/chats2", "corpus"]


def test_contradicting_params_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"sets\.a\.weight is null and another set's is not"):
        instruction_params({"a": file_set(tmp_path), "b": file_set(tmp_path, weight=1.0)})
    with pytest.raises(ValidationError, match="format alpaca has no field 'answer'"):
        file_set(tmp_path, format="alpaca", fields={"answer": "x"})
    with pytest.raises(ValidationError, match="sets is empty"):
        instruction_params({})
