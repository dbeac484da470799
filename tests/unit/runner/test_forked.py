"""Tasks in forked processes: results in order, errors as they were raised, and no worker left behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from forgeline.core import durations
from forgeline.core.errors import DataError, ForgelineError, StopRequested
from forgeline.core.process import raise_on_stop_signals
from forgeline.runner.tasks import run_tasks

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks are for Linux only")

SLEEPERS = """
import sys, time
from pathlib import Path
from forgeline.runner.forked import run_in_forks

def sleep(folder):
    import os
    (folder / str(os.getpid())).touch()
    time.sleep(60)

list(run_in_forks(sleep, [Path(sys.argv[1])] * 4, 2))
"""


def results(function, tasks):  # type: ignore[no-untyped-def]
    return list(run_tasks(function, tasks, "test", "tasks", lambda _: 1))


def process_of(number: int) -> tuple[int, int]:
    time.sleep(0.002 * (7 - number % 8))  # later tasks end first
    return number, os.getpid()


def refuse_three(number: int) -> int:
    if number == 3:
        raise DataError("file.txt:3: not a document")
    return number


LOADED_BY: list[int] = []


def load() -> None:
    LOADED_BY.append(os.getpid())


def who_loaded(_: int) -> list[int]:
    return LOADED_BY


def hold(num_bytes: int) -> int:
    return len(b"x" * num_bytes)


class TwoArguments(Exception):
    """An error that pickle cannot make again."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


def refuse_strangely(number: int) -> int:
    raise TwoArguments("this", "that")


def kill_itself(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def interrupt_the_stage(number: int) -> int:
    if number == 0:
        os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(60)
    return number


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(autouse=True)
def two_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGELINE_WORKERS", "2")


def test_results_come_in_order_from_other_processes() -> None:
    found = results(process_of, range(30))
    assert [number for number, _ in found] == list(range(30))
    workers = {pid for _, pid in found}
    assert len(workers) <= 2
    assert os.getpid() not in workers
    assert not multiprocessing.active_children()


def test_workers_share_what_was_prepared_once() -> None:
    LOADED_BY.clear()
    found = list(run_tasks(who_loaded, range(6), "test", "tasks", lambda _: 1, load))
    assert found == [[os.getpid()]] * 6


def test_memory_of_workers_is_noted_beside_that_of_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forgeline.core.durations._workers_bytes", 0)
    before = bytearray(b"x" * 150_000_000)  # the stage's own, which its workers share
    results(hold, [50_000_000] * 4)
    noted = durations._workers_bytes
    assert 2 * 50_000_000 < noted < 2 * 90_000_000
    assert len(before) == 150_000_000


def test_an_error_arrives_as_it_was_raised_and_ends_the_workers() -> None:
    with pytest.raises(DataError, match=r"file\.txt:3: not a document") as caught:
        results(refuse_three, range(1000))
    assert "in a worker process" in caught.value.__notes__[0]
    assert not multiprocessing.active_children()


def test_an_error_that_cannot_be_pickled_is_quoted() -> None:
    with pytest.raises(RuntimeError, match="TwoArguments: this and that"):
        results(refuse_strangely, range(4))


def test_a_killed_worker_is_named_with_what_to_do() -> None:
    with pytest.raises(ForgelineError, match=r"worker process was killed.*FORGELINE_WORKERS=1"):
        results(kill_itself, range(4))
    assert not multiprocessing.active_children()


def test_a_stop_signal_does_not_wait_for_tasks() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    raise_on_stop_signals()
    start = time.monotonic()
    try:
        with pytest.raises(StopRequested):
            results(interrupt_the_stage, range(4))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert time.monotonic() - start < 30
    assert not multiprocessing.active_children()


def test_workers_die_with_a_stage_that_is_killed(tmp_path: Path) -> None:
    stage = subprocess.Popen([sys.executable, "-c", SLEEPERS, str(tmp_path)])
    deadline = time.monotonic() + 30
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    workers = [int(path.name) for path in tmp_path.iterdir()]
    assert len(workers) == 2
    stage.kill()
    stage.wait()
    while any(is_running(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(is_running(pid) for pid in workers)
