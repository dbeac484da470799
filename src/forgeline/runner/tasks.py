"""Runs one function over many tasks, on threads, in processes or on a Ray cluster; results in the order of the tasks.

Where the work runs is environment, not a parameter, since the bytes are the same: `FORGELINE_RUNNER` is `local` (the
default) or `ray`, `FORGELINE_WORKERS` how many tasks run at once (default: the usable cores of this machine, or all of
the Ray cluster). On Linux workers are forked processes, which do not wait for each other's Python and share what was
loaded before; elsewhere, where system libraries do not survive a fork, they are threads.
"""

import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

from forgeline.core.errors import ParamsError
from forgeline.core.progress import progress
from forgeline.runner.forked import run_in_forks

RUNNER_VARIABLE = "FORGELINE_RUNNER"
WORKERS_VARIABLE = "FORGELINE_WORKERS"
RUNNERS = ("local", "ray")

# A thread that comes out of a kernel waits so long for one that is in Python: a tenth of Python's own interval, since
# tasks change between both all the time. 40 shards to clean took two threads 9.7 s with 5 ms, 8.9 s with 0.5 ms.
_SWITCH_SECONDS = 0.0005

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")


def choose_runner(runner: str | None, workers: str | None) -> None:
    """Sets the two variables for this process and those it starts; None leaves one as it is.

    Raises:
        ParamsError: One of them, given here or set before, is not valid.
    """
    for variable, value in ((RUNNER_VARIABLE, runner), (WORKERS_VARIABLE, workers)):
        if value is not None:
            os.environ[variable] = value
    chosen_runner()
    num_workers()


def chosen_runner() -> str:
    """`local` or `ray`; raises `ParamsError` if `FORGELINE_RUNNER` is something else."""
    runner = os.environ.get(RUNNER_VARIABLE, RUNNERS[0])
    if runner not in RUNNERS:
        raise ParamsError(f"{RUNNER_VARIABLE} is '{runner}': set it to one of {', '.join(RUNNERS)}, or unset it")
    return runner


def num_workers() -> int:
    """How many tasks run at once on this machine.

    Raises:
        ParamsError: `FORGELINE_WORKERS` is not a whole number from 1.
    """
    wanted = os.environ.get(WORKERS_VARIABLE)
    if wanted is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not wanted.isdecimal() or int(wanted) < 1:
        raise ParamsError(f"{WORKERS_VARIABLE} is '{wanted}': set it to a whole number from 1, or unset it")
    return int(wanted)


def run_tasks(
    function: Callable[[TaskT], ResultT],
    tasks: Sequence[TaskT],
    description: str,
    unit: str,
    size: Callable[[TaskT], float],
    prepare: Callable[[], None] | None = None,
) -> Iterator[ResultT]:
    """The results of `function` for every task, in their order.

    Args:
        function: A function of a module; reads and writes files itself.
        tasks: What it is called with; pickled for other processes.
        description: What the progress bar says.
        unit: What `size` counts, megabytes for instance.
        size: How much work a task is.
        prepare: Loads what `function` would load at its first task. Called before workers fork, which then share it;
            one worker, threads and Ray do without.

    Raises:
        ParamsError: `FORGELINE_RUNNER` names no runner.
        Exception: Whatever `function` raises; tasks not yet begun are then given up.
    """
    if chosen_runner() == "ray":
        from forgeline.runner.ray_runner import run_on_ray

        results = run_on_ray(function, tasks)
    else:
        results = _run_here(function, tasks, min(num_workers(), len(tasks)), prepare)
    with closing(results), progress(description, sum(size(task) for task in tasks), unit) as bar:
        for task, result in zip(tasks, results, strict=True):
            bar(size(task))
            yield result


def _run_here(
    function: Callable[[TaskT], ResultT], tasks: Sequence[TaskT], workers: int, prepare: Callable[[], None] | None
) -> Generator[ResultT, None, None]:
    if workers <= 1:
        return (function(task) for task in tasks)
    if sys.platform.startswith("linux"):
        if prepare is not None:
            prepare()
        return run_in_forks(function, tasks, workers)
    return _run_on_threads(function, tasks, workers)


def _run_on_threads(
    function: Callable[[TaskT], ResultT], tasks: Sequence[TaskT], workers: int
) -> Generator[ResultT, None, None]:
    sys.setswitchinterval(_SWITCH_SECONDS)
    waiting: deque[Future[ResultT]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for task in tasks:
                waiting.append(pool.submit(function, task))
                if len(waiting) > 2 * workers:  # results not yet fetched wait in memory
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
