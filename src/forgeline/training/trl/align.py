"""Training an adapter on preference pairs: what is the same whichever loss is taken."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer

from forgeline.core.records import PreferencePair
from forgeline.core.run import Counts
from forgeline.tokenization.loading import load_tokenizer
from forgeline.training.lora import load_plain, name_parent
from forgeline.training.trl.answers import answer_scores
from forgeline.training.trl.pairs import RenderedPair, render_pairs
from forgeline.training.trl.params import AlignmentParams
from forgeline.training.trl.preference import Compared, HeldOutPairs, scores
from forgeline.training.trl.trainer import COLUMNS, Context, HistoryRow, arrange, fit, last

ValidationLoss = Callable[[PeftModel, Compared], float]


@dataclass(frozen=True)
class AlignResult:
    """A trained adapter with its tokenizer, the curve, the record counts and the figures of the metrics file."""

    model: PeftModel
    tokenizer: PreTrainedTokenizerBase
    history: list[HistoryRow]
    counts: Counts
    figures: dict[str, Any]


@dataclass(frozen=True)
class Method:
    """What makes one method of the others.

    Attributes:
        name: As in `method` of the section.
        beta: Scale of the reported implicit reward.
        columns: The Trainer's names of the method's own training figures, with ours.
        make_trainer: From the plain model, its tokenizer and the pairs to learn, a Trainer with a fresh adapter. Given
            a PEFT configuration TRL switches the adapter off for the reference; a PEFT model it would copy.
        make_loss: From the plain model, before it has an adapter, and the held-out pairs, the loss to report on them.
    """

    name: str
    beta: float
    columns: Mapping[str, str]
    make_trainer: Callable[[PreTrainedModel, PreTrainedTokenizerBase, Sequence[RenderedPair]], Trainer]
    make_loss: Callable[[PreTrainedModel, Sequence[RenderedPair]], ValidationLoss]


def learn_from_pairs(
    method: Method,
    sft: Path,
    train: Sequence[PreferencePair],
    validation: Sequence[PreferencePair],
    params: AlignmentParams,
    context: Context,
) -> AlignResult:
    """Trains an adapter on the model in `sft` to prefer the chosen answers.

    Args:
        method: The loss.
        sft: Model folder with its tokenizer: start and reference, held once in memory.
        train: Pairs to learn.
        validation: Held-out pairs.
        params: The section of the method.
        context: Where to compute, keep checkpoints and log.

    Raises:
        DataError: No pair of a split fits into `max_length`.
        StopRequested: SIGTERM or Ctrl-C came; a checkpoint was saved first.
    """
    tokenizer = load_tokenizer(sft)
    rows, watched = (render_pairs(tokenizer, pairs, params.max_length) for pairs in (train, validation))
    plain = load_plain(sft, context.device)
    held_out = HeldOutPairs(plain, watched, context)
    loss = method.make_loss(plain, watched)
    trainer = method.make_trainer(plain, tokenizer, rows)
    model: PeftModel = trainer.model
    name_parent(model, sft)

    def evaluate(policy: PeftModel) -> dict[str, float]:
        compared = held_out.compare(policy)
        return {"validation_loss": loss(policy, compared), **held_out.curve(policy, compared, method.beta)}

    columns = {**COLUMNS, **method.columns}
    history = fit(trainer, method.name, params, context, evaluate, before_training=False, columns=columns)
    measured = [name for name in history[-1] if name not in ("step", "learning_rate", "grad_norm")]
    figures = {
        "final": {name: last(history, name) for name in measured},
        "validation": {
            **scores(held_out.compare(model), method.beta, params.seed),
            **answer_scores(model, tokenizer, watched, params, context),
        },
    }
    num_in, num_out = len(train) + len(validation), len(rows) + len(watched)
    return AlignResult(model, tokenizer, history, Counts(num_in, num_out, {"too_long": num_in - num_out}), figures)


def pair_rows(pairs: Sequence[RenderedPair], params: AlignmentParams) -> Dataset:
    """Ids of prompt and answers of every pair to learn, all steps one after the other."""
    columns = {
        "prompt_ids": [pair.prompt_ids for pair in pairs],
        "chosen_ids": [pair.chosen_ids for pair in pairs],
        "rejected_ids": [pair.rejected_ids for pair in pairs],
    }
    return Dataset.from_dict(columns).select(arrange([pair.length for pair in pairs], params))
