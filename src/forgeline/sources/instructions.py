"""Instruction sets of any kind as training conversations and evaluation samples."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from forgeline.core.records import Conversation, EvalSample
from forgeline.core.run import Counts
from forgeline.sources.conversation_figures import describe
from forgeline.sources.file_sets import FileSetContent, read_file_set
from forgeline.sources.filters import filter_questions
from forgeline.sources.hpo import load_ontology
from forgeline.sources.hpo_questions import hpo_questions
from forgeline.sources.hpo_split import HpoParams, split_terms
from forgeline.sources.instruction_params import InstructionParams, InstructionSet
from forgeline.sources.mixture import set_sizes, take
from forgeline.sources.questions import Fates, Question, cap, drop_revealing
from forgeline.text.funnel import count_reasons, dropped_table
from forgeline.text.split import SPLITS, Split

Kept = dict[Split, list[Question]]


@dataclass(frozen=True)
class InstructionResult:
    """What the stage writes: conversations, evaluation samples, dropped questions, counts and figures.

    `counts` counts every conversation once, however often the mixture repeats it in `train`.
    """

    train: list[Conversation]
    validation: list[Conversation]
    test: list[EvalSample]
    dropped: pa.Table
    counts: Counts
    figures: dict[str, Any]


def build_instructions(params: InstructionParams, hpo: HpoParams) -> InstructionResult:
    """Builds, filters, caps and mixes the questions of all sets.

    Raises:
        DataError: A file of a set cannot be read, or a record of it is no conversation; file, line and field are named.
            Or nothing is left of a set that has a weight.
        FingerprintError: Packaged data are not the pinned ones.
    """
    sets = {name: _read(name, chosen, params, hpo) for name, chosen in params.sets.items()}
    questions = [question for content in sets.values() for question in content.questions]
    fates = _fates(questions, params)
    kept: Kept = {split: [] for split in SPLITS}
    for place, question in enumerate(questions):
        if place not in fates:
            kept[question.split].append(question)
    train, unshared = _mixed(kept["train"], params)
    rows = [row for content in sets.values() for row in content.dropped]
    rows += [questions[place].dropped(*fates[place]) for place in sorted(fates)]
    rows += [question.dropped("over_share", f"weight {params.sets[question.source].weight:g}") for question in unshared]
    dropped = dropped_table(rows)
    num_in = sum(len(content.questions) + len(content.dropped) for content in sets.values())
    conversations = [question.conversation() for question in train]
    return InstructionResult(
        train=conversations,
        validation=[question.conversation() for question in kept["validation"]],
        test=[question.sample() for question in kept["test"]],
        dropped=dropped,
        counts=Counts(num_in, num_in - dropped.num_rows, count_reasons(dropped)),
        figures={
            "questions": _per_task(kept | {"train": train}),
            "sets": {name: _set_figures(name, content, kept | {"train": train}) for name, content in sets.items()},
            "train": describe(conversations),
        },
    )


def _read(name: str, chosen: InstructionSet, params: InstructionParams, hpo: HpoParams) -> FileSetContent:
    if chosen.kind == "files":
        return read_file_set(name, chosen, params)
    ontology = load_ontology(Path(chosen.path))
    return FileSetContent(hpo_questions(ontology, split_terms(ontology, hpo), name, params.seed), [], {})


def _fates(questions: list[Question], params: InstructionParams) -> Fates:
    """Why each dropped question is dropped: by a filter, over a cap, or giving a test away.

    Test questions are capped before the ones that they rule out are looked for, training questions after it.
    """
    fates = filter_questions(questions, params.filters)
    tasks = {question.task for question in questions}
    held_out: dict[tuple[str, Split], int | None] = {}
    for task in tasks:
        held_out |= {(task, "validation"): params.max_test_per_task, (task, "test"): params.max_test_per_task}
    fates |= cap(questions, fates, held_out, params.seed)
    fates |= drop_revealing(questions, fates, frozenset({"definition"}))
    train: dict[tuple[str, Split], int | None] = {
        (task, "train"): limit for task, limit in params.max_per_task.model_dump().items()
    }
    return fates | cap(questions, fates, train, params.seed)


def _mixed(questions: list[Question], params: InstructionParams) -> tuple[list[Question], list[Question]]:
    """Training questions in the shares that the weights ask for, and those left out. Without weights, all of them."""
    weights = {name: chosen.weight for name, chosen in params.sets.items() if chosen.weight is not None}
    if not weights:
        return questions, []
    by_set = {name: [question for question in questions if question.source == name] for name in weights}
    sizes = set_sizes({name: len(found) for name, found in by_set.items()}, weights, params.max_repeats)
    mixed: list[Question] = []
    left: list[Question] = []
    for name, found in by_set.items():
        taken, others = take(found, sizes[name], params.seed)
        mixed += taken
        left += [found[place] for place in others]
    return mixed, left


def _per_task(kept: Mapping[Split, list[Question]]) -> dict[str, dict[str, int]]:
    found = {split: Counter(question.task for question in questions) for split, questions in kept.items()}
    tasks = sorted({task for counter in found.values() for task in counter})
    return {task: {split: found[split][task] for split in SPLITS} for task in tasks}


def _set_figures(name: str, content: FileSetContent, kept: Mapping[Split, list[Question]]) -> dict[str, Any]:
    splits = {f"num_{split}": sum(question.source == name for question in kept[split]) for split in SPLITS}
    formats = {"files_by_format": content.formats} if content.formats else {}
    return {"num_read": len(content.questions) + len(content.dropped), **splits, **formats}
