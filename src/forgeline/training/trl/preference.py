"""What pairs say about a policy and its reference: the figures that DPO, ORPO and KTO share.

The implicit reward of an answer is β log π(y|x)/π_ref(y|x) (Rafailov et al. 2023, eq. 5).
π_ref is the instruction-tuned model: the same weights with the adapter switched off.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from forgeline.evaluation.scores import Score, bootstrap_interval, proportion, ratio
from forgeline.training.trl.held_out import IGNORED, Labelled, divergence_from_reference, label_logps
from forgeline.training.trl.pairs import RenderedPair
from forgeline.training.trl.trainer import Context

NUM_BOOTSTRAP = 1000


@dataclass(frozen=True)
class AnswerLogps:
    """Log-probabilities of the answers of n pairs [n], in nats, and how many tokens each has [n]."""

    chosen: Tensor
    rejected: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor

    @property
    def difference(self) -> Tensor:
        """Difference log π(chosen) - log π(rejected) [n]."""
        return self.chosen - self.rejected

    @property
    def chosen_mean(self) -> Tensor:
        """Nats per token of the chosen answers [n]."""
        return self.chosen / self.chosen_tokens

    @property
    def rejected_mean(self) -> Tensor:
        """Nats per token of the rejected answers [n]."""
        return self.rejected / self.rejected_tokens


@dataclass(frozen=True)
class Compared:
    """The same pairs under the policy and under its reference."""

    policy: AnswerLogps
    reference: AnswerLogps

    @property
    def chosen_log_ratios(self) -> Tensor:
        """Log-ratios log π/π_ref of the chosen answers [n]."""
        return self.policy.chosen - self.reference.chosen

    @property
    def rejected_log_ratios(self) -> Tensor:
        """Log-ratios log π/π_ref of the rejected answers [n]."""
        return self.policy.rejected - self.reference.rejected

    @property
    def margins(self) -> Tensor:
        """Difference of the two log-ratios [n]: the implicit reward's margin at β = 1."""
        return self.policy.difference - self.reference.difference


class HeldOutPairs:
    """Pairs that are watched, with what the reference makes of them."""

    def __init__(self, reference: PreTrainedModel, pairs: Sequence[RenderedPair], context: Context) -> None:
        """Measures the reference, which has no adapter yet."""
        self.pairs = pairs
        self._chosen = [answer(pair.prompt_ids, pair.chosen_ids) for pair in pairs]
        self._rejected = [answer(pair.prompt_ids, pair.rejected_ids) for pair in pairs]
        self._context = context
        self._reference = self._logps(reference)

    def compare(self, policy: PeftModel) -> Compared:
        """The pairs under `policy` as it is now."""
        return Compared(self._logps(policy), self._reference)

    def curve(self, policy: PeftModel, compared: Compared, beta: float) -> dict[str, float]:
        """One point of the curves: accuracy and margin of the implicit reward, perplexities, divergence."""
        return {
            "validation_margin": float(beta * compared.margins.mean()),
            "validation_accuracy": float((compared.margins > 0).double().mean()),
            "validation_chosen_perplexity": _perplexity(compared.policy.chosen, compared.policy.chosen_tokens),
            "validation_rejected_perplexity": _perplexity(compared.policy.rejected, compared.policy.rejected_tokens),
            "validation_kl": divergence_from_reference(policy, self._chosen, self._context.compute),
        }

    def _logps(self, model: PreTrainedModel | PeftModel) -> AnswerLogps:
        return AnswerLogps(
            label_logps(model, self._chosen, self._context.compute),
            label_logps(model, self._rejected, self._context.compute),
            torch.tensor([row.num_supervised for row in self._chosen], dtype=torch.float64),
            torch.tensor([row.num_supervised for row in self._rejected], dtype=torch.float64),
        )


def answer(prompt_ids: list[int], answer_ids: list[int]) -> Labelled:
    """A prompt with an answer, of which the answer is to be predicted."""
    return Labelled(prompt_ids + answer_ids, [IGNORED] * len(prompt_ids) + answer_ids)


def scores(compared: Compared, beta: float, seed: int) -> dict[str, Any]:
    """The final figures of held-out pairs with their intervals, as the metrics file holds them.

    `likelihood_accuracy` counts pairs whose chosen answer is likelier per token, whatever the reference says of it; its
    baseline is the same figure of the reference.
    """
    policy, reference = compared.policy, compared.reference
    likelier = (policy.chosen_mean > policy.rejected_mean).tolist()
    before = float((reference.chosen_mean > reference.rejected_mean).double().mean())
    return {
        "reward_accuracy": proportion((compared.margins > 0).tolist(), 0.5, "chance").as_json(),
        "reward_margin": mean_score(beta * compared.margins, 0.0, "reference", seed).as_json(),
        "likelihood_accuracy": proportion(likelier, before, "reference").as_json(),
        "chosen_perplexity": _perplexity_score(policy.chosen, reference.chosen, policy.chosen_tokens, seed),
        "rejected_perplexity": _perplexity_score(policy.rejected, reference.rejected, policy.rejected_tokens, seed),
    }


def mean_score(values: Tensor, baseline: float | None, baseline_name: str | None, seed: int) -> Score:
    """The mean of `values` [n] with its bootstrap interval."""
    array = values.double().numpy()
    low, high = bootstrap_interval(lambda indices: float(array[indices].mean()), len(array), NUM_BOOTSTRAP, seed)
    return Score(float(array.mean()), low, high, len(array), baseline, baseline_name, "bootstrap")


def _perplexity(logps: Tensor, num_tokens: Tensor) -> float:
    return math.exp(float(-logps.sum() / num_tokens.sum()))


def _perplexity_score(policy: Tensor, reference: Tensor, num_tokens: Tensor, seed: int) -> dict[str, Any]:
    value, low, high = ratio((-policy).numpy(), num_tokens.numpy(), math.exp, NUM_BOOTSTRAP, seed)
    before = _perplexity(reference, num_tokens)
    return Score(value, low, high, len(policy), before, "reference", "bootstrap").as_json()
