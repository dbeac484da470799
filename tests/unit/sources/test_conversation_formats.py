"""Every format as conversations, and every way in which a record can be none."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.sources.instruction_sets import write_lines

from forgeline.core.errors import ParamsError
from forgeline.sources.conversations.conversion import ChatFile, Failure
from forgeline.sources.conversations.formats import Expected, expected_format
from forgeline.sources.conversations.multi_turn import Chat
from forgeline.sources.conversations.roles import ALIASES
from forgeline.sources.find_files import find_files

CALL = '{"name": "weather", "arguments": {"city": "Rome"}}'
TOOLS = [{"name": "weather", "parameters": {}}]


def turn(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def said(role: str, value: Any) -> dict[str, Any]:
    return {"from": role, "value": value}


ASKED = [turn("user", "Q"), turn("assistant", "A")]
FORMATS: list[tuple[str, dict[str, Any], list[dict[str, Any]]]] = [
    ("messages", {"messages": ASKED}, ASKED),
    ("messages", {"messages": ASKED, "system": "S"}, [turn("system", "S"), *ASKED]),
    ("messages", {"messages": [turn("system", "S"), *ASKED], "system": "S"}, [turn("system", "S"), *ASKED]),
    ("messages", {"messages": [said("human", "Q"), said("gpt", "A")]}, ASKED),
    ("messages", {"messages": [turn("user", [{"type": "text", "text": "Q"}]), turn("assistant", "A")]}, ASKED),
    ("sharegpt", {"conversations": [said("human", "Q"), said("gpt", "A")]}, ASKED),
    ("sharegpt", {"conversations": ASKED}, ASKED),
    ("sharegpt", {"conversations": [said("human", "Q"), said("gpt", "A")] * 2}, ASKED * 2),
    ("sharegpt", {"conversations": [said("system", " "), said("human", "Q"), said("gpt", "A")], "system": ""}, ASKED),
    ("alpaca", {"instruction": "Q", "input": "", "output": "A", "text": "all of it"}, ASKED),
    ("alpaca", {"instruction": "P", "input": "Q", "output": "A"}, [turn("user", "P\n\nQ"), turn("assistant", "A")]),
    (
        "alpaca", {"instruction": "Q", "output": "A", "system": "S", "history": [["a", "b"]]},
        [turn("system", "S"), turn("user", "a"), turn("assistant", "b"), *ASKED],
    ),
    ("prompt_completion", {"prompt": "Q", "completion": "A"}, ASKED),
    ("instruction_response", {"instruction": "Q", "response": "A", "context": None}, ASKED),
    ("question_answer", {"question": "Q", "answer": "A", "source": "x"}, ASKED),
    ("openorca", {"system_prompt": "S", "question": "Q", "response": "A"}, [turn("system", "S"), *ASKED]),
    ("openorca", {"system_prompt": "", "question": "Q", "response": "A"}, ASKED),
    ("transcript", {"text": "User: Q\nAssistant: A\nstill A"}, [turn("user", "Q"), turn("assistant", "A\nstill A")]),
    ("text", {"text": "Nobody asked: but this."}, [turn("assistant", "Nobody asked: but this.")]),
]  # fmt: skip


def read(path: Path, **expected: Any) -> tuple[ChatFile, list[Chat], list[Failure]]:
    [file] = find_files(path, None)
    reader = ChatFile(file, Expected(**({"format": "auto", "fields": {}} | expected)))
    batches = list(reader.batches())
    return reader, [chat for batch in batches for chat in batch.chats], [f for batch in batches for f in batch.failures]


@pytest.mark.parametrize(("name", "row", "messages"), FORMATS)
def test_every_format_is_detected_and_becomes_the_same_conversation(tmp_path, name, row, messages) -> None:
    reader, chats, failures = read(write_lines(tmp_path / "a.jsonl", row))
    assert [failure.message() for failure in failures] == []
    assert chats == [(messages, "")]
    assert reader.detected is not None
    assert reader.detected.format == name
    assert read(tmp_path / "a.jsonl", format=name)[1] == chats


@pytest.mark.parametrize(
    "row",
    [
        {
            "conversations": [
                said("human", "Q"), said("function_call", CALL), said("observation", "21"), said("gpt", "A"),
            ],
            "tools": json.dumps(TOOLS),
        },
        {
            "messages": [
                turn("user", "Q"),
                {"role": "assistant", "content": None, "tool_calls": [
                    {"type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}]},
                turn("tool", "21"),
                turn("assistant", "A"),
            ],
            "tools": TOOLS,
        },
    ],
)  # fmt: skip
def test_tools_calls_and_observations_are_kept(tmp_path, row) -> None:
    _, [(messages, tools)], _ = read(write_lines(tmp_path / "a.jsonl", row))
    assert [message["role"] for message in messages] == ["user", "function_call", "observation", "assistant"]
    assert json.loads(messages[1]["content"]) == json.loads(CALL)
    assert json.loads(tools) == TOOLS


def test_fields_of_other_names_are_read(tmp_path) -> None:
    path = write_lines(tmp_path / "a.jsonl", {"question": "Q", "long_answer": "A", "contexts": ["c"]})
    reader, chats, _ = read(path, fields={"answer": "long_answer"})
    assert chats == [(ASKED, "")]
    assert reader.detected.format == "question_answer"
    assert reader.detected.unread == ("contexts",)
    dialog = write_lines(tmp_path / "b.jsonl", {"dialog": [{"who": "user", "what": "Q"}, {"who": "bot", "what": "A"}]})
    assert read(dialog, fields={"messages": "dialog", "role": "who", "content": "what"})[1] == [(ASKED, "")]


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "parquet", "txt"])
def test_every_kind_of_file_is_read(tmp_path, ending) -> None:
    path = tmp_path / f"a.{ending}"
    rows = [{"question": "Q", "answer": "A", "id": str(number)} for number in range(3)]
    if ending == "jsonl":
        path.write_text("\n\n" + "\n\n".join(map(json.dumps, rows)))
    elif ending == "json":
        path.write_text(json.dumps(rows, indent=1))
    elif ending == "csv":
        path.write_text("question,answer,id\n" + "Q,A,1\n" * 3)
    elif ending == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("User: Q\nAssistant: A\n\n" * 3)
    assert read(path)[1] == [(ASKED, "")] * 3


def test_columns_of_parquet_that_are_null_do_not_mislead(tmp_path) -> None:
    table = pa.Table.from_pylist([{"messages": ASKED, "tools": None, "prompt": None, "completion": None}])
    pq.write_table(table, tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet")[1] == [(ASKED, "")]


GOOD = {"conversations": [said("human", "Q"), said("gpt", "A")]}
BAD: list[tuple[Any, str]] = [
    ({"conversations": [said("gpt", "A"), said("human", "Q")]}, "conversations[0]: roles out of order: assistant at"),
    (
        {"conversations": [said("human", "Q"), said("human", "Q")]},
        "conversations[1]: roles out of order: user after user",
    ),
    ({"conversations": [said("human", "Q")]}, "conversations: the conversation ends with user"),
    ({"conversations": []}, "conversations: the conversation has no turns"),
    ({"conversations": [said("human", "Q"), said("gpt", " \n")]}, "conversations[1].value: the assistant says nothing"),
    ({"conversations": [said("human", ""), said("gpt", "A")]}, "conversations[0].value: the user says nothing"),
    ({"conversations": [said("robot", "Q")]}, "conversations[0].from: unknown role 'robot'"),
    (
        {"conversations": [said("human", "Q"), said("gpt", "Q ")]},
        "conversations[1].value: the answer equals the question",
    ),
    ({"conversations": [{"from": "human"}]}, "conversations[0].value: missing (found from)"),
    ({"conversations": [{"value": "Q"}]}, "conversations[0].from: missing"),
    ({"conversations": [said("human", 3)]}, "conversations[0].value: holds a number, expected text"),
    ({"conversations": "Q"}, "conversations: holds text, expected a list of turns"),
    ({"conversations": ["Q"]}, "conversations[0]: expected an object with from and value"),
    (
        {"instruction": "Q", "output": "A"},
        "conversations: mixed formats: this record is alpaca, the file sharegpt since",
    ),
    ({"other": 1}, "conversations: missing (found other)"),
    ([1], " the record is no object"),
    (GOOD | {"tools": "{"}, "tools: not valid JSON"),
    (GOOD | {"tools": {"name": "f"}}, "tools: expected a list of tool definitions"),
    (GOOD | {"system": 1}, "system: holds a number, expected text"),
    (
        {"conversations": [said("human", "Q"), said("gpt", "")], "system": "S"},
        "conversations[1].value: the assistant says nothing",
    ),
    (
        {"conversations": [said("system", ""), said("human", "Q"), said("gpt", "")]},
        "conversations[2].value: the assistant says nothing",
    ),
    (
        {"conversations": [said("system", "T"), said("human", "Q"), said("gpt", "A")], "system": "S"},
        "system: a second system prompt",
    ),
    ({"conversations": [said("human", "Q"), said("function_call", "f(x)")]}, "conversations[1].value: not valid JSON"),
    ({"conversations": [said("human", "Q"), said("function_call", "{}")]}, "conversations[1].value: no function call"),
]


@pytest.mark.parametrize(("row", "message"), BAD)
def test_a_bad_record_is_named_with_line_and_field_and_the_rest_is_read(tmp_path, row, message) -> None:
    _, chats, [failure] = read(write_lines(tmp_path / "a.jsonl", GOOD, row, GOOD))
    assert failure.message().startswith(f"{tmp_path}/a.jsonl:2:{message}"), failure.message()
    assert failure.row == row
    assert len(chats) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"question": "Q", "answer": "\xff"}', "not UTF-8 (byte 29 of the line): save the file as UTF-8"),
        (b'{"question": "Q", ', "not valid JSON (Expecting property name enclosed in double quotes, column 19)"),
        (b'{"question": "Q", "answer": "\\ud800"}', "cannot be read (str is not valid UTF-8"),
        (b'{"question": "Q", "answer": ""}', "answer: blank"),
        (b'{"question": "Q", "answer": "\\u00a0"}', "answer: blank"),
        (b'{"question": "Q", "answer": "Q "}', "answer: the answer equals the question"),
        (b'{"question": "Q"}', "answer: missing (found question)"),
        (b'{"question": 1, "answer": "A"}', "question: holds a number, expected text"),
        (b'{"instruction": "Q", "response": "A"}', "question: mixed formats: this record is instruction_response"),
    ],
)
def test_a_bad_line_is_named_and_the_rest_is_read(tmp_path, line, message) -> None:
    good = b'{"question": "Q", "answer": "A"}\n'
    (tmp_path / "a.jsonl").write_bytes(good + b"\n" + line + b"\n" + good)
    _, chats, [failure] = read(tmp_path / "a.jsonl")
    assert failure.message().startswith(
        f"{tmp_path}/a.jsonl:3: {message}".replace(": answer:", ":answer:").replace(": question:", ":question:")
    )
    assert len(chats) == 2


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ([["a", "b"], ["a", " "]], "history[1]: question or answer is blank"),
        ([["a", "a "]], "history[0]: the answer equals the question"),
        ([["a", "b", "c"]], "history[0]: expected a pair of texts"),
        ("a", "history[0]: expected a pair of texts"),
    ],
)
def test_earlier_turns_are_checked_too(tmp_path, history, message) -> None:
    path = write_lines(tmp_path / "a.jsonl", {"instruction": "Q", "output": "A", "history": history})
    [failure] = read(path)[2]
    assert failure.message().startswith(f"{path}:1:{message}")


def test_broken_json_in_an_array_ends_the_file(tmp_path) -> None:
    (tmp_path / "a.json").write_text('[{"question": "Q", "answer": "A"},\n{"question": oops}]')
    _, chats, [failure] = read(tmp_path / "a.json")
    assert failure.message().startswith(f"{tmp_path}/a.json:2: not valid JSON")
    assert chats == [(ASKED, "")]


def test_mistakes_in_objects_one_after_another_are_named_by_line_and_in_the_end_by_number(tmp_path) -> None:
    (tmp_path / "a.json").write_text("\n".join(['{"question": "Q", "answer": ""}'] * 102))
    messages = [failure.message() for failure in read(tmp_path / "a.json")[2]]
    assert messages[1].startswith(f"{tmp_path}/a.json:2:answer: blank")
    assert messages[98].startswith(f"{tmp_path}/a.json:99:answer: blank")
    assert messages[101].startswith(f"{tmp_path}/a.json, record 102:answer: blank")


@given(
    st.lists(st.tuples(st.text('ab}{,]\\"\n ', max_size=30), st.integers(1, 4)), min_size=1, max_size=20),
    st.sampled_from([None, 1]),
    st.integers(1, 200),
)
def test_arrays_read_in_any_pieces_are_what_json_says(tmp_path_factory, turns, indent, block_bytes) -> None:
    rows = [{"conversations": [said("human", f"Q{text}"), said("gpt", f"A{text}")] * many} for text, many in turns]
    bad = {"conversations": [said("human", "Q")]}
    path = tmp_path_factory.mktemp("arrays") / "a.json"
    path.write_text(json.dumps([*rows, bad, *rows], indent=indent), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("forgeline.sources.conversations.json_arrays._BLOCK_BYTES", block_bytes)
        _, chats, [failure] = read(path)
    wanted = [[turn(ALIASES[each["from"]], each["value"]) for each in row["conversations"]] for row in rows]
    assert [messages for messages, _ in chats] == wanted * 2
    before, alone = (json.dumps(part, indent=indent).count("\n") for part in ([*rows, bad], [bad]))
    line = before - alone + 2 if indent else 1
    assert failure.message().startswith(f"{path}:{line}:conversations: the conversation ends with user")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"question": "Q", "answer": "A"},]', "found ']' where '{' was expected"),
        ('[{"question": "Q", "answer": "A"}', "the file ends inside the array"),
        ('[{"question": "Q", "answer": "A"}, 3]', "the record is no object"),
        ('[{"question": "Q", "answer": "A"}] [', "where nothing more was expected"),
    ],
)
def test_arrays_that_are_none_are_errors(tmp_path, text, message) -> None:
    (tmp_path / "a.json").write_text(text)
    _, chats, [failure] = read(tmp_path / "a.json")
    assert chats == [(ASKED, "")]
    assert message in failure.message()
    assert failure.message().startswith(f"{tmp_path}/a.json:1")


def test_an_ambiguous_or_unknown_format_is_an_error_that_names_the_candidates(tmp_path) -> None:
    row = {"instruction": "Q", "output": "A", "response": "A"}
    path = write_lines(tmp_path / "a.jsonl", row, row)
    _, chats, [failure] = read(path)
    assert chats == []
    assert "alpaca (instruction, output); instruction_response (instruction, response)" in failure.message()
    assert read(path, format="alpaca")[1] == [(ASKED, "")] * 2
    _, _, [failure] = read(write_lines(tmp_path / "b.jsonl", {"prompt": "Q", "response": "A"}))
    assert failure.message().startswith(f"{tmp_path}/b.jsonl:1: no known format has the fields prompt, response")
    (tmp_path / "c.jsonl").write_text("\n")
    assert "holds no records" in read(tmp_path / "c.jsonl")[2][0].message()


def test_unknown_formats_and_fields_are_refused() -> None:
    assert expected_format("auto", ["answer=a=b"]).fields == {"answer": "a=b"}
    for name, fields, message in (
        ("chatty", [], "unknown format 'chatty': choose auto or one of messages, sharegpt"),
        ("alpaca", ["answer=x"], "format alpaca has no field 'answer': name one of history, input, instruction"),
        ("auto", ["answer"], "write --field as field=name"),
    ):
        with pytest.raises(ParamsError, match=message):
            expected_format(name, fields)
