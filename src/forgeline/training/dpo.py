"""Direct preference optimization of a LoRA adapter, with TRL's DPOTrainer.

With d = log π(y_w|x)/π_ref(y_w|x) - log π(y_l|x)/π_ref(y_l|x), where π_ref is the instruction-tuned model (the same
weights with the adapter switched off), the loss of a pair is one of

    sigmoid  s(d) = -log sigmoid(β d)                 Rafailov et al. 2023, arXiv 2305.18290, eq. 7
    smoothed [(1 - ε) s(d) - ε s(-d)] / (1 - 2 ε)     Chowdhury et al. 2024, arXiv 2403.00409
    hinge    max(0, 1 - β d)                          Zhao et al. 2023, arXiv 2305.10425; Liu et al. 2024, 2309.06657
    ipo      (d' - 1 / (2 β))²                        Azar et al. 2023, arXiv 2310.12036, eq. 17

plus `sft_weight` times the nats per token of the chosen answer. ε is `label_smoothing`; d' takes both log-ratios per
token of their answers, as TRL does after asking the authors of IPO, so that β means the same for answers of any length.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from forgeline.core.records import PreferencePair
from forgeline.training.lora import lora_config
from forgeline.training.params.dpo import DpoParams
from forgeline.training.trl.align import AlignResult, Method, ValidationLoss, learn_from_pairs, pair_rows
from forgeline.training.trl.pairs import RenderedPair
from forgeline.training.trl.preference import Compared
from forgeline.training.trl.trainer import Context, training_arguments

_COLUMNS = {"rewards/margins": "train_margin", "rewards/accuracies": "train_accuracy"}


def train_dpo(
    sft: Path,
    train: Sequence[PreferencePair],
    validation: Sequence[PreferencePair],
    params: DpoParams,
    context: Context,
) -> AlignResult:
    """Trains an adapter on the model in `sft`; see `learn_from_pairs` for arguments and errors."""

    def trainer(
        model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[RenderedPair]
    ) -> DPOTrainer:
        return _trainer(model, tokenizer, pairs, params, context)

    def loss(plain: PreTrainedModel, pairs: Sequence[RenderedPair]) -> ValidationLoss:
        return lambda policy, compared: float(total_loss(compared, params))

    method = Method(params.method, params.beta, _COLUMNS, trainer, loss)
    return learn_from_pairs(method, sft, train, validation, params, context)


def total_loss(compared: Compared, params: DpoParams) -> Tensor:
    """What training minimizes, over all pairs: their mean loss, and the chosen answers' own in nats a token."""
    chosen = -compared.policy.chosen.sum() / compared.policy.chosen_tokens.sum()
    return pair_losses(compared, params).mean() + params.sft_weight * chosen


def pair_losses(compared: Compared, params: DpoParams) -> Tensor:
    """The preference loss of each pair [n], without the chosen answers' own."""
    scaled = params.beta * compared.margins
    if params.loss == "hinge":
        return torch.relu(1 - scaled)
    if params.loss == "ipo":
        chosen = compared.chosen_log_ratios / compared.policy.chosen_tokens
        rejected = compared.rejected_log_ratios / compared.policy.rejected_tokens
        return (chosen - rejected - 1 / (2 * params.beta)) ** 2
    right, wrong = (torch.nn.functional.logsigmoid(sign * scaled) for sign in (1, -1))
    share = params.label_smoothing
    return -((1 - share) * right - share * wrong) / (1 - 2 * share)


class _PreparedDPOTrainer(DPOTrainer):  # type: ignore[misc]  # trl is not followed by mypy
    """Takes our token ids as they are; TRL would render the chats by itself."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset


def _trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[RenderedPair],
    params: DpoParams,
    context: Context,
) -> DPOTrainer:
    arguments = training_arguments(
        DPOConfig,
        params,
        context,
        beta=params.beta,
        loss_type=["robust" if params.label_smoothing else params.loss, "sft"],
        loss_weights=[1.0, params.sft_weight],
        label_smoothing=params.label_smoothing,
        max_length=None,
        disable_dropout=False,
    )
    return _PreparedDPOTrainer(
        model=model,
        args=arguments,
        train_dataset=pair_rows(pairs, params),
        processing_class=tokenizer,
        peft_config=lora_config(model, params.lora),
    )
