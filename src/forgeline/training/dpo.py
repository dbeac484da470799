"""Direct preference optimization of a LoRA adapter, with TRL's DPOTrainer.

L = -log sigmoid(β [log π(y_w|x)/π_ref(y_w|x) - log π(y_l|x)/π_ref(y_l|x)]) (Rafailov et al. 2023, eq. 7), where π_ref
is the instruction-tuned model: the same weights with the adapter switched off.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from forgeline.core.records import PreferencePair
from forgeline.core.run import Counts
from forgeline.evaluation.scores import Score, bootstrap_interval, proportion
from forgeline.inference.engine import generate
from forgeline.model.compute import autocast
from forgeline.tokenization.chat import stop_token_ids
from forgeline.tokenization.loading import load_tokenizer
from forgeline.training.lora import load_plain, lora_config, name_parent
from forgeline.training.params.dpo import DpoParams
from forgeline.training.rewards import exact_reward, is_verifiable
from forgeline.training.trl.held_out import IGNORED, Labelled, label_logps
from forgeline.training.trl.pairs import RenderedPair, render_pairs
from forgeline.training.trl.trainer import COLUMNS, Context, HistoryRow, arrange, fit, last, training_arguments

_COLUMNS = {**COLUMNS, "rewards/margins": "train_margin", "rewards/accuracies": "train_accuracy"}
_BATCH_TOKENS = 8192  # padded tokens of one batch when answering
_NUM_BOOTSTRAP = 1000


@dataclass(frozen=True)
class DpoResult:
    """A trained adapter with its tokenizer, the curve, the record counts and the figures of the metrics file."""

    model: PeftModel
    tokenizer: PreTrainedTokenizerBase
    history: list[HistoryRow]
    counts: Counts
    figures: dict[str, Any]


def train_dpo(
    sft: Path,
    train: Sequence[PreferencePair],
    validation: Sequence[PreferencePair],
    params: DpoParams,
    context: Context,
) -> DpoResult:
    """Trains an adapter on the model in `sft` to prefer the chosen answers.

    Args:
        sft: Model folder with its tokenizer: start and reference.
        train: Pairs to learn.
        validation: Held-out pairs.
        params: Section `align.dpo`.
        context: Where to compute, keep checkpoints and log.

    Raises:
        DataError: No pair of a split fits into `max_length`.
        StopRequested: SIGTERM or Ctrl-C came; a checkpoint was saved first.
    """
    tokenizer = load_tokenizer(sft)
    rows, held_out = (render_pairs(tokenizer, pairs, params.max_length) for pairs in (train, validation))
    plain = load_plain(sft, context.device)
    reference = log_ratios(plain, held_out, context)
    trainer = _trainer(plain, tokenizer, rows, params, context)
    model = trainer.model
    name_parent(model, sft)

    def evaluate(network: PeftModel) -> dict[str, float]:
        margins = params.beta * (log_ratios(network, held_out, context) - reference)
        loss = -torch.nn.functional.logsigmoid(margins).mean()
        accuracy = (margins > 0).double().mean()
        return {
            "validation_loss": float(loss),
            "validation_margin": float(margins.mean()),
            "validation_accuracy": float(accuracy),
        }

    history = fit(trainer, "dpo", params, context, evaluate, before_training=False, columns=_COLUMNS)
    margins = params.beta * (log_ratios(model, held_out, context) - reference)
    num_in, num_out = len(train) + len(validation), len(rows) + len(held_out)
    names = ("train_loss", "train_margin", "validation_loss", "validation_margin", "validation_accuracy")
    win_rate = win_rate_over_reference(model, tokenizer, held_out, params, context)
    figures = {
        "final": {name: last(history, name) for name in names},
        "validation": {
            "reward_accuracy": proportion((margins > 0).tolist(), 0.5, "chance").as_json(),
            "reward_margin": _mean_score(margins.numpy(), 0.0, "reference", params.seed).as_json(),
            "win_rate_over_reference": win_rate.as_json() if win_rate else None,
        },
    }
    return DpoResult(model, tokenizer, history, Counts(num_in, num_out, {"too_long": num_in - num_out}), figures)


def log_ratios(model: PreTrainedModel | PeftModel, pairs: Sequence[RenderedPair], context: Context) -> Tensor:
    """Difference log π(chosen) - log π(rejected) of each pair [len(pairs)], in nats."""
    chosen = [_answer(pair.prompt_ids, pair.chosen_ids) for pair in pairs]
    rejected = [_answer(pair.prompt_ids, pair.rejected_ids) for pair in pairs]
    return label_logps(model, chosen, context.compute) - label_logps(model, rejected, context.compute)


def win_rate_over_reference(
    model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[RenderedPair],
    params: DpoParams,
    context: Context,
) -> Score | None:
    """How often the policy's greedy answer beats the reference's, judged by the exact answer.

    Over the different prompts whose chosen answer can be verified: 1 where the policy alone is right, 0 where the
    reference alone is, else one half. None when no prompt can be verified.
    """
    asked = {tuple(pair.prompt_ids): pair.pair.chosen for pair in pairs if is_verifiable(pair.pair.chosen)}
    if not asked:
        return None
    policy = _greedy_rewards(model, tokenizer, asked, params, context)
    with model.disable_adapter():
        reference = _greedy_rewards(model, tokenizer, asked, params, context)
    return _mean_score((1 + policy - reference) / 2, 0.5, "reference", params.seed)


def _greedy_rewards(
    model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    asked: dict[tuple[int, ...], str],
    params: DpoParams,
    context: Context,
) -> np.ndarray[Any, np.dtype[np.float64]]:
    with autocast(context.device, context.compute):
        answers = generate(
            model,
            list(asked),
            max_new_tokens=params.max_new_tokens,
            stop_token_ids=stop_token_ids(tokenizer),
            pad_token_id=tokenizer.pad_token_id,
            temperature=0.0,
            generator=None,
            batch_tokens=_BATCH_TOKENS,
        )
    texts = [tokenizer.decode(answer.output_ids, skip_special_tokens=True) for answer in answers]
    return np.array([exact_reward(text, chosen) for text, chosen in zip(texts, asked.values(), strict=True)])


def _mean_score(values: np.ndarray[Any, np.dtype[np.float64]], baseline: float, baseline_name: str, seed: int) -> Score:
    low, high = bootstrap_interval(lambda indices: float(values[indices].mean()), len(values), _NUM_BOOTSTRAP, seed)
    return Score(float(values.mean()), low, high, len(values), baseline, baseline_name, "bootstrap")


def _answer(prompt_ids: list[int], answer_ids: list[int]) -> Labelled:
    return Labelled(prompt_ids + answer_ids, [IGNORED] * len(prompt_ids) + answer_ids)


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
    columns = {
        "prompt_ids": [pair.prompt_ids for pair in pairs],
        "chosen_ids": [pair.chosen_ids for pair in pairs],
        "rejected_ids": [pair.rejected_ids for pair in pairs],
    }
    dataset = Dataset.from_dict(columns).select(arrange([pair.length for pair in pairs], params))
    arguments = training_arguments(
        DPOConfig,
        params,
        context,
        beta=params.beta,
        loss_type=["sigmoid", "sft"],
        loss_weights=[1.0, params.sft_weight],
        max_length=None,
        disable_dropout=False,
    )
    # Given a PEFT configuration TRL switches the adapter off for the reference; a PEFT model it would copy.
    return _PreparedDPOTrainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        processing_class=tokenizer,
        peft_config=lora_config(model, params.lora),
    )
