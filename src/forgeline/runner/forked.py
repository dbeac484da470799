"""Tasks in forked processes, which threads of one Python would keep waiting.

Workers are forked before the first task, with all modules imported. They leave stop signals to the stage, which kills
them when it gives up, and the kernel kills them should the stage itself be killed.
"""

import ctypes
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence, Set
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

from forgeline.core.errors import ForgelineError
from forgeline.core.process import STOP_SIGNALS, peak_memory_bytes
from forgeline.runner.outcome import Outcome, outcome_of

_PR_SET_PDEATHSIG = 1
_given_bytes = 0  # in a worker: what it had when it began, the stage's own pages

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")


def run_in_forks(
    function: Callable[[TaskT], ResultT], tasks: Sequence[TaskT], num_workers: int
) -> Generator[ResultT, None, None]:
    """The results of `function` for every task, in their order. Workers start at once, and end when it is closed.

    Args:
        function: A function of a module.
        tasks: What it is called with, pickled.
        num_workers: How many processes; call this while the process has a single thread.

    Raises:
        ForgelineError: A worker was killed.
        Exception: Whatever `function` raises; its note tells where in the worker. Files of other tasks may then be half
            written.
    """
    others = set(multiprocessing.active_children())
    from forgeline.core.durations import note_workers  # here: it imports Arrow, and all of `forgeline` this module

    pool = ProcessPoolExecutor(num_workers, multiprocessing.get_context("fork"), _begin, (os.getpid(),))
    left = iter(tasks)
    waiting: deque[Future[tuple[Outcome, int]]] = deque()  # results not yet fetched wait in memory

    def submit(number: int) -> None:
        waiting.extend(pool.submit(_run, function, task) for task in islice(left, number))

    def results() -> Generator[ResultT, None, None]:
        with _ended(pool, others):
            submit(2 * num_workers)
            yield None  # type: ignore[misc]  # for the call below
            while waiting:
                outcome, own_bytes = _arrived(waiting.popleft())
                note_workers(num_workers * own_bytes)
                yield outcome.unwrap()
                submit(1)

    started = results()
    next(started)
    return started


@contextmanager
def _ended(pool: ProcessPoolExecutor, others: Set[BaseProcess]) -> Iterator[None]:
    """Leaves no worker behind. What ends the block early, an interrupt or a caller that wants no more, kills them."""
    try:
        yield
    except BaseException:
        for child in multiprocessing.active_children():
            if child not in others:
                child.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _run(function: Callable[[Any], Any], task: Any) -> tuple[Outcome, int]:
    """What came of a task, and the most memory that this worker has held beside what the stage gave it."""
    return outcome_of(function, task, "worker process"), max(peak_memory_bytes() - _given_bytes, 0)


def _arrived(future: "Future[tuple[Outcome, int]]") -> tuple[Outcome, int]:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise ForgelineError(
            "a worker process was killed: see whether the machine ran out of memory, then set FORGELINE_WORKERS=1"
        ) from error


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _begin(stage: int) -> None:
    """Leaves signals to the stage."""
    global _given_bytes
    _given_bytes = _resident_bytes()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != stage:  # it died before the call, so no signal will come
        os._exit(1)
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
