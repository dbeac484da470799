"""Objectives of pretraining: from a model and a batch to a summed loss, over how many tokens, and further sums.

A loop that gets sums can divide once by the supervised tokens of the whole step, over all micro-batches and processes.
"""

from collections.abc import Callable

from torch import Tensor, nn

from forgeline.training.loop.objective import next_token_loss
from forgeline.training.loop.optimizers.sophia import draw_labels
from forgeline.training.pretraining.batch import Batch

Sums = dict[str, Tensor]
Objective = Callable[[nn.Module, Batch], tuple[Tensor, int, Sums]]


def next_token_objective(model: nn.Module, batch: Batch) -> tuple[Tensor, int, Sums]:
    """The cross-entropy of the next token in nats, and the number of supervised tokens."""
    loss_sum, num_tokens = next_token_loss(model(**batch.inputs, use_cache=False).logits, batch.labels)
    return loss_sum, num_tokens, {}


def own_label_objective(uniforms: Tensor) -> Objective:
    """The same on labels that the model itself draws, for an estimate of the Hessian.

    Args:
        uniforms: (batch, time) in [0, 1): what the labels are drawn with.
    """

    def objective(model: nn.Module, batch: Batch) -> tuple[Tensor, int, Sums]:
        logits = model(**batch.inputs, use_cache=False).logits
        return *next_token_loss(logits, draw_labels(logits, batch.labels, uniforms)), {}

    return objective
