"""Tasks on Ray Data: on the cluster that `RAY_ADDRESS` names, else on a Ray of this machine that ends with the process.

Workers import the code of this checkout and stand in the same folder as this process, so on a cluster the checkout lies
on a file system that all nodes share under the same path. A task whose worker dies is run again by Ray. It may have
written half a file by then: tasks always write the same bytes to the same place, and stages rename their outputs into
place only when all tasks are done.
"""

import logging
import os
import pickle
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from forgeline.core.errors import ForgelineError
from forgeline.runner.outcome import Outcome, outcome_of
from forgeline.runner.ray_session import connected_ray
from forgeline.runner.tasks import WORKERS_VARIABLE, num_workers

# After so many deaths of its worker a task is given up. Ray Data would go on for ever.
_MAX_RETRIES = 3
# Ray Data holds tasks back whose results, each taken to be as large as this, would not fit the object store.
_RESULT_BYTES = 1024**2
# Tasks go to Ray in waves, so that of millions of tasks only so many, and their results, are held at a time.
_TASKS_PER_CPU = 16
_MIN_WAVE = 256

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")


def run_on_ray(function: Callable[[TaskT], ResultT], tasks: Sequence[TaskT]) -> Generator[ResultT, None, None]:
    """The results of `function` for every task, in their order, each computed on one CPU of some node.

    Args:
        function: A function of a module that workers can import.
        tasks: What it is called with, pickled.

    Raises:
        ParamsError: Ray is not installed, or no cluster answers at `RAY_ADDRESS`.
        ForgelineError: Ray gave a task up because its worker died again and again.
        Exception: What `function` raised for the first task that failed; its note tells where in the worker.
    """
    if not tasks:
        return
    ray = connected_ray()
    try:
        for row in _dataset(ray, partial(_run_in_worker, function=function, folder=Path.cwd()), tasks).iter_rows():
            outcome: Outcome = pickle.loads(row["outcome"])
            yield outcome.unwrap()
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise ForgelineError(
            f"Ray gave a task up ({reason}): see whether its node ran out of memory or disk"
        ) from error


def _dataset(ray: Any, work: Callable[[Mapping[str, bytes]], dict[str, bytes]], tasks: Sequence[Any]) -> Any:
    """A Ray dataset with a row for each outcome, in the order of the tasks, which are blocks of their own."""
    logging.getLogger("ray.data").setLevel(
        logging.CRITICAL
    )  # an error is raised as well as logged, with pages of trace
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.target_max_block_size = _RESULT_BYTES
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    rows = [{"task": pickle.dumps(task)} for task in tasks]
    at_once = min(num_workers(), len(rows)) if WORKERS_VARIABLE in os.environ else None  # None: as many as fit
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray means to give `max_retries` a name of its own, as others have
        return ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            work, num_cpus=1, compute=ray.data.TaskPoolStrategy(size=at_once), max_retries=_MAX_RETRIES
        )


def _run_in_worker(row: Mapping[str, bytes], function: Callable[[Any], Any], folder: Path) -> dict[str, bytes]:
    os.chdir(folder)  # a worker starts where `ray start` was called
    return {"outcome": pickle.dumps(outcome_of(function, pickle.loads(row["task"]), "Ray worker"))}
