"""Supervised fine-tuning on conversations, of all weights or of a LoRA adapter, with TRL's SFTTrainer.

Conversations become token ids by our one renderer before the trainer sees them. The loss of a step is the cross-entropy
summed over its supervised tokens, divided by their number over all its micro-batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from forgeline.core.errors import DataError
from forgeline.core.records import Conversation
from forgeline.core.run import Counts
from forgeline.tokenization.chat import render_conversation
from forgeline.tokenization.loading import load_tokenizer
from forgeline.training.lora import load_plain, lora_config, name_parent, num_parameters
from forgeline.training.order import record_order
from forgeline.training.params.sft import SftParams
from forgeline.training.trl.held_out import IGNORED, Labelled, label_logps
from forgeline.training.trl.trainer import COLUMNS, Context, HistoryRow, arrange, fit, last, training_arguments


@dataclass(frozen=True)
class SftResult:
    """A trained model with its tokenizer, the curve, the record counts and the figures of the metrics file."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    history: list[HistoryRow]
    counts: Counts
    figures: dict[str, Any]


def train_sft(
    base: Path, train: Sequence[Conversation], validation: Sequence[Conversation], params: SftParams, context: Context
) -> SftResult:
    """Fine-tunes the model in `base`; killed at any moment, a rerun goes on to the same bytes.

    Args:
        base: Model folder with its tokenizer.
        train: Conversations to learn.
        validation: Conversations the loss is watched on.
        params: Section `sft`.
        context: Where to compute, keep checkpoints and log.

    Raises:
        DataError: No conversation fits into `max_length`.
        StopRequested: SIGTERM or Ctrl-C came; a checkpoint was saved first.
    """
    tokenizer = load_tokenizer(base)
    rows, held_out = (labelled(tokenizer, records, params) for records in (train, validation))
    watched = [held_out[index] for index in record_order(len(held_out), len(held_out), params.seed)]
    watched = watched[: params.eval_conversations]
    model = load_plain(base, context.device)
    trainer = _trainer(model, tokenizer, rows, params, context)
    model = trainer.model
    if isinstance(model, PeftModel):
        name_parent(model, base)

    def evaluate(network: torch.nn.Module) -> dict[str, float]:
        return {"validation_loss": mean_loss(network, watched, context)}

    history = fit(trainer, "sft", params, context, evaluate, before_training=True, columns=COLUMNS)
    num_in, num_out = len(train) + len(validation), len(rows) + len(held_out)
    trainable, size = num_parameters(model)
    figures = {
        "before": {"validation_loss": history[0]["validation_loss"]},
        "final": {"train_loss": last(history, "train_loss"), "validation_loss": last(history, "validation_loss")},
        "num_validation_conversations": len(watched),
        "num_supervised_tokens": sum(rows[index].num_supervised for index in arrange(_lengths(rows), params)),
        "num_train_conversations": len(rows),
        "num_epochs": params.num_steps * params.batch_size / len(rows),
        "num_trainable_parameters": trainable,
        "trainable_share": trainable / size,
    }
    return SftResult(model, tokenizer, history, Counts(num_in, num_out, {"too_long": num_in - num_out}), figures)


def labelled(
    tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Conversation], params: SftParams
) -> list[Labelled]:
    """The conversations that fit into `max_length`, as ids and labels, in order.

    Labels are the ids of what the assistant says, end-of-turn tokens included, and -100 elsewhere; without
    `assistant_only_loss` they are all ids.

    Raises:
        DataError: None fits, or there are none.
    """
    rows = []
    for conversation in conversations:
        chat = render_conversation(tokenizer, conversation.messages)
        if len(chat.input_ids) > params.max_length:
            continue
        mask = chat.assistant_mask if params.assistant_only_loss else [1] * len(chat.input_ids)
        labels = [token if said else IGNORED for token, said in zip(chat.input_ids, mask, strict=True)]
        rows.append(Labelled(chat.input_ids, labels))
    if not rows:
        raise DataError(
            f"none of {len(conversations)} conversations fits into sft.max_length {params.max_length} tokens: raise it"
        )
    return rows


def mean_loss(model: torch.nn.Module, rows: Sequence[Labelled], context: Context) -> float:
    """Nats per supervised token over all rows together."""
    return -float(label_logps(model, rows, context.compute).sum()) / sum(row.num_supervised for row in rows)


def _trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Labelled],
    params: SftParams,
    context: Context,
) -> SFTTrainer:
    columns = {"input_ids": [row.input_ids for row in rows], "labels": [row.labels for row in rows]}
    arguments = training_arguments(
        SFTConfig, params, context, max_length=None, packing=False, dataset_kwargs={"skip_prepare_dataset": True}
    )
    dataset = Dataset.from_dict(columns).select(arrange(_lengths(rows), params))
    return SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        processing_class=tokenizer,
        peft_config=lora_config(model, params.lora) if params.peft == "lora" else None,
    )


def _lengths(rows: Sequence[Labelled]) -> list[int]:
    return [len(row.input_ids) for row in rows]
