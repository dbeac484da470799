"""Objectives of pretraining: from a network and a batch to a summed loss, over how many tokens, and further sums.

A loop that gets sums can divide once by the supervised tokens of the whole step, over all micro-batches and processes.
"""

from collections.abc import Callable

from torch import Tensor, nn

from forgeline.training.pretraining.batch import Batch

Sums = dict[str, Tensor]
Objective = Callable[[nn.Module, Batch], tuple[Tensor, int, Sums]]


def next_token_objective(network: nn.Module, batch: Batch) -> tuple[Tensor, int, Sums]:
    """The cross-entropy of the next token in nats, and the number of supervised tokens.

    Args:
        network: A `LossNetwork`, as accelerate may have wrapped it.
        batch: What it sees.
    """
    return network(batch.labels, **batch.inputs), batch.num_supervised, {}


def own_label_objective(uniforms: Tensor) -> Objective:
    """The same on labels that the model itself draws, for an estimate of the Hessian.

    Args:
        uniforms: (batch, time) in [0, 1): what the labels are drawn with.
    """

    def objective(network: nn.Module, batch: Batch) -> tuple[Tensor, int, Sums]:
        return network(batch.labels, uniforms, **batch.inputs), batch.num_supervised, {}

    return objective
