"""organ_system: the model writes which organ system a finding belongs to, in a box."""

from forgeline.core.errors import DataError
from forgeline.core.records import EvalSample
from forgeline.evaluation.answers import boxed_answer
from forgeline.evaluation.params import ScoringParams
from forgeline.evaluation.scores import (
    accuracy_of,
    classification,
    confusion_matrix,
    macro_f1,
    majority_answers,
    proportion,
)
from forgeline.evaluation.tasks.base import HeldOut, Subject, TaskResult, questions_of, sample_row
from forgeline.evaluation.tasks.written import write_answers


class OrganSystem:
    """Exact match of the last boxed answer of a greedy generation; an answer without a box is wrong."""

    name = "organ_system"
    method = "greedy generation, exact match of the last boxed answer"

    def run(self, subject: Subject, held_out: HeldOut, scoring: ScoringParams) -> TaskResult:
        """Accuracy, macro-F1 over the true classes, and the share of answers that could be read."""
        questions = questions_of(self.name, held_out)
        prompts = [sample.prompt for sample in questions]
        tools = [sample.tools for sample in questions]
        written = write_answers(subject, prompts, scoring.max_new_tokens, scoring.batch_tokens, tools)
        answers = [boxed_answer(given.output) for given in written]
        references = [_true_class(sample) for sample in questions]
        rows = [
            sample_row(
                self.name, sample.sample_id, given.prompt, given.output, answer, true, answer == true,
                {"num_output_tokens": given.num_output_tokens},
            )
            for sample, given, answer, true in zip(questions, written, answers, references, strict=True)
        ]  # fmt: skip
        majority = majority_answers(references)
        correct = [bool(row["correct"]) for row in rows]
        baseline_f1 = macro_f1(confusion_matrix(references, majority))
        scores = {
            "accuracy": proportion(correct, accuracy_of(references, majority), "majority class"),
            "macro_f1": classification(
                macro_f1, references, answers, (baseline_f1, "majority class"), scoring.num_bootstrap, scoring.seed
            ),
            "format_rate": proportion([answer is not None for answer in answers], None, None),
        }
        return TaskResult(scores, rows)


def _true_class(sample: EvalSample) -> str:
    true = boxed_answer(sample.reference)
    if true is None:
        raise DataError(
            f"the reference of evaluation question {sample.sample_id} has no boxed answer: {sample.reference!r}"
        )
    return true
