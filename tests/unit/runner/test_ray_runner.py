"""What can be seen of the Ray runner without Ray: how results and errors travel, and how processes are ended."""

import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from forgeline.core.errors import DataError, ParamsError
from forgeline.runner import ray_session
from forgeline.runner.outcome import Outcome
from forgeline.runner.ray_keeper import adopt_orphans, descendants, kill_descendants
from forgeline.runner.ray_runner import _run_in_worker
from forgeline.runner.tasks import choose_runner, num_workers, run_tasks


class NotPortable(Exception):
    """Copies of it cannot be made: as for many libraries' errors, its arguments are not its message."""

    def __init__(self, line: int, file: str) -> None:
        super().__init__(f"{file}:{line}")


def where(number: int) -> str:
    return f"{number} in {Path.cwd()}"


def refuse(number: int) -> int:
    raise DataError(f"notes.txt:{number}: not a note")


def stumble(number: int) -> float:
    return 1 / number


def break_down(number: int) -> int:
    raise NotPortable(number, "notes.txt")


def outcome_of(function: Any, task: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    monkeypatch.chdir(Path.cwd())  # back again afterwards
    outcome = pickle.loads(_run_in_worker({"task": pickle.dumps(task)}, function, folder)["outcome"])
    assert isinstance(outcome, Outcome)
    return outcome


def test_a_task_runs_in_the_folder_of_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert outcome_of(where, 3, tmp_path, monkeypatch) == Outcome(result=f"3 in {tmp_path}")


def test_an_error_arrives_as_it_was_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = outcome_of(refuse, 7, tmp_path, monkeypatch).error
    assert type(error) is DataError
    assert str(error) == "notes.txt:7: not a note"


def test_a_bug_tells_where_in_the_worker_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = outcome_of(stumble, 0, tmp_path, monkeypatch).error
    assert isinstance(error, ZeroDivisionError)
    assert "in a Ray worker" in error.__notes__[0]
    assert "return 1 / number" in error.__notes__[0]


def test_an_error_that_cannot_be_pickled_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = outcome_of(break_down, 7, tmp_path, monkeypatch).error
    assert type(error) is RuntimeError
    assert "NotPortable: notes.txt:7" in str(error)


def test_without_ray_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGELINE_RUNNER", "ray")
    monkeypatch.setattr(ray_session, "find_spec", lambda name: None)
    with pytest.raises(ParamsError, match=r"^the Ray runner needs Ray: run `pip install 'forgeline\[ray\]'`$"):
        list(run_tasks(stumble, [1], "stumble", "numbers", lambda _: 1))


@pytest.mark.parametrize("address", ["nonsense", "ray://127.0.0.1:10001", "127.0.0.1"])
def test_an_address_of_another_form_is_refused(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(ray_session, "_imported_ray", lambda: None)
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")  # back again afterwards
    with pytest.raises(ParamsError, match=r"RAY_ADDRESS is '.*' and Ray cannot be used there \(this is neither"):
        ray_session.connected_ray()


def test_a_flag_chooses_the_runner_for_all_processes_below(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGELINE_RUNNER", "ray")
    monkeypatch.setenv("FORGELINE_WORKERS", "7")
    choose_runner(None, None)
    assert num_workers() == 7
    choose_runner("local", "3")
    show = "import os; print(os.environ['FORGELINE_RUNNER'], os.environ['FORGELINE_WORKERS'])"
    assert subprocess.check_output([sys.executable, "-c", show], text=True) == "local 3\n"


@pytest.mark.parametrize(("runner", "workers"), [("spark", None), (None, "0"), ("ray", "many")])
def test_a_flag_is_checked_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, runner: str | None, workers: str | None
) -> None:
    monkeypatch.setenv("FORGELINE_RUNNER", "local")
    monkeypatch.setenv("FORGELINE_WORKERS", "1")
    with pytest.raises(ParamsError, match=r"FORGELINE_(RUNNER|WORKERS) is '(spark|0|many)'"):
        choose_runner(runner, workers)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")
def test_processes_whose_parents_are_gone_are_found_and_ended() -> None:
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("orphan adopted\nnone left\n", "", 0)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def end_a_family() -> None:
    """A shell leaves a sleeping orphan behind and sleeps itself."""
    adopt_orphans()
    shell = subprocess.Popen(["sh", "-c", "(sleep 100 & sleep 101 & echo $!); exec sleep 102"], stdout=subprocess.PIPE)
    assert shell.stdout is not None
    orphan = int(shell.stdout.readline())
    while parent_of(orphan) != os.getpid():  # until the shell's child has ended
        time.sleep(0.001)
    family = descendants(os.getpid())
    if {shell.pid, orphan} <= family:
        sys.stdout.write("orphan adopted\n")
    kill_descendants()
    if not any(Path(f"/proc/{pid}").exists() for pid in family):
        sys.stdout.write("none left\n")


if __name__ == "__main__":
    end_a_family()
