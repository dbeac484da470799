"""Tasks on threads, as on a Mac: results in order, errors at once, no more workers than asked for."""

import threading
import time
from types import SimpleNamespace

import pytest

from forgeline.core.errors import ParamsError
from forgeline.runner.tasks import num_workers, run_tasks


@pytest.fixture(autouse=True)
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "forgeline.runner.tasks.sys", SimpleNamespace(platform="darwin", setswitchinterval=lambda _: None)
    )


def squares_in_odd_order(number: int) -> int:
    time.sleep(0.002 * (7 - number % 8))  # later tasks end first
    return number * number


@pytest.mark.parametrize("workers", ["1", "2", "5"])
def test_results_come_in_the_order_of_the_tasks(monkeypatch: pytest.MonkeyPatch, workers: str) -> None:
    monkeypatch.setenv("FORGELINE_WORKERS", workers)
    found = list(run_tasks(squares_in_odd_order, range(30), "square", "numbers", lambda _: 1))
    assert found == [number * number for number in range(30)]


def test_no_more_tasks_run_at_once_than_there_are_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGELINE_WORKERS", "3")
    lock, busy, most = threading.Lock(), 0, 0

    def work(_: int) -> None:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        time.sleep(0.005)
        with lock:
            busy -= 1

    list(run_tasks(work, range(12), "work", "tasks", lambda _: 1))
    assert most == 3


def test_an_error_ends_the_run_and_gives_up_tasks_not_yet_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGELINE_WORKERS", "2")
    begun = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 3:
            raise KeyError(number)
        return number

    with pytest.raises(KeyError):
        list(run_tasks(work, range(1000), "work", "tasks", lambda _: 1))
    assert len(begun) < 20


@pytest.mark.parametrize("value", ["0", "-1", "two", ""])
def test_a_wrong_number_of_workers_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("FORGELINE_WORKERS", value)
    with pytest.raises(ParamsError, match=r"FORGELINE_WORKERS is .* whole number from 1"):
        num_workers()


def test_an_unknown_runner_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGELINE_RUNNER", "spark")
    with pytest.raises(ParamsError, match="FORGELINE_RUNNER is 'spark': set it to one of local, ray"):
        list(run_tasks(squares_in_odd_order, [1], "x", "x", lambda _: 1))
