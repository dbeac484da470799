"""reference_answer: the model answers held-out conversations of the user's own instruction sets."""

from collections import Counter

import numpy as np

from forgeline.evaluation.params import ScoringParams
from forgeline.evaluation.scores import Score, bootstrap_interval, proportion
from forgeline.evaluation.squad import exact_match, token_f1
from forgeline.evaluation.tasks.base import HeldOut, Subject, TaskResult, questions_of, sample_row
from forgeline.evaluation.tasks.written import write_answers


class ReferenceAnswer:
    """Greedy answers against what the conversation says, by the words of SQuAD."""

    name = "reference_answer"
    method = "greedy generation, exact match and F1 of normalized words as in SQuAD, against the conversation's answer"

    def run(self, subject: Subject, held_out: HeldOut, scoring: ScoringParams) -> TaskResult:
        """Exact match and F1 against giving the commonest answer every time."""
        questions = questions_of(self.name, held_out)
        references = [sample.reference for sample in questions]
        written = write_answers(
            subject,
            [sample.prompt for sample in questions],
            scoring.max_new_tokens,
            scoring.batch_tokens,
            [sample.tools for sample in questions],
        )
        pairs = [(given.output.strip(), true) for given, true in zip(written, references, strict=True)]
        exact = [exact_match(answer, [true]) for answer, true in pairs]
        shared = np.array([token_f1(answer, [true]) for answer, true in pairs])
        rows = [
            sample_row(
                self.name, sample.sample_id, given.prompt, given.output, answer, true, right,
                {"f1": f1, "num_output_tokens": given.num_output_tokens},
            )
            for sample, given, (answer, true), right, f1 in zip(
                questions, written, pairs, exact, shared.tolist(), strict=True
            )
        ]  # fmt: skip
        commonest = Counter(sorted(references)).most_common(1)[0][0]
        always = [token_f1(commonest, [true]) for true in references]
        low, high = bootstrap_interval(
            lambda chosen: float(shared[chosen].mean()), len(shared), scoring.num_bootstrap, scoring.seed
        )
        f1 = Score(
            float(shared.mean()), low, high, len(shared), float(np.mean(always)), "commonest answer", "bootstrap"
        )
        baseline = sum(exact_match(commonest, [true]) for true in references) / len(references)
        return TaskResult({"exact_match": proportion(exact, baseline, "commonest answer"), "f1": f1}, rows)
