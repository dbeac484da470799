"""A task of results from a file: the last boxed result of a written answer."""

from dataclasses import dataclass

from forgeline.evaluation.answers import boxed_answer
from forgeline.evaluation.numbers import same_result
from forgeline.evaluation.params import ScoringParams
from forgeline.evaluation.scores import proportion
from forgeline.evaluation.task_files.questions import Asked
from forgeline.evaluation.tasks.base import HeldOut, Subject, TaskResult, sample_row
from forgeline.evaluation.tasks.written import write_answers


@dataclass(frozen=True)
class ResultFromFile:
    r"""Greedy answers whose last `\boxed{}` has to hold the result; every question counts, boxed or not.

    Attributes:
        name: Of the task.
        questions: With one reference each.
        tolerance: Largest difference as a share of the right number.
        max_new_tokens: Most tokens of an answer.
    """

    name: str
    questions: list[Asked]
    tolerance: float
    max_new_tokens: int

    method = "greedy generation, value of the last boxed result; without a box it is wrong"

    def __len__(self) -> int:
        return len(self.questions)

    def run(self, subject: Subject, held_out: HeldOut, scoring: ScoringParams) -> TaskResult:
        """Accuracy, and the share of answers with a closed box."""
        prompts = [question.prompt for question in self.questions]
        written = write_answers(subject, prompts, self.max_new_tokens, scoring.batch_tokens)
        answers = [boxed_answer(given.output) for given in written]
        rows = [
            sample_row(
                self.name, question.sample_id, given.prompt, given.output, answer, question.references[0],
                answer is not None and same_result(answer, question.references[0], self.tolerance),
                {"num_output_tokens": given.num_output_tokens},
            )
            for question, given, answer in zip(self.questions, written, answers, strict=True)
        ]  # fmt: skip
        scores = {
            "accuracy": proportion([bool(row["correct"]) for row in rows], None, None),
            "format_rate": proportion([answer is not None for answer in answers], None, None),
        }
        return TaskResult(scores, rows)
