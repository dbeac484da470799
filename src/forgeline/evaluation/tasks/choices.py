"""What the tasks share in which the model chooses by likelihood."""

from dataclasses import dataclass

from forgeline.core.errors import DataError
from forgeline.core.records import EvalSample
from forgeline.evaluation.branches import branch_logps
from forgeline.evaluation.tasks.base import Subject, answer_branches


@dataclass(frozen=True)
class Choice:
    """The model's choice for one question.

    Attributes:
        prompt: The text before the answer, as the model reads it.
        logps: Natural log-likelihood of each choice, end-of-turn token included.
        chosen: The likeliest choice, by whatever the task compares; None on a tie, which is no answer.
    """

    prompt: str
    logps: list[float]
    chosen: str | None


def choose(subject: Subject, questions: list[EvalSample], batch_tokens: int, per_byte: bool) -> list[Choice]:
    """Scores every choice of every question as the assistant's turn; a question is read once for all its choices.

    Args:
        subject: Model and tokenizer.
        questions: With at least two choices each, the reference among them.
        batch_tokens: Padded tokens of one forward pass.
        per_byte: Whether log-likelihoods are compared per UTF-8 byte of the choice, so that long ones have a chance.

    Raises:
        DataError: A question lacks choices or its reference is none of them.
    """
    for question in questions:
        if len(question.choices) < 2 or question.reference not in question.choices:
            raise DataError(f"evaluation question {question.sample_id} lacks choices, or its reference is none of them")
    rows = [answer_branches(subject.tokenizer, sample.prompt, sample.choices, sample.tools) for sample in questions]
    scored = subject.work.by_length(
        [row.num_tokens for row in rows],
        batch_tokens,
        lambda chosen: branch_logps(subject.model, [rows[index] for index in chosen]),
    )
    result = []
    for sample, row, logps in zip(questions, rows, scored, strict=True):
        sizes = [len(text.encode("utf-8")) if per_byte else 1 for text in sample.choices]
        prompt = str(subject.tokenizer.decode(row.prompt))
        result.append(Choice(prompt, logps, _best(sample.choices, logps, sizes)))
    return result


def _best(choices: list[str], logps: list[float], sizes: list[int]) -> str | None:
    values = [logp / size for logp, size in zip(logps, sizes, strict=True)]
    top = max(values)
    return choices[values.index(top)] if values.count(top) == 1 else None
