"""All tasks on one model, and where every held-out sample went."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from forgeline.core.progress import progress
from forgeline.core.run import Counts
from forgeline.evaluation.params import ScoringParams
from forgeline.evaluation.task_files.load import TaskFromFile
from forgeline.evaluation.tasks.base import HeldOut, Subject, Task
from forgeline.evaluation.tasks.definition_choice import DefinitionChoice
from forgeline.evaluation.tasks.is_a import IsA
from forgeline.evaluation.tasks.organ_system import OrganSystem
from forgeline.evaluation.tasks.perplexity import Perplexity
from forgeline.evaluation.tasks.preference import Preference
from forgeline.evaluation.tasks.reference_answer import ReferenceAnswer
from forgeline.evaluation.work import Journal

_ALL: list[Task] = [Perplexity(), OrganSystem(), IsA(), DefinitionChoice(), Preference(), ReferenceAnswer()]
TASKS: dict[str, Task] = {task.name: task for task in _ALL}
NO_ANSWER, OTHER = "(no answer)", "(other)"
_CLASS_SCORES = {"macro_f1", "mcc"}


@dataclass(frozen=True)
class Evaluation:
    """What the tasks found.

    Attributes:
        counts: Held-out samples in, scored, and left out by reason.
        tasks: Scores by task and name, as JSON.
        methods: How each task judges, in one line.
        confusions: Of tasks whose answers are classes: by task and true class, how often each class was answered.
        samples: One row per scored sample.
    """

    counts: Counts
    tasks: dict[str, dict[str, dict[str, Any]]]
    methods: dict[str, str]
    confusions: dict[str, dict[str, dict[str, int]]]
    samples: list[dict[str, Any]]


def evaluate(
    subject: Subject,
    held_out: HeldOut,
    scoring: ScoringParams,
    from_files: Mapping[str, TaskFromFile],
    journal: Journal,
) -> Evaluation:
    """Runs every task of `scoring.tasks`.

    Args:
        subject: Model and tokenizer.
        held_out: What the built-in tasks ask.
        scoring: Which tasks, and how.
        from_files: The tasks among them that are not built in.
        journal: Holds what a killed run has finished, and the times of this one.

    Raises:
        DataError: A task has no samples, or the model's logits are not numbers.
    """
    tasks: dict[str, Task] = {**TASKS, **from_files}
    scores: dict[str, dict[str, dict[str, Any]]] = {}
    samples: list[dict[str, Any]] = []
    confusions: dict[str, dict[str, dict[str, int]]] = {}
    available = _available(held_out, from_files)
    with progress("evaluate", sum(available[name] for name in scoring.tasks), "samples") as bar:
        for name in scoring.tasks:
            result = tasks[name].run(replace(subject, work=journal.of(name)), held_out, scoring)
            scores[name] = {key: score.as_json() for key, score in result.scores.items()}
            samples += result.samples
            if _CLASS_SCORES & set(result.scores):
                confusions[name] = _confusion(result.samples)
            bar(len(result.samples), name)
    methods: dict[str, str] = {name: tasks[name].method for name in scoring.tasks}
    return Evaluation(_account(available, scoring, samples), scores, methods, confusions, samples)


def _confusion(samples: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Answered classes by true class; what is no class is `OTHER`, what could not be read `NO_ANSWER`."""
    classes = {row["reference"] for row in samples}
    found: dict[str, Counter[str]] = {}
    for row in samples:
        answer = NO_ANSWER if row["parsed"] is None else row["parsed"] if row["parsed"] in classes else OTHER
        found.setdefault(row["reference"], Counter())[answer] += 1
    return {true: dict(answers) for true, answers in found.items()}


def _account(available: Counter[str], scoring: ScoringParams, samples: list[dict[str, Any]]) -> Counts:
    scored = Counter(row["task"] for row in samples)
    not_asked = sum(number for task, number in available.items() if task not in scoring.tasks)
    beyond = available["perplexity"] - scored["perplexity"] if "perplexity" in scoring.tasks else 0
    dropped = {"task_not_scored": not_asked, "beyond_max_documents": beyond}
    return Counts(
        sum(available.values()), len(samples), {reason: number for reason, number in dropped.items() if number}
    )


def _available(held_out: HeldOut, from_files: Mapping[str, TaskFromFile]) -> Counter[str]:
    """Samples by task."""
    available = Counter({"perplexity": len(held_out.documents), "preference": len(held_out.pairs)})
    available.update(sample.task for sample in held_out.questions)
    available.update({name: len(task) for name, task in from_files.items()})
    return available
