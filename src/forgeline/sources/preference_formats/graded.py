"""Answers with grades: of two to the same question, the one with the higher grade is chosen.

The margin of a pair is the difference of its grades.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from forgeline.core.errors import DataError
from forgeline.sources.formats.records import Where
from forgeline.sources.preference_formats.pairs import Candidate, Row, require_fields
from forgeline.sources.preference_formats.params import GradedParams
from forgeline.sources.preference_formats.problems import RowProblem
from forgeline.sources.questions import user
from forgeline.text.split import unit_hash

EMPTY_ANSWER, OVER_LIMIT = "empty_answer", "over_limit"


@dataclass(frozen=True)
class GradedPairs:
    """What graded answers give.

    Attributes:
        candidates: Pairs, and answers without text as candidates with a reason.
        over_limit: Pairs beyond `max_pairs_per_question`.
        questions: How many different ones there are.
        questions_without_pair: Those whose answers all have grades too close together.
    """

    candidates: list[Candidate]
    over_limit: int
    questions: int
    questions_without_pair: int


@dataclass(frozen=True)
class GradedAnswer:
    """An answer, perhaps empty, and its grade."""

    text: str
    grade: float


def graded_fields(params: GradedParams) -> tuple[str, str, str]:
    """The fields that a row must have."""
    return params.question_field, params.answer_field, params.grade_field


def graded_pairs(rows: Iterable[tuple[Row, Where]], path: Path, params: GradedParams, seed: int) -> GradedPairs:
    """The pairs between grades of each question, questions in the order of the file.

    Args:
        rows: The file's rows and their places.
        path: For messages.
        params: Fields and knobs.
        seed: Chooses the pairs that stay where there are too many.

    Raises:
        DataError: A row lacks a field or has a grade that is no number, or no two answers to a question differ enough.
    """
    questions: dict[str, list[GradedAnswer]] = {}
    names: dict[str, str] = {}
    empty: list[Candidate] = []
    grades: set[float] = set()
    for row, where in rows:
        question, answer = read_answer(row, where, params)
        grades.add(answer.grade)
        key = " ".join(question.lower().split())
        names.setdefault(key, question)
        answers = questions.setdefault(key, [])
        if answer.text.strip():
            answers.append(answer)
        else:
            empty.append(Candidate(user(question), "", "", reason=EMPTY_ANSWER, detail=f"grade {answer.grade:g}"))
    found, over_limit, without = list(empty), 0, 0
    for key, answers in questions.items():
        built = _pairs(names[key], answers, params.min_margin)
        limit = params.max_pairs_per_question
        kept = _limited(built, limit, seed) if limit is not None else built
        over_limit += len(built) - len(kept)
        without += not built
        found += kept
    if len(found) == len(empty):
        shown = ", ".join(f"{grade:g}" for grade in sorted(grades)[:8])
        raise DataError(
            f"{path}: no question has two answers whose grades lie {params.min_margin:g} apart (grades in the file: "
            f"{shown}): check graded.question_field and graded.grade_field, or lower graded.min_margin"
        )
    return GradedPairs(found, over_limit, len(questions), without)


def read_answer(row: Row, where: Where, params: GradedParams) -> tuple[str, GradedAnswer]:
    """The question of a row and its answer; raises `RowProblem`."""
    fields = graded_fields(params)
    require_fields(row, fields, "graded", where)
    question, text, grade = (row[field] for field in fields)
    for field, value in zip(fields[:2], (question, text), strict=True):
        if not isinstance(value, str):
            raise RowProblem("wrong_type", where, field, "is not a text: correct it")
    if not question.strip():
        raise RowProblem("empty", where, fields[0], "is empty: write text into it or remove the row")
    if isinstance(grade, bool) or not isinstance(grade, int | float) or not math.isfinite(grade):
        raise RowProblem("wrong_type", where, fields[2], f"{grade!r} is not a number: correct it")
    return question, GradedAnswer(text, float(grade))


def _pairs(question: str, answers: list[GradedAnswer], min_margin: float) -> list[Candidate]:
    return [
        Candidate(user(question), better.text, worse.text, better.grade - worse.grade)
        for better in answers
        for worse in answers
        if better.grade - worse.grade >= min_margin
    ]


def _limited(pairs: list[Candidate], limit: int, seed: int) -> list[Candidate]:
    """So many pairs, chosen by hash, in their order."""
    order = sorted(
        range(len(pairs)), key=lambda place: unit_hash(f"{pairs[place].chosen}\n{pairs[place].rejected}", seed)
    )
    return [pairs[place] for place in sorted(order[:limit])]
