"""definition_choice: the right definition among several, by likelihood per byte."""

from forgeline.evaluation.params import ScoringParams
from forgeline.evaluation.scores import proportion
from forgeline.evaluation.tasks.base import HeldOut, Subject, TaskResult, questions_of, sample_row
from forgeline.evaluation.tasks.choices import choose

NORMALIZATION = "utf8_bytes"


class DefinitionChoice:
    """The likeliest of the definitions, log-likelihoods divided by their UTF-8 bytes."""

    name = "definition_choice"
    method = "likeliest choice by log-likelihood per UTF-8 byte, end-of-turn token included"

    def run(self, subject: Subject, held_out: HeldOut, scoring: ScoringParams) -> TaskResult:
        """Accuracy against choosing at random."""
        questions = questions_of(self.name, held_out)
        choices = choose(subject, questions, scoring.batch_tokens, per_byte=True)
        rows = [
            sample_row(
                self.name, sample.sample_id, choice.prompt, choice.chosen or "", choice.chosen, sample.reference,
                choice.chosen == sample.reference,
                {"choices": sample.choices, "logps": choice.logps, "normalization": NORMALIZATION},
            )
            for sample, choice in zip(questions, choices, strict=True)
        ]  # fmt: skip
        chance = sum(1 / len(sample.choices) for sample in questions) / len(questions)
        return TaskResult({"accuracy": proportion([bool(row["correct"]) for row in rows], chance, "chance")}, rows)
