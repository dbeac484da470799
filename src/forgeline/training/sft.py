"""Supervised fine-tuning on conversations, of all weights or of an adapter, with TRL's SFTTrainer.

Conversations become token ids by our one renderer before the trainer sees them. The loss of a step is the cross-entropy
summed over its supervised tokens, divided by their number over all its micro-batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from forgeline.core.progress import announce_fact
from forgeline.core.records import Conversation
from forgeline.core.run import Counts
from forgeline.inference.engine import generate
from forgeline.tokenization.chat import render_prompt, stop_token_ids
from forgeline.tokenization.loading import load_tokenizer
from forgeline.training.conversation_rows import LabelledRows, joined, labelled, pack
from forgeline.training.lora import name_parent
from forgeline.training.order import record_order
from forgeline.training.packed_batches import PackedCollator
from forgeline.training.packed_trainer import PackedTrainer
from forgeline.training.params.peft import NoPeftParams, QloraPeftParams, VeraPeftParams
from forgeline.training.params.sft import SftParams
from forgeline.training.quantized_base import PAGED_OPTIMIZER
from forgeline.training.sft_model import SftModel, prepare_model
from forgeline.training.trl.best import BestWeights
from forgeline.training.trl.held_out import Labelled, label_logps
from forgeline.training.trl.trainer import COLUMNS, Context, HistoryRow, arrange, fit, last, training_arguments
from forgeline.training.whole_logits import WholeLogitsTrainer

_SAMPLE_BATCH_TOKENS = 4096


@dataclass(frozen=True)
class SftResult:
    """A trained model with its tokenizer, the curve, the record counts and the figures of the metrics file."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    history: list[HistoryRow]
    counts: Counts
    figures: dict[str, Any]


@dataclass(frozen=True)
class _TrainingRows:
    """What the trainer is fed: rows of tokens, how long each is, and what of it is learned."""

    columns: dict[str, list[list[int]]]
    num_supervised: list[int]
    is_packed: bool

    @property
    def lengths(self) -> list[int]:
        return [len(ids) for ids in self.columns["input_ids"]]


def train_sft(
    base: Path,
    train: Sequence[Conversation],
    validation: Sequence[Conversation],
    params: SftParams,
    context: Context,
    new_ids: range = range(0),
) -> SftResult:
    """Fine-tunes the model in `base`; killed at any moment, a rerun goes on to the same bytes.

    Args:
        base: Model folder with its tokenizer.
        train: Conversations to learn.
        validation: Conversations the loss is watched on.
        params: Section `sft`.
        context: Where to compute, keep checkpoints and log.
        new_ids: Ids that extending the vocabulary has added.

    Raises:
        DataError: No conversation fits into `max_length`, or an adapter belongs to another base.
        ParamsError: An adapter does not fit the model, or packing does not.
        StopRequested: SIGTERM or Ctrl-C came; a checkpoint was saved first.
    """
    tokenizer = load_tokenizer(base)
    learned, held_out = (labelled(tokenizer, records, params) for records in (train, validation))
    chosen = record_order(len(held_out.rows), len(held_out.rows), params.seed)[: params.eval_conversations]
    watched = [held_out.rows[index] for index in chosen]
    prepared = prepare_model(base, params, context, new_ids)
    samples = _Samples(tokenizer, validation, params)
    before = samples.answer(prepared.network)
    rows = _training_rows(learned.rows, params)
    trainer = _trainer(prepared, tokenizer, rows, params, context)
    model = trainer.model

    def evaluate(network: torch.nn.Module) -> dict[str, float]:
        return {"validation_loss": mean_loss(network, watched, context)}

    best = BestWeights(context.scratch) if params.final_weights == "best" else None
    history = fit(trainer, "sft", params, context, evaluate, before_training=True, columns=COLUMNS, keep_best=best)
    if isinstance(model, PeftModel):
        name_parent(model, prepared.parent)  # not before: the trainer's checkpoints would look for it on the hub
    final_step = params.num_steps if best is None else best.restore(trainer.state.log_history, model)
    num_in, dropped = len(train) + len(validation), learned.dropped + held_out.dropped
    figures = _figures(history, final_step, learned, rows, prepared, params)
    figures["num_validation_conversations"] = len(watched)
    figures["generations"] = samples.compared(before, samples.answer(model))
    counts = Counts(num_in, len(learned.rows) + len(held_out.rows), dict(dropped))
    return SftResult(model, tokenizer, history, counts, figures)


def _figures(
    history: Sequence[HistoryRow],
    final_step: int,
    learned: LabelledRows,
    rows: _TrainingRows,
    prepared: SftModel,
    params: SftParams,
) -> dict[str, Any]:
    final = next(row["validation_loss"] for row in history if row["step"] == final_step)
    drawn = arrange(rows.lengths, params)
    trainable, size = prepared.num_trainable, prepared.num_parameters
    return {
        "before": {"validation_loss": history[0]["validation_loss"]},
        "final": {"train_loss": last(history, "train_loss"), "validation_loss": final, "step": final_step},
        "num_supervised_tokens": sum(rows.num_supervised[index] for index in drawn),
        "num_train_conversations": len(learned.rows),
        "num_truncated": learned.num_truncated,
        "num_rows": len(rows.lengths),
        "row_fill": sum(rows.lengths) / (len(rows.lengths) * params.max_length),
        "num_epochs": params.num_steps * params.batch_size / len(rows.lengths),
        "num_trainable_parameters": trainable,
        "trainable_share": trainable / size,
    }


def mean_loss(model: torch.nn.Module, rows: Sequence[Labelled], context: Context) -> float:
    """Nats per supervised token over all rows together."""
    return -float(label_logps(model, rows, context.compute).sum()) / sum(row.num_supervised for row in rows)


def _training_rows(rows: Sequence[Labelled], params: SftParams) -> _TrainingRows:
    if not params.packing:
        columns = {"input_ids": [row.input_ids for row in rows], "labels": [row.labels for row in rows]}
        return _TrainingRows(columns, [row.num_supervised for row in rows], is_packed=False)
    packed = [joined([rows[index] for index in members]) for members in pack(rows, params.max_length)]
    announce_fact(f"packed {len(rows):,} conversations into {len(packed):,} rows")
    columns = {
        "input_ids": [row.input_ids for row, _ in packed],
        "labels": [row.labels for row, _ in packed],
        "position_ids": [positions for _, positions in packed],
    }
    return _TrainingRows(columns, [row.num_supervised for row, _ in packed], is_packed=True)


def _trainer(
    prepared: SftModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: _TrainingRows,
    params: SftParams,
    context: Context,
) -> SFTTrainer:
    peft = params.peft
    pages = isinstance(peft, QloraPeftParams) and peft.paged_optimizer and context.device.type == "cuda"
    arguments = training_arguments(
        SFTConfig,
        params,
        context,
        max_length=None,
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        neftune_noise_alpha=None if rows.is_packed else params.neftune_alpha,
        remove_unused_columns=not rows.is_packed,
        **({"optim": PAGED_OPTIMIZER} if pages else {}),
    )
    trains_rows = not isinstance(peft, NoPeftParams | VeraPeftParams) and peft.train_embeddings == "new"
    unpacked = WholeLogitsTrainer if trains_rows else SFTTrainer
    kind = partial(PackedTrainer, noise_alpha=params.neftune_alpha) if rows.is_packed else unpacked
    trainer = kind(
        model=prepared.network,
        args=arguments,
        data_collator=PackedCollator() if rows.is_packed else None,
        train_dataset=Dataset.from_dict(rows.columns).select(arrange(rows.lengths, params)),
        processing_class=tokenizer,
    )
    for weights in trainer.model.parameters():  # TRL makes adapters of quantized models bfloat16, which loses updates
        if weights.requires_grad:
            weights.data = weights.data.float()
    return trainer


class _Samples:
    """Answers to a few validation questions, for people to read."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Conversation], params: SftParams
    ) -> None:
        self._tokenizer = tokenizer
        self._max_new_tokens = params.sample_tokens
        self._conversations: list[Conversation] = []
        self._prompts: list[list[int]] = []
        for index in record_order(len(conversations), len(conversations), params.seed):
            if len(self._prompts) == params.sample_conversations:
                break
            conversation = conversations[index]
            prompt = render_prompt(tokenizer, conversation.messages[:-1], conversation.tools)
            if len(prompt) + params.sample_tokens <= params.max_length:
                self._conversations.append(conversation)
                self._prompts.append(prompt)

    def answer(self, model: PreTrainedModel | PeftModel) -> list[str]:
        """The likeliest answer to each, by the model as it is."""
        written = generate(
            model,
            self._prompts,
            max_new_tokens=self._max_new_tokens,
            stop_token_ids=stop_token_ids(self._tokenizer),
            pad_token_id=int(self._tokenizer.pad_token_id),
            temperature=0.0,
            generator=None,
            batch_tokens=_SAMPLE_BATCH_TOKENS,
        )
        return [str(self._tokenizer.decode(one.output_ids, skip_special_tokens=True)) for one in written]

    def compared(self, before: Sequence[str], after: Sequence[str]) -> list[dict[str, str]]:
        """Question, reference and both answers of each."""
        return [
            {
                "question": conversation.messages[-2]["content"] if len(conversation.messages) > 1 else "",
                "reference": conversation.messages[-1]["content"],
                "before": first,
                "after": second,
            }
            for conversation, first, second in zip(self._conversations, before, after, strict=True)
        ]
