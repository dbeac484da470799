"""Fixed prompts from a file: what a model writes, for people to read, with a flag on what is plainly broken."""

from collections.abc import Sequence
from dataclasses import dataclass

from forgeline.evaluation.params import ScoringParams
from forgeline.evaluation.scores import proportion
from forgeline.evaluation.task_files.questions import Asked
from forgeline.evaluation.tasks.base import HeldOut, Subject, TaskResult, sample_row
from forgeline.evaluation.tasks.written import write_answers

_RUN = 4  # tokens


@dataclass(frozen=True)
class GenerationFromFile:
    """Greedy answers; each is sound, empty, or repeats itself.

    Attributes:
        name: Of the task.
        questions: Without references.
        max_repeated_share: Answers of which a larger share of the runs of four tokens repeats one before are flagged.
        max_new_tokens: Most tokens of an answer.
    """

    name: str
    questions: list[Asked]
    max_repeated_share: float
    max_new_tokens: int

    method = "greedy generation; sound is an answer that is not empty and does not repeat itself"

    def __len__(self) -> int:
        return len(self.questions)

    def run(self, subject: Subject, held_out: HeldOut, scoring: ScoringParams) -> TaskResult:
        """Shares of answers that are not empty, and that do not repeat themselves."""
        prompts = [question.prompt for question in self.questions]
        written = write_answers(subject, prompts, self.max_new_tokens, scoring.batch_tokens)
        empty = [not given.output.strip() for given in written]
        shares = [repeated_share(given.output_ids) for given in written]
        repetitive = [share > self.max_repeated_share for share in shares]
        rows = [
            sample_row(
                self.name, question.sample_id, given.prompt, given.output,
                "empty" if none else "repetitive" if again else "sound", "sound", not none and not again,
                {"repeated_share": share, "num_output_tokens": given.num_output_tokens},
            )
            for question, given, none, again, share in zip(
                self.questions, written, empty, repetitive, shares, strict=True
            )
        ]  # fmt: skip
        scores = {
            "not_empty_rate": proportion([not none for none in empty], None, None),
            "not_repetitive_rate": proportion([not again for again in repetitive], None, None),
        }
        return TaskResult(scores, rows)


def repeated_share(ids: Sequence[int]) -> float:
    """The share of runs of four tokens that stood in the same text before; 0 where there is no such run."""
    runs = [tuple(ids[place : place + _RUN]) for place in range(len(ids) - _RUN + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0
