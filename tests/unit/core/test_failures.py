import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from forgeline.core.storage import read_json, write_json
from forgeline.failures import Failures, LastWords, missing_lines, show_in_leaderboard

SAYS = "import sys; print('loading\\nforgeline: weights are NaN', file=sys.stderr); print('bye', file=sys.stderr)"


def test_the_own_message_of_a_failed_command_is_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    words = LastWords()
    with words.stderr() as stderr:
        subprocess.run([sys.executable, "-c", SAYS], stderr=stderr)
    assert words.reason() == "weights are NaN"
    assert capsys.readouterr().err == "loading\nforgeline: weights are NaN\nbye\n"
    with words.stderr() as stderr:
        subprocess.run([sys.executable, "-c", "1/0"], stderr=stderr)
    assert words.reason() == "ZeroDivisionError: division by zero"
    with words.stderr():
        pass
    assert words.reason() == ""


def test_a_command_still_sees_a_terminal_of_the_same_size() -> None:
    asks = "import os, sys; print(sys.stderr.isatty(), *os.get_terminal_size(2), file=sys.stderr)"
    program = (
        "import subprocess, sys\nfrom forgeline.failures import LastWords\nwords = LastWords()\n"
        f"with words.stderr() as stderr:\n    subprocess.run([sys.executable, '-c', {asks!r}], stderr=stderr)\n"
        "print(words.reason())\n"
    )
    ours, its = pty.openpty()
    subprocess.run(["stty", "cols", "97", "rows", "31"], stdin=its, check=True)
    done = subprocess.run([sys.executable, "-c", program], stderr=its, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "True 97 31\n"
    assert os.read(ours, 1000) == b"True 97 31\r\n"


def failures() -> Failures:
    found = Failures()
    found.add("evaluate@dpo", "weights are NaN", {"report", "register"})
    found.add("quantize@int4", "too much worse", {"evaluate@int4", "evaluate@new", "report"})
    return found


def test_failed_models_and_those_that_wait_for_a_failed_stage_are_listed(tmp_path: Path) -> None:
    leaderboard = tmp_path / "leaderboard.json"
    write_json(leaderboard, {"rows": [{"model": "sft"}, {"model": "int4"}], "missing": [{"model": "dpo"}]})
    found = failures()
    found.skipped.pop("report")  # making it is the whole pipeline's business
    assert show_in_leaderboard(found, leaderboard) == ""
    content = read_json(leaderboard)
    assert content["rows"] == [{"model": "sft"}, {"model": "int4"}]
    assert missing_lines(content) == [
        "dpo: failed (weights are NaN)",
        "int4: scores of a run before (quantize@int4 failed: too much worse)",
        "new: not evaluated (quantize@int4 failed: too much worse)",
    ]
    assert missing_lines({"rows": []}) == []


def test_the_terminal_names_each_failed_stage_once() -> None:
    assert failures().lines() == [
        "FAILED evaluate@dpo: weights are NaN",
        "FAILED quantize@int4: too much worse",
        "not run because of that: evaluate@int4, evaluate@new, register, report",
    ]
    assert Failures().lines() == []
