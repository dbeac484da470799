"""What a task is: it takes a model and held-out samples, and gives scores and one row of evidence per sample."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from forgeline.core.errors import DataError
from forgeline.core.records import EvalSample, Message, PreferencePair
from forgeline.core.storage import sha256_text
from forgeline.evaluation.branches import Branches
from forgeline.evaluation.params import ScoringParams
from forgeline.evaluation.scores import Score
from forgeline.evaluation.work import Journal, Work
from forgeline.tokenization.chat import render_conversation


@dataclass(frozen=True)
class Subject:
    """The model under test and its own tokenizer.

    Attributes:
        model: The model.
        tokenizer: The one it was trained with.
        work: Computes the batches of the task that is being run.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    work: Work = field(default_factory=lambda: Journal(None).of(""))


@dataclass(frozen=True)
class NgramBaseline:
    """The count-based model that a language model has to beat."""

    order: int
    bits_per_byte: float

    @property
    def name(self) -> str:
        """Its usual name."""
        return {1: "unigram", 2: "bigram", 3: "trigram"}.get(self.order, f"{self.order}-gram")


@dataclass(frozen=True)
class HeldOut:
    """Everything there is to score on.

    Attributes:
        documents: Identity and text.
        questions: Of all tasks; a task picks its own.
        pairs: Preference pairs.
        ngram: Baseline of bits per byte.
    """

    documents: list[tuple[str, str]]
    questions: Sequence[EvalSample]
    pairs: Sequence[PreferencePair]
    ngram: NgramBaseline


@dataclass(frozen=True)
class TaskResult:
    """Scores by name, and the rows of samples.jsonl they were computed from."""

    scores: dict[str, Score]
    samples: list[dict[str, Any]]


class Task(Protocol):
    """One thing a model is scored on."""

    @property
    def name(self) -> str:
        """As in `evaluate.scoring.tasks`."""
        ...

    @property
    def method(self) -> str:
        """How an answer is obtained and judged, in one line."""
        ...

    def run(self, subject: Subject, held_out: HeldOut, scoring: ScoringParams) -> TaskResult:
        """Scores the subject on every sample of the task."""
        ...


def questions_of(task: str, held_out: HeldOut) -> list[EvalSample]:
    """The questions of one task.

    Raises:
        DataError: There are none.
    """
    questions = [sample for sample in held_out.questions if sample.task == task]
    if not questions:
        raise DataError(f"no evaluation questions of task '{task}': take it out of evaluate.scoring.tasks or add some")
    return questions


def answer_branches(
    tokenizer: PreTrainedTokenizerBase, prompt: Sequence[Message], answers: Sequence[str], tools: str = ""
) -> Branches:
    """The chat of `prompt` (with its `tools`) and each of `answers`, scored on the answer and its end-of-turn token."""
    prompts, spoken = [], []
    for answer in answers:
        chat = render_conversation(tokenizer, [*prompt, {"role": "assistant", "content": answer}], tools)
        start = 1 + max(index for index, marked in enumerate(chat.assistant_mask[:-1]) if not marked)
        prompts.append(chat.input_ids[:start])
        spoken.append(chat.input_ids[start:])
    assert all(ids == prompts[0] for ids in prompts)  # what the renderer promises
    return Branches(prompts[0], spoken)


def sample_row(
    task: str, sample_id: str, prompt: str, output: str, parsed: str | None, reference: str,
    correct: bool | None, details: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """One row of samples.jsonl. `correct` is None where there is nothing to be right about."""
    return {
        "task": task,
        "sample_id": sample_id,
        "prompt_sha256": sha256_text(prompt),
        "prompt": prompt,
        "output": output,
        "parsed": parsed,
        "reference": reference,
        "correct": correct,
        "details": details,
    }
