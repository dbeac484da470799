"""What training minimizes: the summed next-token cross-entropy and how many tokens it was summed over.

A sum and a count, not a mean: losses of micro-batches and processes then add up, and dividing once by the supervised
tokens of the whole step makes a step independent of how it was cut into micro-batches.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from forgeline.core.errors import ForgelineError

IGNORED = -100


def next_token_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, int]:
    """Summed cross-entropy in nats and the number of supervised tokens.

    Args:
        logits: (batch, time, vocabulary); position t scores the token that follows input t.
        labels: (batch, time), already shifted: `labels[b, t]` follows input t; -100 is not supervised.
    """
    loss = F.cross_entropy(
        logits.reshape(-1, logits.size(-1)).float(), labels.reshape(-1), ignore_index=IGNORED, reduction="sum"
    )
    return loss, int((labels != IGNORED).sum())


def split_window(windows: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs and next-token labels of windows of n + 1 ids, each (batch, n)."""
    return windows[:, :-1], windows[:, 1:]


def require_finite(loss: float, step: int) -> None:
    """Stops training that has diverged.

    Raises:
        ForgelineError: The loss is NaN or infinite.
    """
    if not torch.isfinite(torch.tensor(loss)):
        raise ForgelineError(f"the loss became {loss} at step {step}: lower the learning rate or max_grad_norm")
