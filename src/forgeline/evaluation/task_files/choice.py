"""A task of choices from a file, by likelihood."""

from dataclasses import dataclass

from forgeline.core.records import EvalSample
from forgeline.evaluation.params import ScoringParams
from forgeline.evaluation.scores import (
    Score,
    accuracy_of,
    balanced_accuracy,
    classification,
    confusion_matrix,
    macro_f1,
    majority_answers,
    mcc,
    proportion,
)
from forgeline.evaluation.tasks.base import HeldOut, Subject, TaskResult, sample_row
from forgeline.evaluation.tasks.choices import choose


@dataclass(frozen=True)
class ChoiceFromFile:
    """The likeliest choice; where all questions have the same choices, these are classes.

    Attributes:
        name: Of the task.
        questions: With their choices.
        per_byte: Whether log-likelihoods are compared per UTF-8 byte.
    """

    name: str
    questions: list[EvalSample]
    per_byte: bool

    @property
    def method(self) -> str:
        """How an answer is obtained and judged."""
        measure = "log-likelihood per UTF-8 byte" if self.per_byte else "total log-likelihood"
        return f"likeliest choice by {measure}, end-of-turn token included"

    def __len__(self) -> int:
        return len(self.questions)

    def run(self, subject: Subject, held_out: HeldOut, scoring: ScoringParams) -> TaskResult:
        """Accuracy; for classes also macro-F1, balanced accuracy and Matthews' correlation."""
        choices = choose(subject, self.questions, scoring.batch_tokens, per_byte=self.per_byte)
        rows = [
            sample_row(
                self.name, sample.sample_id, choice.prompt, choice.chosen or "", choice.chosen, sample.reference,
                choice.chosen == sample.reference, {"choices": sample.choices, "logps": choice.logps},
            )
            for sample, choice in zip(self.questions, choices, strict=True)
        ]  # fmt: skip
        correct = [bool(row["correct"]) for row in rows]
        if len({tuple(sample.choices) for sample in self.questions}) > 1:
            chance = sum(1 / len(sample.choices) for sample in self.questions) / len(self.questions)
            return TaskResult({"accuracy": proportion(correct, chance, "chance")}, rows)
        return TaskResult(self._class_scores(correct, [choice.chosen for choice in choices], scoring), rows)

    def _class_scores(self, correct: list[bool], answers: list[str | None], scoring: ScoringParams) -> dict[str, Score]:
        references = [sample.reference for sample in self.questions]
        majority = majority_answers(references)
        baselines = {
            "macro_f1": (macro_f1, macro_f1(confusion_matrix(references, majority)), "majority class"),
            "balanced_accuracy": (balanced_accuracy, 1 / len(set(references)), "chance"),
            "mcc": (mcc, 0.0, "chance"),
        }
        return {"accuracy": proportion(correct, accuracy_of(references, majority), "majority class")} | {
            name: classification(statistic, references, answers, (value, baseline), scoring.num_bootstrap, scoring.seed)
            for name, (statistic, value, baseline) in baselines.items()
        }
