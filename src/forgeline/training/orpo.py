"""Odds ratio preference optimization of a LoRA adapter (Hong et al. 2024, arXiv 2403.07691). The loss is our own.

With P(y|x) = exp(1/m Σ log π(y_t|x, y_<t)) over the m tokens of an answer (eq. 3) and odds(y|x) = P / (1 - P) (eq. 4),
the loss of a pair is (eq. 6 and 7)

    L = -log P(y_w|x) - λ log sigmoid(log odds(y_w|x) - log odds(y_l|x))

The first term is that of supervised fine-tuning on the chosen answer, so there is no reference model: a step costs two
thirds of one of DPO. λ is `odds_ratio_weight`. Every pair counts the same in a step, whatever the micro-batches are.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainingArguments
from trl.trainer.dpo_trainer import DataCollatorForPreference

from forgeline.core.records import PreferencePair
from forgeline.training.lora import lora_config
from forgeline.training.params.orpo import OrpoParams
from forgeline.training.trl.align import AlignResult, Method, ValidationLoss, learn_from_pairs, pair_rows
from forgeline.training.trl.pairs import RenderedPair
from forgeline.training.trl.trainer import Context, training_arguments

_COLUMNS = {"log_odds_ratio": "train_log_odds_ratio", "accuracy": "train_accuracy"}
_REWARD_SCALE = 1.0  # there is no β: the implicit reward is reported in nats


def train_orpo(
    sft: Path,
    train: Sequence[PreferencePair],
    validation: Sequence[PreferencePair],
    params: OrpoParams,
    context: Context,
) -> AlignResult:
    """Trains an adapter on the model in `sft`; see `learn_from_pairs` for arguments and errors.

    The instruction-tuned model is no part of the loss. It is what the figures compare with.
    """

    def trainer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[RenderedPair]) -> Trainer:
        return _trainer(model, tokenizer, pairs, params, context)

    def loss(plain: PreTrainedModel, pairs: Sequence[RenderedPair]) -> ValidationLoss:
        def of(policy: PreTrainedModel, compared: Any) -> float:
            answers = compared.policy
            return float(orpo_losses(answers.chosen_mean, answers.rejected_mean, params.odds_ratio_weight).mean())

        return of

    method = Method(params.method, _REWARD_SCALE, _COLUMNS, trainer, loss)
    return learn_from_pairs(method, sft, train, validation, params, context)


def orpo_losses(chosen: Tensor, rejected: Tensor, weight: float) -> Tensor:
    """The loss of each pair [n].

    Args:
        chosen: log P(y_w|x), the mean log-probability of the chosen answer's tokens [n], below 0.
        rejected: log P(y_l|x) [n].
        weight: λ.
    """
    ratio = log_odds(chosen) - log_odds(rejected)
    return -chosen - weight * torch.nn.functional.logsigmoid(ratio)


def log_odds(logp: Tensor) -> Tensor:
    """log(P / (1 - P)) from log P < 0; exact near both ends (Mächler 2012, eq. 7)."""
    near_one = logp > -math.log(2)
    # Each branch is computed where it is safe only: a where() lets the infinite gradient of the other one through.
    small = torch.log(-torch.expm1(torch.where(near_one, logp, torch.full_like(logp, -1.0))))
    large = torch.log1p(-torch.exp(torch.where(near_one, torch.full_like(logp, -1.0), logp)))
    return logp - torch.where(near_one, small, large)


def mean_logps(model: torch.nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    """Mean log-probability of every answer's tokens [2n], chosen answers first.

    Args:
        model: A causal language model.
        inputs: `input_ids`, `attention_mask` and `completion_mask` [2n, T], padded on the right.
    """
    mask = inputs["completion_mask"][:, 1:]
    first = int(mask.any(dim=0).to(torch.int8).argmax())  # no answer begins before it: no logits are needed there
    mask = mask[:, first:]
    logits = model(
        input_ids=inputs["input_ids"][:, :-1],
        attention_mask=inputs["attention_mask"][:, :-1],
        use_cache=False,
        logits_to_keep=mask.shape[1],
    ).logits.float()
    labels = inputs["input_ids"][:, 1 + first :]
    logps = -torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
    return (logps * mask).sum(dim=1) / mask.sum(dim=1)


class _OrpoTrainer(Trainer):  # type: ignore[misc]  # transformers is not followed by mypy
    """The Trainer of transformers with the loss above."""

    def __init__(self, odds_ratio_weight: float, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._weight = odds_ratio_weight
        self._figures: dict[str, list[float]] = defaultdict(list)
        self.model_accepts_loss_kwargs = False  # the Trainer then divides by the number of micro-batches

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Tensor:
        chosen, rejected = mean_logps(model, inputs).chunk(2)
        ratio = (log_odds(chosen) - log_odds(rejected)).detach()
        self._figures["log_odds_ratio"].append(float(ratio.mean()))
        self._figures["accuracy"].append(float((ratio > 0).double().mean()))
        return orpo_losses(chosen, rejected, self._weight).mean()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        means = {name: sum(values) / len(values) for name, values in self._figures.items()}
        self._figures.clear()
        super().log({**logs, **means}, start_time)


def _trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[RenderedPair],
    params: OrpoParams,
    context: Context,
) -> Trainer:
    arguments = training_arguments(TrainingArguments, params, context, remove_unused_columns=False)
    torch.manual_seed(params.seed)
    return _OrpoTrainer(
        params.odds_ratio_weight,
        model=get_peft_model(model, lora_config(model, params.lora)),
        args=arguments,
        train_dataset=pair_rows(pairs, params),
        processing_class=tokenizer,
        data_collator=DataCollatorForPreference(pad_token_id=tokenizer.pad_token_id),
    )
