"""`forgeline validate --preferences`: status, messages with file, line and field, figures, and memory."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from tests.unit.sources.instruction_sets import write_lines
from tests.unit.sources.test_conversation_commands import run
from tests.unit.sources.test_preference_formats import ROWS

from forgeline.sources.preference_formats.checking import expected_pairs, validate_preferences

GRADED = ["--field", "question=question", "--field", "answer=answer", "--field", "grade=grade"]
AUTO = expected_pairs("auto", [])


@pytest.mark.parametrize("name", ["prompt", "question", "conversations", "transcripts", "graded"])
@pytest.mark.parametrize("ending", ["jsonl", "json", "jsonl.gz"])
def test_good_files_of_every_format(tmp_path: Path, name: str, ending: str) -> None:
    import gzip

    rows = [ROWS[name]] * 3
    text = json.dumps(rows) if ending == "json" else "\n".join(map(json.dumps, rows))
    file = tmp_path / f"a.{ending}"
    file.write_bytes(gzip.compress(text.encode()) if ending.endswith("gz") else text.encode())
    status, out, err = run("validate", file, "--preferences", "--json", *(GRADED if name == "graded" else []))
    assert (status, err) == (0, "")
    assert json.loads(out)["files"] == [{"path": str(file), "format": name, "num_rows": 3, "problems": {}}]


def test_every_kind_of_problem_is_told_and_counted(tmp_path: Path) -> None:
    prompt: dict[str, Any] = ROWS["prompt"]
    file = write_lines(
        tmp_path / "a.jsonl",
        prompt,
        {**prompt, "rejected": f" {prompt['chosen']}\n"},
        {**prompt, "chosen": "\t"},
        {"prompt": "x", "chosen": "y"},
        ROWS["question"],
        {**prompt, "prompt": [{"role": "bob", "content": "Hi"}]},
        {**prompt, "prompt": [{"role": "user", "content": "Hi"}] * 2},
        [1],
    )
    file.write_text(file.read_text() + "{broken\n")
    status, out, err = run("validate", file, "--preferences")
    assert status == 1
    assert out.split()[:5] == ["file", "format", "good", "rows", "problems"]
    assert [word for word in out.split()[5:] if word.isalnum()] == ["prompt", "1", "8"]
    lines = err.splitlines()
    expected = [
        ":2:rejected: says the same as chosen: correct it or remove the row",
        ":3:chosen: blank: write text or remove the row",
        ":4:rejected: missing: format prompt needs prompt, chosen, rejected (the row has prompt, chosen): add it or",
        ":5: mixed formats: this row is question, others are prompt: part the file",
        ":6:prompt[0]: has the role 'bob', which is none of ",
        ":7:prompt: turns 1 and 2 are both the user's: join them",
        ":8: the row is no object",
        ":9: not valid JSON",
    ]
    for line, start in zip(lines, expected, strict=False):
        assert line.startswith(f"{file}{start}")
    assert lines[-1] == (
        "problems: 8 (broken 1, empty 1, equal_answers 1, missing_field 1, mixed_formats 1, role_order 1, "
        "unknown_role 1, wrong_type 1)"
    )


@pytest.mark.parametrize(
    ("name", "row", "expected"),
    [
        ("transcripts", {"rejected": "\n\nHuman: Other\n\nAssistant: b"}, ":1:rejected: answers another prompt"),
        ("graded", {"answer": " "}, ":1:answer: blank"),
        ("graded", {"grade": "3"}, ":1:grade: '3' is not a number: correct it"),
        ("question", {"history": [["a"]]}, ":1:history[0]: is not [question, answer]: correct it"),
        ("question", {"response_rejected": " "}, ":1:response_rejected: blank"),
    ],
)  # fmt: skip
def test_problems_of_single_formats(tmp_path: Path, name: str, row: dict[str, Any], expected: str) -> None:
    file = write_lines(tmp_path / "a.jsonl", {**ROWS[name], **row})
    status, _, err = run("validate", file, "--preferences", *(GRADED if name == "graded" else []))
    assert status == 1
    assert err.startswith(f"{file}{expected}")


def test_a_file_without_one_format(tmp_path: Path) -> None:
    none = write_lines(tmp_path / "none.jsonl", {"text": "x"})
    both = write_lines(tmp_path / "both.jsonl", {**ROWS["prompt"], **ROWS["question"]})
    csv = tmp_path / "a.csv"
    csv.write_text("prompt,chosen,rejected\na,b,c\n")
    status, _, err = run("validate", none, both, csv, "--preferences")
    assert status == 1
    found = err.splitlines()
    assert found[0].startswith(f"{none}:1: its fields (text) are those of no preference format")
    assert found[1] == f"{both}:1: the rows can be read as prompt and as question: name one by --format"
    assert found[2].startswith(f"{csv}: preference data are read from .jsonl and .json, not from csv: convert it")
    assert run("validate", both, "--preferences", "--format", "question")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "alpaca"], "preference data have none such: choose of auto, prompt, question"),
        (["--format", "graded"], "graded answers have three"),
        (["--field", "answer=x"], "graded answers have three"),
    ],
)
def test_wrong_options(tmp_path: Path, arguments: list[str], message: str) -> None:
    file = write_lines(tmp_path / "a.jsonl", ROWS["prompt"])
    from forgeline.core.errors import ParamsError

    with pytest.raises(ParamsError, match=message):
        expected_pairs(
            arguments[1] if arguments[0] == "--format" else "auto",
            [arguments[1]] if arguments[0] == "--field" else [],
        )
    assert run("validate", file, "--preferences", *arguments)[0] != 0


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak(num_rows: int) -> int:
        row = json.dumps({**ROWS["prompt"], "chosen": "x" * 500})
        file = tmp_path / f"{num_rows}.jsonl"
        file.write_text(f"{row}\n" * num_rows)
        tracemalloc.start()
        verdict = validate_preferences([file], AUTO, 5)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert verdict.files[0].num_rows == num_rows
        return highest

    assert peak(4000) < 1.2 * peak(1000)
