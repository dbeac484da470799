"""Instruction sets of any kind as training conversations and evaluation samples."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pyarrow as pa
from pydantic import Field, model_validator

from forgeline.core.params import Section
from forgeline.core.records import Conversation, EvalSample
from forgeline.core.run import Counts
from forgeline.sources.chats import chat_questions
from forgeline.sources.hpo import load_ontology
from forgeline.sources.hpo_questions import hpo_questions
from forgeline.sources.hpo_split import Fraction, HpoParams, split_terms
from forgeline.sources.questions import Fates, Question, cap, drop_long, drop_repeated, drop_revealing
from forgeline.text.funnel import count_reasons, dropped_table
from forgeline.text.split import SPLITS, Split

Limit = Annotated[int, Field(ge=1)]


class InstructionSetParams(Section):
    """Section `instructions.sets.<name>`: one set. For `hpo_questions` the path is the descriptor of the ontology."""

    kind: Literal["hpo_questions", "jsonl"]
    path: str


class TaskLimits(Section):
    """Section `instructions.max_per_task`: most training questions of each task; null takes all."""

    organ_system: Limit | None
    is_a: Limit | None
    definition: Limit | None


class InstructionParams(Section):
    """Section `instructions`.

    Attributes:
        sets: The instruction sets by name, in order.
        max_per_task: Caps on training questions.
        max_test_per_task: Cap on the validation and on the test questions of each task.
        max_characters: Longer conversations are dropped as `too_long`.
        validation_fraction: Expected share of a jsonl set in validation; the ontology's terms follow section `hpo`.
        test_fraction: Expected share of a jsonl set in test.
        seed: Chooses wordings, wrong choices, what a cap keeps, and the split of jsonl sets.
    """

    sets: dict[str, InstructionSetParams]
    max_per_task: TaskLimits
    max_test_per_task: Limit
    max_characters: Limit
    validation_fraction: Fraction
    test_fraction: Fraction
    seed: int

    @model_validator(mode="after")
    def _something_to_train_on(self) -> "InstructionParams":
        if not self.sets:
            raise ValueError("sets is empty: name at least one instruction set")
        if self.validation_fraction + self.test_fraction >= 1.0:
            raise ValueError("validation_fraction + test_fraction must be below 1: lower one of them")
        return self


@dataclass(frozen=True)
class InstructionResult:
    """What the stage writes: conversations, evaluation samples, dropped questions, and counts.

    `per_task` counts kept questions: task -> split -> number.
    """

    train: list[Conversation]
    validation: list[Conversation]
    test: list[EvalSample]
    dropped: pa.Table
    counts: Counts
    per_task: dict[str, dict[str, int]]


def build_instructions(params: InstructionParams, hpo: HpoParams) -> InstructionResult:
    """Builds, filters and caps the questions of all sets.

    Raises:
        DataError: A file of a set cannot be read; file and line are named.
        FingerprintError: Packaged data are not the pinned ones.
    """
    questions = [question for name, chosen in params.sets.items() for question in _questions(name, chosen, params, hpo)]
    fates = _fates(questions, params)
    kept: dict[Split, list[Question]] = {split: [] for split in SPLITS}
    for place, question in enumerate(questions):
        if place not in fates:
            kept[question.split].append(question)
    dropped = dropped_table(questions[place].dropped(*fates[place]) for place in sorted(fates))
    num_kept = sum(len(chosen) for chosen in kept.values())
    return InstructionResult(
        train=[question.conversation() for question in kept["train"]],
        validation=[question.conversation() for question in kept["validation"]],
        test=[question.sample() for question in kept["test"]],
        dropped=dropped,
        counts=Counts(len(questions), num_kept, count_reasons(dropped)),
        per_task=_per_task(kept),
    )


def _questions(name: str, chosen: InstructionSetParams, params: InstructionParams, hpo: HpoParams) -> list[Question]:
    path = Path(chosen.path)
    if chosen.kind == "jsonl":
        return chat_questions(path, name, params.seed, params.validation_fraction, params.test_fraction)
    ontology = load_ontology(path)
    return hpo_questions(ontology, split_terms(ontology, hpo), name, params.seed)


def _fates(questions: list[Question], params: InstructionParams) -> Fates:
    """Why each dropped question is dropped: too long, asked before, over a cap, or giving a test away.

    Test questions are capped before the ones that they rule out are looked for, training questions after it.
    """
    fates = drop_long(questions, params.max_characters)
    fates |= drop_repeated(questions, fates)
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


def _per_task(kept: Mapping[Split, list[Question]]) -> dict[str, dict[str, int]]:
    found = {split: Counter(question.task for question in questions) for split, questions in kept.items()}
    tasks = sorted({task for counter in found.values() for task in counter})
    return {task: {split: found[split][task] for split in SPLITS} for task in tasks}
