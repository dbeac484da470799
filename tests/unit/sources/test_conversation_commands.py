"""`forgeline validate` and `forgeline convert`: status, messages, and outputs that are whole or not there."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.sources.instruction_sets import answered, write_lines
from typer.testing import CliRunner

from forgeline.cli import app
from forgeline.core.errors import DataError
from forgeline.sources.conversations.commands import InvalidRecords, convert, validate
from forgeline.sources.conversations.formats import Expected

AUTO = Expected("auto", {})
ROWS = [{"question": f"Q{number}", "answer": f"A{number}"} for number in range(5)]
BAD = {"question": "Q", "answer": " "}


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def test_validate_tells_the_format_the_figures_and_every_kind_of_problem(tmp_path: Path) -> None:
    good = write_lines(tmp_path / "good.jsonl", *ROWS)
    assert run("validate", good)[0] == 0
    bad = write_lines(tmp_path / "bad.jsonl", *ROWS, *[BAD] * 30, {"question": "Q", "answer": 1})
    status, out, err = run("validate", good, bad, "--errors", 2)
    assert status == 1
    assert f"{good}: question_answer (the first record has question and answer)" in out
    assert err.splitlines() == [
        f"{bad}:6:answer: blank: write text or remove the record",
        f"{bad}:7:answer: blank: write text or remove the record",
        "... and 29 more (--errors lists more)",
        "problems: 31 (empty 30, wrong_type 1)",
    ]
    status, out, _ = run("validate", bad, "--json")
    assert status == 1
    [file] = json.loads(out)["files"]
    assert (file["num_conversations"], file["num_turns"]) == (5, 10)
    assert file["problems"] == {"empty": 30, "wrong_type": 1}


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet", "jsonl.gz", "jsonl.zst", "json.gz"])
def test_what_is_converted_reads_as_the_same_conversations_and_has_the_same_bytes(tmp_path: Path, ending: str) -> None:
    calls = {
        "conversations": [
            {"from": "human", "value": "Q"}, {"from": "function_call", "value": '{"name": "f"}'},
            {"from": "observation", "value": ""}, {"from": "gpt", "value": "A"},
        ],
        "tools": '[{"name": "f"}]',
    }  # fmt: skip
    source = write_lines(tmp_path / "a.jsonl", calls)
    assert run("convert", source, tmp_path / f"b.{ending}")[0] == 0
    assert run("convert", tmp_path / f"b.{ending}", tmp_path / "c.jsonl")[0] == 0
    expected = {
        "messages": [
            {"role": "user", "content": "Q"}, {"role": "function_call", "content": '{"name": "f"}'},
            {"role": "observation", "content": ""}, {"role": "assistant", "content": "A"},
        ],
        "tools": '[{"name": "f"}]',
    }  # fmt: skip
    assert json.loads((tmp_path / "c.jsonl").read_text()) == expected
    first = (tmp_path / f"b.{ending}").read_bytes()
    convert(source, tmp_path / f"b.{ending}", AUTO, 1, None)
    assert (tmp_path / f"b.{ending}").read_bytes() == first


def test_a_text_without_a_question_keeps_saying_so(tmp_path: Path) -> None:
    convert(write_lines(tmp_path / "a.jsonl", {"text": "T"}), tmp_path / "b.jsonl", AUTO, 1, None)
    row = {"messages": [{"role": "assistant", "content": "T"}], "format": "text"}
    assert json.loads((tmp_path / "b.jsonl").read_text()) == row
    assert validate([tmp_path / "b.jsonl"], AUTO, 1).problems.total == 0
    assert validate([write_lines(tmp_path / "c.jsonl", row | {"format": None})], AUTO, 1).problems.total == 1


def test_a_bad_record_leaves_what_was_there(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "a.jsonl", *ROWS, BAD)
    target = tmp_path / "b.jsonl"
    target.write_text("before")
    status, _, err = run("convert", source, target)
    assert status == 1
    assert f"{source}:6:answer: blank" in err
    assert target.read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "b.jsonl"]


def test_rejected_records_are_kept_with_their_reasons(tmp_path: Path) -> None:
    source = tmp_path / "a.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in (*ROWS, BAD)) + "{broken\n")
    verdict = convert(source, tmp_path / "b.jsonl", AUTO, 5, tmp_path / "rejected.jsonl")
    assert verdict.problems.counts == {"empty": 1, "broken": 1}
    assert len((tmp_path / "b.jsonl").read_text().splitlines()) == 5
    empty, broken = [json.loads(line) for line in (tmp_path / "rejected.jsonl").read_text().splitlines()]
    assert empty == {
        "reason": "empty", "record": BAD, "problem": f"{source}:6:answer: blank: write text or remove the record",
    }  # fmt: skip
    assert (broken["reason"], broken["record"]) == ("broken", None)
    with pytest.raises(InvalidRecords):  # nothing is left to write
        convert(write_lines(source, BAD), tmp_path / "c.jsonl", AUTO, 5, tmp_path / "r.jsonl")
    assert not (tmp_path / "c.jsonl").exists()
    assert not (tmp_path / "r.jsonl").exists()


def test_a_damaged_file_is_a_problem_and_writes_nothing(tmp_path: Path) -> None:
    packed = gzip.compress("".join(json.dumps(row) + "\n" for row in ROWS * 2000).encode())
    (tmp_path / "a.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    verdict = validate([tmp_path / "a.jsonl.gz"], AUTO, 5)
    assert "is damaged or not complete" in verdict.problems.listed[0]
    pq.write_table(pa.table({"x": [1]}), tmp_path / "a.parquet")
    assert "no known format has the fields x" in validate([tmp_path / "a.parquet"], AUTO, 5).problems.listed[0]


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("a.jsonl", "a.jsonl", "is what is read"),
        ("a.jsonl", "b.csv", "unknown kind of file: conversations are written as"),
        ("a.jsonl", "b.parquet.gz", "unknown kind of file"),
        ("none.jsonl", "b.jsonl", "none.jsonl does not exist: correct the path"),
    ],
)
def test_paths_that_cannot_be_are_refused(tmp_path: Path, source: str, target: str, message: str) -> None:
    write_lines(tmp_path / "a.jsonl", *ROWS)
    with pytest.raises(DataError, match=message):
        convert(tmp_path / source, tmp_path / target, AUTO, 1, None)
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=30))
def test_every_record_is_written_or_rejected(tmp_path_factory: pytest.TempPathFactory, pairs) -> None:
    folder = tmp_path_factory.mktemp("convert")
    source = write_lines(folder / "a.jsonl", *(answered(*pair) for pair in pairs))
    wanted = [answered(q, a) for q, a in pairs if q.strip() and a.strip() and q.strip() != a.strip()]
    if not wanted:
        return
    verdict = convert(source, folder / "b.jsonl", AUTO, 1, folder / "rejected.jsonl")
    written = [json.loads(line) for line in (folder / "b.jsonl").read_bytes().split(b"\n") if line]
    assert written == wanted
    assert verdict.problems.total == len(pairs) - len(wanted)
