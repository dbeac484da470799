"""A reward model from preference pairs, with TRL's RewardTrainer: L = -log sigmoid(r(chosen) - r(rejected) - w m).

Bradley & Terry 1952, as in Ouyang et al. 2022, eq. 1; with the margin m of graded pairs, Touvron et al. 2023 (Llama 2),
eq. 2, where w is `margin_weight`. The reward is a linear head on the last token's hidden state.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import RewardTrainer

from forgeline.core.errors import DataError
from forgeline.core.records import PreferencePair
from forgeline.core.run import Counts
from forgeline.evaluation.scores import proportion
from forgeline.model.batches import batches_by_length, evaluation_mode
from forgeline.tokenization.loading import load_tokenizer
from forgeline.training.lora import load_plain
from forgeline.training.params.reward import RewardParams
from forgeline.training.trl.pairs import RenderedPair, render_pairs
from forgeline.training.trl.preference import mean_score
from forgeline.training.trl.trainer import COLUMNS, Context, HistoryRow, arrange, fit, last, training_arguments

_BATCH_TOKENS = 8192  # padded tokens of one forward pass when measuring


@dataclass(frozen=True)
class RewardResult:
    """A trained reward model with its tokenizer, the curve, the record counts and the figures of the metrics file."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    history: list[HistoryRow]
    counts: Counts
    figures: dict[str, Any]


def train_reward(
    sft: Path,
    train: Sequence[PreferencePair],
    validation: Sequence[PreferencePair],
    test: Sequence[PreferencePair],
    params: RewardParams,
    context: Context,
) -> RewardResult:
    """Trains a reward model that starts from the model in `sft`.

    Args:
        sft: Model folder with its tokenizer.
        train: Pairs to learn.
        validation: Pairs watched on the way.
        test: Held-out pairs for the reported accuracy.
        params: Section `reward`.
        context: Where to compute, keep checkpoints and log.

    Raises:
        DataError: No pair of a split fits into `max_length`, or margins are to count and no pair to learn has one.
        StopRequested: SIGTERM or Ctrl-C came; a checkpoint was saved first.
    """
    tokenizer = load_tokenizer(sft)
    rows, watched, held_out = (render_pairs(tokenizer, pairs, params.max_length) for pairs in (train, validation, test))
    _require_margins(rows, params)
    model = scalar_head(load_plain(sft, torch.device("cpu")), tokenizer, params.seed).to(context.device)
    trainer = _trainer(model, tokenizer, rows, params, context)

    def evaluate(network: torch.nn.Module) -> dict[str, float]:
        margins = reward_margins(network, watched, context)
        loss = -torch.nn.functional.logsigmoid(margins - required_margins(watched, params)).mean()
        return {
            "validation_loss": float(loss),
            "validation_accuracy": float((margins > 0).double().mean()),
            "validation_margin": float(margins.mean()),
        }

    history = fit(trainer, "reward", params, context, evaluate, before_training=True, columns=COLUMNS)
    margins = reward_margins(model, held_out, context)
    num_in, num_out = len(train) + len(validation) + len(test), len(rows) + len(watched) + len(held_out)
    names = ("train_loss", "validation_loss", "validation_accuracy", "validation_margin")
    figures = {
        "before": {name: history[0][name] for name in names[1:]},
        "final": {name: last(history, name) for name in names},
        "test": {
            "pair_accuracy": proportion((margins > 0).tolist(), 0.5, "chance").as_json(),
            "mean_margin": mean_score(margins, 0.0, "no preference", params.seed).as_json(),
        },
    }
    return RewardResult(model, tokenizer, history, Counts(num_in, num_out, {"too_long": num_in - num_out}), figures)


def required_margins(pairs: Sequence[RenderedPair], params: RewardParams) -> Tensor:
    """By how much the chosen answer's reward is to exceed the other's, for each pair [n]: `margin_weight` x margin."""
    return torch.tensor([params.margin_weight * (pair.pair.margin or 0.0) for pair in pairs], dtype=torch.float64)


def _require_margins(pairs: Sequence[RenderedPair], params: RewardParams) -> None:
    if params.margin_weight and all(pair.pair.margin is None for pair in pairs):
        raise DataError(
            f"reward.margin_weight is {params.margin_weight:g}, but no training pair has a margin: set it to 0, or add "
            "a set of graded answers to preferences.sets"
        )


def scalar_head(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    """A sequence classifier with the backbone of a causal model and one new random output."""
    values = {key: value for key, value in model.config.to_dict().items() if key not in ("id2label", "label2id")}
    config = model.config.__class__.from_dict({**values, "num_labels": 1})
    config.pad_token_id = tokenizer.pad_token_id  # tells it which token of a padded row is the last
    torch.manual_seed(seed)
    classifier = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    getattr(classifier, classifier.base_model_prefix).load_state_dict(
        getattr(model, model.base_model_prefix).state_dict()
    )
    return classifier


def reward_margins(model: torch.nn.Module, pairs: Sequence[RenderedPair], context: Context) -> Tensor:
    """r(chosen) - r(rejected) of each pair [len(pairs)], in float64 on the CPU."""
    chosen = sequence_rewards(model, [pair.prompt_ids + pair.chosen_ids for pair in pairs], context)
    return chosen - sequence_rewards(model, [pair.prompt_ids + pair.rejected_ids for pair in pairs], context)


@torch.no_grad()
def sequence_rewards(model: PreTrainedModel, sequences: Sequence[Sequence[int]], context: Context) -> Tensor:
    """The reward of each sequence [len(sequences)], in float64 on the CPU.

    Without autocast: rewards closer than bfloat16 resolves would count as ties, and a tie is not right.
    """
    rewards = torch.zeros(len(sequences), dtype=torch.float64)
    pad = model.config.pad_token_id
    with evaluation_mode(model):
        for rows in batches_by_length([len(sequence) for sequence in sequences], _BATCH_TOKENS):
            longest = len(sequences[rows[0]])
            ids = [[*sequences[row], *[pad] * (longest - len(sequences[row]))] for row in rows]
            input_ids = torch.tensor(ids, device=context.device)
            logits = model(input_ids=input_ids, attention_mask=(input_ids != pad).long()).logits
            rewards[rows] = logits.squeeze(-1).double().cpu()
    return rewards


class _PreparedRewardTrainer(RewardTrainer):  # type: ignore[misc]  # trl is not followed by mypy
    """Takes our token ids as they are; TRL would filter them again."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset


def _trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[RenderedPair],
    params: RewardParams,
    context: Context,
) -> RewardTrainer:
    columns: dict[str, list[Any]] = {
        "chosen_ids": [pair.prompt_ids + pair.chosen_ids for pair in pairs],
        "rejected_ids": [pair.prompt_ids + pair.rejected_ids for pair in pairs],
    }
    if params.margin_weight:
        columns["margin"] = required_margins(pairs, params).tolist()
    dataset = Dataset.from_dict(columns).select(arrange([pair.length for pair in pairs], params))
    arguments = training_arguments(RewardConfig, params, context, max_length=None, disable_dropout=True)
    return _PreparedRewardTrainer(model=model, args=arguments, train_dataset=dataset, processing_class=tokenizer)
