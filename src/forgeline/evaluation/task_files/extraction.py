"""A task of extraction from a file: short answers by exact match and F1."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forgeline.evaluation.params import ScoringParams
from forgeline.evaluation.scores import Score, bootstrap_interval, proportion
from forgeline.evaluation.squad import exact_match, normalized, token_f1
from forgeline.evaluation.task_files.questions import Asked
from forgeline.evaluation.tasks.base import HeldOut, Subject, TaskResult, sample_row
from forgeline.evaluation.tasks.written import write_answers


@dataclass(frozen=True)
class ExtractionFromFile:
    """Greedy answers, judged as SQuAD 2.0 does.

    Attributes:
        name: Of the task.
        questions: Without references where the text does not say.
        no_answer: What the model should write there.
        max_new_tokens: Most tokens of an answer.
    """

    name: str
    questions: list[Asked]
    no_answer: str
    max_new_tokens: int

    method = "greedy generation, exact match and F1 of normalized words as in SQuAD 2.0"

    def __len__(self) -> int:
        return len(self.questions)

    def run(self, subject: Subject, held_out: HeldOut, scoring: ScoringParams) -> TaskResult:
        """Exact match and F1; if some questions have no answer, also of those with and those without one."""
        prompts = [question.prompt for question in self.questions]
        written = write_answers(subject, prompts, self.max_new_tokens, scoring.batch_tokens)
        answers = [self._answer(given.output) for given in written]
        exact = [
            exact_match(answer, question.references) for answer, question in zip(answers, self.questions, strict=True)
        ]
        shared = np.array(
            [token_f1(answer, question.references) for answer, question in zip(answers, self.questions, strict=True)]
        )
        rows = [
            sample_row(
                self.name, question.sample_id, given.prompt, given.output, answer,
                question.references[0] if question.references else self.no_answer, right,
                {"references": list(question.references), "f1": f1, "num_output_tokens": given.num_output_tokens},
            )
            for question, given, answer, right, f1 in zip(
                self.questions, written, answers, exact, shared.tolist(), strict=True
            )
        ]  # fmt: skip
        silence = np.array([token_f1("", question.references) for question in self.questions])
        answerable = np.array([bool(question.references) for question in self.questions])
        groups = {"": np.ones(len(answerable), np.bool_)}
        if 0 < answerable.sum() < len(answerable):
            groups |= {"has_answer_": answerable, "no_answer_": ~answerable}
        scores: dict[str, Score] = {}
        for prefix, members in groups.items():
            baseline = float(silence[members].mean())
            chosen = np.flatnonzero(members).tolist()
            scores[f"{prefix}exact_match"] = proportion([exact[place] for place in chosen], baseline, "no answer")
            scores[f"{prefix}f1"] = _mean(shared[members], baseline, scoring)
        return TaskResult(scores, rows)

    def _answer(self, output: str) -> str:
        """What counts as the answer: nothing where the model says that the text does not say."""
        return "" if normalized(output) == normalized(self.no_answer) else output.strip()


def _mean(values: NDArray[np.float64], baseline: float, scoring: ScoringParams) -> Score:
    low, high = bootstrap_interval(
        lambda chosen: float(values[chosen].mean()), len(values), scoring.num_bootstrap, scoring.seed
    )
    return Score(float(values.mean()), low, high, len(values), baseline, "no answer", "bootstrap")
