"""Watching a run: what must stop it, and what its user should know. Functions of the history, for a resume's sake."""

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from forgeline.training.loop.schedules import Measurement

RISES_TO_WARN = 3
RECENT_STEPS = 50  # the median is taken over
_LEAST_STEPS = 10  # before that many there is no median worth the name


def divergence(loss: float, gradient_norm: float, earlier: Sequence[float], spike_factor: float | None) -> str | None:
    """Why training must not go on, or None.

    Args:
        loss: Of the step at hand, in nats per token.
        gradient_norm: The 2-norm of its gradient before clipping.
        earlier: Losses of the steps before, oldest first.
        spike_factor: How many times the median of the last losses is too much; None for any number.
    """
    if not math.isfinite(loss):
        return f"the loss became {loss}"
    if not math.isfinite(gradient_norm):
        return f"the norm of the gradient became {gradient_norm}"
    recent = earlier[-RECENT_STEPS:]
    if spike_factor is None or len(recent) < _LEAST_STEPS:
        return None
    usual = median(recent)
    if loss <= spike_factor * usual:
        return None
    return (
        f"the loss jumped to {loss:.3f}, more than pretrain.spike_factor {spike_factor:g} times {usual:.3f}, the "
        f"median of the {len(recent)} steps before,"
    )


def rises(measured: Sequence[Measurement]) -> list[int]:
    """Steps at which the validation loss had risen three times in a row (six times: named twice).

    Args:
        measured: Validation losses so far, each with the number of steps before it.
    """
    found, in_a_row = [], 0
    for (_, before), (step, loss) in pairwise(measured):
        in_a_row = in_a_row + 1 if loss > before else 0
        if in_a_row and in_a_row % RISES_TO_WARN == 0:
            found.append(step)
    return found


def best_step(measured: Sequence[Measurement]) -> int:
    """The number of steps before the lowest validation loss; the first of equal ones."""
    return min(measured, key=lambda measurement: measurement[1])[0]
