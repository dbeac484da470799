"""A task of lm-eval's harness: a standard benchmark, or one that a YAML file of its format defines."""

import difflib
import importlib.util
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from forgeline.core.errors import DataError, ParamsError
from forgeline.evaluation.harness.results import HarnessSamples, rows_of, scores_of
from forgeline.evaluation.params import ScoringParams
from forgeline.evaluation.task_files.definition import HarnessTaskFile
from forgeline.evaluation.tasks.base import HeldOut, Subject, TaskResult


@dataclass(frozen=True)
class HarnessFromFile:
    """The harness asks and judges; the model, its tokenizer and its chat template are those of all tasks.

    Attributes:
        name: Of the task.
        loaded: The harness's tasks by name: one, or those of a group.
        max_samples: The first so many of each; None takes all.
        num_fewshot: Solved examples before a question; None leaves it to the task.
    """

    name: str
    loaded: Mapping[str, Any]
    max_samples: int | None
    num_fewshot: int | None

    @property
    def method(self) -> str:
        """How an answer is obtained and judged."""
        shots = {int(task.get_config("num_fewshot") or 0) for task in self.loaded.values()}
        versions = sorted({f"{task} {part.VERSION}" for task, part in self.loaded.items()})
        named = versions[0] if len(versions) == 1 else f"{len(versions)} tasks from {versions[0]} on"
        return (
            f"lm-eval {version('lm_eval')}, {named}, {'/'.join(map(str, sorted(shots)))} examples, by the chat template"
        )

    def __len__(self) -> int:
        return sum(self._size(task) for task in self.loaded.values())

    def run(self, subject: Subject, held_out: HeldOut, scoring: ScoringParams) -> TaskResult:
        """Every metric of the harness's task."""
        from lm_eval.evaluator import evaluate

        from forgeline.evaluation.harness.model import JournaledModel

        parts = []
        for name, task in self.loaded.items():  # one by one: a batch belongs to one task
            task.set_fewshot_seed(scoring.seed)
            found = evaluate(
                JournaledModel(subject, scoring.batch_tokens),
                {"tasks": {name: task}, "groups": {}},
                limit=self.max_samples,
                bootstrap_iters=0,
                log_samples=True,
                apply_chat_template=True,
                fewshot_as_multiturn=True,
            )
            parts.append(HarnessSamples(name, task.OUTPUT_TYPE, task.aggregation(), found["samples"][name]))
        return TaskResult(scores_of(parts, scoring), rows_of(self.name, parts))

    def _size(self, task: Any) -> int:
        available = len(task.eval_docs)
        return available if self.max_samples is None else min(available, self.max_samples)


def load_harness(name: str, folder: Path, file: HarnessTaskFile) -> HarnessFromFile:
    """The harness's task that a definition names, with its data.

    Args:
        name: Of our task.
        folder: Where definitions lie.
        file: The definition.

    Raises:
        ParamsError: lm-eval is not installed, or has no such task (names those that are spelled alike).
        DataError: Its data are neither here nor to be had.
    """
    where = folder / f"{name}.yaml"
    if importlib.util.find_spec("lm_eval") is None:
        raise ParamsError(
            f"{where}: kind harness needs the package lm-eval, which is not installed: run `pip install -e .[harness]`"
        )
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    include = None if file.definitions is None else str(folder / file.definitions)
    manager = TaskManager(include_path=include, include_defaults=include is None)
    if file.task not in manager.all_tasks:
        near = difflib.get_close_matches(file.task, manager.all_tasks, n=8, cutoff=0.5)
        raise ParamsError(
            f"{where}: lm-eval has no task '{file.task}': there are {', '.join(near) or 'none of such a name'} "
            f"({len(manager.all_tasks)} in all, `lm-eval ls tasks` lists those it brings)"
        )
    try:
        loaded = manager.load([file.task])["tasks"]
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(
            f"{where}: lm-eval cannot load task '{file.task}' ({type(error).__name__}: {reason}): make its data "
            "available (without a network they have to be in the cache of datasets, or local), or take the task out"
        ) from None
    for task in loaded.values():
        if file.num_fewshot is not None or task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=file.num_fewshot or 0)
    return HarnessFromFile(name, loaded, file.max_samples, file.num_fewshot)
