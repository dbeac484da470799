"""Kahneman-Tversky optimization of a LoRA adapter (Ethayarajh et al. 2024, arXiv 2402.01306), with TRL's KTOTrainer.

With the implicit reward r = log π(y|x)/π_ref(y|x) and the reference point z0 = KL(π ‖ π_ref), the loss of one answer is
(eq. 7)

    λ_D (1 - sigmoid(β (r - z0)))   of a desirable answer
    λ_U (1 - sigmoid(β (z0 - r)))   of an undesirable one

A pair becomes two examples that know nothing of each other: chosen answers are desirable, rejected ones undesirable.
z0 is estimated without gradient from the answers to other prompts in the same micro-batch, and never below 0.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.kto_config import KTOConfig
from trl.trainer.kto_trainer import KTOTrainer

from forgeline.core.records import PreferencePair
from forgeline.training.lora import lora_config
from forgeline.training.params.kto import KtoParams
from forgeline.training.trl.align import AlignResult, Method, ValidationLoss, learn_from_pairs
from forgeline.training.trl.held_out import label_logps
from forgeline.training.trl.pairs import RenderedPair
from forgeline.training.trl.preference import Compared, answer
from forgeline.training.trl.trainer import Context, arrange, training_arguments

_COLUMNS = {"kl": "train_reference_point"}

Example = tuple[list[int], list[int], bool]  # ids of the prompt and of the answer; whether the answer is desirable


def train_kto(
    sft: Path,
    train: Sequence[PreferencePair],
    validation: Sequence[PreferencePair],
    params: KtoParams,
    context: Context,
) -> AlignResult:
    """Trains an adapter on the model in `sft`; see `learn_from_pairs` for arguments and errors."""

    def trainer(
        model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[RenderedPair]
    ) -> KTOTrainer:
        return _trainer(model, tokenizer, pairs, params, context)

    def loss(plain: PreTrainedModel, pairs: Sequence[RenderedPair]) -> ValidationLoss:
        return _validation_loss(plain, pairs, params, context)

    method = Method(params.method, params.beta, _COLUMNS, trainer, loss)
    return learn_from_pairs(method, sft, train, validation, params, context)


def kto_loss(compared: Compared, divergence: Tensor, params: KtoParams) -> Tensor:
    """The mean loss over both answers of all pairs; `divergence` is z0."""
    desirable = 1 - torch.sigmoid(params.beta * (compared.chosen_log_ratios - divergence))
    undesirable = 1 - torch.sigmoid(params.beta * (divergence - compared.rejected_log_ratios))
    return torch.cat([params.desirable_weight * desirable, params.undesirable_weight * undesirable]).mean()


def examples(pairs: Sequence[RenderedPair]) -> list[Example]:
    """The two answers of every pair, the chosen one first."""
    return [
        example
        for pair in pairs
        for example in ((pair.prompt_ids, pair.chosen_ids, True), (pair.prompt_ids, pair.rejected_ids, False))
    ]


def mismatched(batch: Sequence[Example]) -> list[list[int]]:
    """For each example of a micro-batch, an answer to another prompt: that of the nearest one before it, cyclically.

    Where all prompts are the same it is the answer before it all the same.
    """
    size = len(batch)
    found = []
    for place, (prompt, _, _) in enumerate(batch):
        before = [batch[(place - distance) % size] for distance in range(1, size)]
        other = next((example for example in before if example[0] != prompt), before[0])
        found.append(other[1])
    return found


def _validation_loss(
    plain: PreTrainedModel, pairs: Sequence[RenderedPair], params: KtoParams, context: Context
) -> ValidationLoss:
    rows = examples(pairs)
    sequences = [answer(row[0], other) for row, other in zip(rows, mismatched(rows), strict=True)]
    reference = label_logps(plain, sequences, context.compute)

    def of(policy: PeftModel, compared: Compared) -> float:
        divergence = (label_logps(policy, sequences, context.compute) - reference).mean().clamp(min=0)
        return float(kto_loss(compared, divergence, params))

    return of


class _PreparedKTOTrainer(KTOTrainer):  # type: ignore[misc]  # trl is not followed by mypy
    """Takes our token ids as they are; TRL would render the chats and choose the mismatched answers by itself."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset


def _rows(pairs: Sequence[RenderedPair], params: KtoParams) -> Dataset:
    """Every example to learn, all steps one after the other, with an answer to another prompt of its micro-batch."""
    found = examples(pairs)
    order = arrange([len(prompt) + len(written) for prompt, written, _ in found], params)
    rows = [found[index] for index in order]
    size = params.micro_batch_size
    others = [other for start in range(0, len(rows), size) for other in mismatched(rows[start : start + size])]
    return Dataset.from_dict(
        {
            "prompt_ids": [prompt for prompt, _, _ in rows],
            "completion_ids": [written for _, written, _ in rows],
            "KL_completion_ids": others,
            "label": [is_desirable for _, _, is_desirable in rows],
        }
    )


def _trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[RenderedPair],
    params: KtoParams,
    context: Context,
) -> KTOTrainer:
    arguments = training_arguments(
        KTOConfig,
        params,
        context,
        loss_type="kto",
        beta=params.beta,
        desirable_weight=params.desirable_weight,
        undesirable_weight=params.undesirable_weight,
        max_length=None,
        disable_dropout=False,
    )
    return _PreparedKTOTrainer(
        model=model,
        args=arguments,
        train_dataset=_rows(pairs, params),
        processing_class=tokenizer,
        peft_config=lora_config(model, params.lora),
    )
