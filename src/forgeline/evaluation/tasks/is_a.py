"""is_a: yes or no, by which answer the model finds likelier."""

from forgeline.evaluation.params import ScoringParams
from forgeline.evaluation.scores import (
    accuracy_of,
    balanced_accuracy,
    classification,
    majority_answers,
    mcc,
    proportion,
)
from forgeline.evaluation.tasks.base import HeldOut, Subject, TaskResult, questions_of, sample_row
from forgeline.evaluation.tasks.choices import choose


class IsA:
    """The likelier of the answers, by total log-likelihood."""

    name = "is_a"
    method = "likelier answer by total log-likelihood, end-of-turn token included"

    def run(self, subject: Subject, held_out: HeldOut, scoring: ScoringParams) -> TaskResult:
        """Accuracy, Matthews' correlation and balanced accuracy."""
        questions = questions_of(self.name, held_out)
        choices = choose(subject, questions, scoring.batch_tokens, per_byte=False)
        references = [sample.reference for sample in questions]
        answers = [choice.chosen for choice in choices]
        rows = [
            sample_row(
                self.name, sample.sample_id, choice.prompt, choice.chosen or "", choice.chosen, sample.reference,
                choice.chosen == sample.reference, {"choices": sample.choices, "logps": choice.logps},
            )
            for sample, choice in zip(questions, choices, strict=True)
        ]  # fmt: skip
        resampling = (scoring.num_bootstrap, scoring.seed)
        share = accuracy_of(references, majority_answers(references))
        chance = 1 / len(set(references))
        scores = {
            "accuracy": proportion([bool(row["correct"]) for row in rows], share, "majority class"),
            "mcc": classification(mcc, references, answers, (0.0, "chance"), *resampling),
            "balanced_accuracy": classification(
                balanced_accuracy, references, answers, (chance, "chance"), *resampling
            ),
        }
        return TaskResult(scores, rows)
