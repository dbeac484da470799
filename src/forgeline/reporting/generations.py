"""The same questions answered by every model: a seeded choice, so that nobody picked the pretty ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forgeline.core.storage import sha256_text
from forgeline.reporting.comparison import Samples


@dataclass(frozen=True)
class Answer:
    """What one model answered. `correct` is its verdict."""

    model: str
    output: str
    parsed: str | None
    correct: bool


@dataclass(frozen=True)
class Question:
    """One question with every model's answer; `agreed` when all verdicts are equal."""

    task: str
    sample_id: str
    prompt: str
    reference: str
    answers: Sequence[Answer]

    @property
    def agreed(self) -> bool:
        """Whether all models are right or all are wrong."""
        return len({answer.correct for answer in self.answers}) <= 1


def choose_questions(samples: Mapping[str, Samples], per_task: int, seed: int) -> list[Question]:
    """`per_task` questions of each task that every model answered, in a seeded order.

    Args:
        samples: Rows of samples.jsonl by model, in the order of the answers.
        per_task: How many of each task.
        seed: Of the choice.
    """
    indexed = {
        model: {(row["task"], row["sample_id"]): row for row in rows if row["correct"] is not None}
        for model, rows in samples.items()
    }
    if not indexed:
        return []
    shared = set.intersection(*(set(rows) for rows in indexed.values()))
    first = next(iter(indexed.values()))
    tasks = list(dict.fromkeys(task for task, _ in first))
    chosen = []
    for task in tasks:
        ids = sorted((key for key in shared if key[0] == task), key=lambda key: sha256_text(f"{seed} {key[1]}"))
        chosen += [_question(key, indexed) for key in ids[:per_task]]
    return chosen


def _question(key: tuple[str, str], indexed: Mapping[str, Mapping[tuple[str, str], Mapping[str, Any]]]) -> Question:
    answers = [
        Answer(model, str(rows[key]["output"]), rows[key]["parsed"], bool(rows[key]["correct"]))
        for model, rows in indexed.items()
    ]
    row = next(iter(indexed.values()))[key]
    return Question(key[0], key[1], str(row["prompt"]), str(row["reference"]), answers)
