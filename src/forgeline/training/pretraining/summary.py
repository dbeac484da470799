"""What a finished pretraining run says about itself: its curve, and the figures of the metrics file."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from forgeline.packing.dataset import TokenDataset
from forgeline.training.loop.schedules import Measurement
from forgeline.training.params.pretrain import PretrainParams
from forgeline.training.pretraining.phases import mixture_figures
from forgeline.training.pretraining.watch import RECENT_STEPS, rises

HistoryRow = dict[str, float | int | None]
CHINCHILLA_TOKENS_PER_PARAMETER = 20  # compute-optimal: Hoffmann et al. 2022


@dataclass
class PretrainResult:
    """A finished run.

    Attributes:
        history: A row before the first step and one after each.
        chosen_step: After how many steps the weights were as they are in the model now.
        model: The trained model, plain weights or with its adapter.
    """

    history: list[HistoryRow]
    chosen_step: int
    model: nn.Module

    def last(self, key: str) -> float:
        """The newest measured value of a column."""
        return next(float(row[key]) for row in reversed(self.history) if row[key] is not None)  # type: ignore[arg-type]

    def first(self, key: str) -> float:
        """The first measured value of a column."""
        return next(float(row[key]) for row in self.history if row[key] is not None)  # type: ignore[arg-type]

    @property
    def chosen(self) -> HistoryRow:
        """The row of the chosen weights; its validation loss was measured."""
        return next(row for row in self.history if row["step"] == self.chosen_step)


def measurements(history: Sequence[HistoryRow]) -> list[Measurement]:
    """The validation losses of a history, each with the number of steps before it."""
    losses = ((row["step"], row["validation_loss"]) for row in history)
    return [(int(step), float(loss)) for step, loss in losses if step is not None and loss is not None]


def recent_losses(history: Sequence[HistoryRow]) -> list[float]:
    """The training losses of the last steps, oldest first."""
    return [float(loss) for row in history[-RECENT_STEPS:] if (loss := row["train_loss"]) is not None]


def summary(
    result: PretrainResult,
    num_parameters: int,
    train: TokenDataset,
    validation: TokenDataset,
    params: PretrainParams,
) -> dict[str, Any]:
    """The figures of the metrics file: loss, perplexity and bits per byte before and after, and what was read.

    Args:
        result: The finished run.
        num_parameters: Of the whole model.
        train: What was learned from.
        validation: What the loss was watched on.
        params: Section `pretrain`.
    """
    num_tokens = params.num_steps * params.windows_per_step * train.sequence_length
    chosen = result.chosen
    return {
        "num_parameters": num_parameters,
        "num_tokens_seen": num_tokens,
        "equivalent_epochs": num_tokens / (len(train) * train.sequence_length),
        "tokens_per_parameter": num_tokens / num_parameters,
        "chinchilla_ratio": num_tokens / num_parameters / CHINCHILLA_TOKENS_PER_PARAMETER,
        **mixture_figures(train, params),
        "validation_rose_at_steps": rises(measurements(result.history)),
        "untrained": _held_out(result.first("validation_loss"), validation),
        "final": {
            "step": result.chosen_step,
            "train_loss": chosen["train_loss"],
            **_held_out(float(chosen["validation_loss"] or 0.0), validation),
        },
    }


def _held_out(loss: float, validation: TokenDataset) -> dict[str, float]:
    return {
        "validation_loss": loss,
        "validation_perplexity": math.exp(loss),
        "validation_bits_per_byte": loss / math.log(2) / validation.bytes_per_token,
    }
