"""preference: does the model find the preferred answer likelier than the rejected one?"""

import numpy as np

from forgeline.core.errors import DataError
from forgeline.evaluation.branches import branch_logps
from forgeline.evaluation.params import ScoringParams
from forgeline.evaluation.scores import Score, proportion, ratio
from forgeline.evaluation.tasks.base import HeldOut, Subject, TaskResult, answer_branches, sample_row


class Preference:
    """Compares total log-likelihoods, as the implicit reward of DPO does (Rafailov et al. 2023, eq. 5)."""

    name = "preference"
    method = "total log-likelihood of the chosen answer above the rejected one's, end-of-turn token included"

    def run(self, subject: Subject, held_out: HeldOut, scoring: ScoringParams) -> TaskResult:
        """Share of pairs in the right order (a tie is wrong), and the mean difference in nats."""
        pairs = held_out.pairs
        if not pairs:
            raise DataError("no preference pairs to score: take 'preference' out of evaluate.scoring.tasks or add some")
        branches = [answer_branches(subject.tokenizer, pair.prompt, (pair.chosen, pair.rejected)) for pair in pairs]
        logps = subject.work.by_length(
            [row.num_tokens for row in branches],
            scoring.batch_tokens,
            lambda numbers: branch_logps(subject.model, [branches[number] for number in numbers]),
        )
        rows = []
        for pair, read, (chosen, rejected) in zip(pairs, branches, logps, strict=True):
            preferred = pair.chosen if chosen > rejected else pair.rejected if rejected > chosen else None
            prompt = str(subject.tokenizer.decode(read.prompt))
            details = {"chosen_logp": chosen, "rejected_logp": rejected, "rejected": pair.rejected}
            rows.append(
                sample_row(
                    self.name, pair.pair_id, prompt, preferred or "", preferred, pair.chosen, chosen > rejected, details
                )
            )
        differences = np.array([chosen - rejected for chosen, rejected in logps])
        margin = ratio(differences, np.ones_like(differences), float, scoring.num_bootstrap, scoring.seed)
        scores = {
            "accuracy": proportion([bool(row["correct"]) for row in rows], 0.5, "chance"),
            "margin": Score(*margin, len(pairs), 0.0, "no preference", "bootstrap"),
        }
        return TaskResult(scores, rows)
