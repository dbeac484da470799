"""Learning-rate schedules as pure functions of the step, so that resuming needs no scheduler state."""

import math
from typing import Literal

Schedule = Literal["constant", "linear", "cosine"]


def learning_rate_factor(
    schedule: Schedule, step: int, num_steps: int, warmup_steps: int, min_fraction: float
) -> float:
    """What to multiply the peak learning rate with at a step.

    Args:
        schedule: The shape after warmup; cosine is Loshchilov & Hutter 2017 without restarts.
        step: 0-based optimizer step.
        num_steps: Steps of the whole run.
        warmup_steps: Steps of linear rise from 1 / warmup_steps to 1.
        min_fraction: Where linear and cosine end, as a fraction of the peak.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, num_steps - warmup_steps)
    shape = {
        "constant": 1.0,
        "linear": 1.0 - progress,
        "cosine": 0.5 * (1.0 + math.cos(math.pi * progress)),
    }[schedule]
    return min_fraction + (1.0 - min_fraction) * shape
