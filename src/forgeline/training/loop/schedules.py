"""Learning-rate schedules as pure functions of what a checkpoint holds anyway, so that resuming needs no other state.

That includes the adaptive one: its reductions follow from the validation losses so far, which are in the history.
"""

import math
from collections.abc import Iterable, Sequence

from forgeline.training.loop.schedule_params import (
    AdaptiveSchedule,
    ConstantSchedule,
    CosineSchedule,
    LinearSchedule,
    PolynomialSchedule,
    Schedule,
    WarmupStableDecaySchedule,
)

Measurement = tuple[int, float]


def learning_rate_factor(schedule: Schedule, step: int, num_steps: int, measured: Sequence[Measurement] = ()) -> float:
    """What to multiply the peak learning rate with at a step.

    Args:
        schedule: The shape and its knobs.
        step: 0-based optimizer step.
        num_steps: Steps of the whole run.
        measured: Validation losses so far, each with the number of steps before it; only read by `adaptive`.
    """
    if step < schedule.warmup_steps:
        return (step + 1) / schedule.warmup_steps
    progress = (step - schedule.warmup_steps) / max(1, num_steps - schedule.warmup_steps)
    match schedule:
        case ConstantSchedule():
            return 1.0
        case AdaptiveSchedule():
            return _reduced_on_plateaus(schedule, (loss for steps, loss in measured if steps >= schedule.warmup_steps))
        case LinearSchedule():
            shape = 1.0 - progress
        case CosineSchedule():
            shape = _half_cosine(progress)
        case PolynomialSchedule():
            shape = (1.0 - progress) ** schedule.power
        case WarmupStableDecaySchedule():
            shape = _stable_then_decaying(schedule, step, num_steps)
    return schedule.min_learning_rate_fraction + (1.0 - schedule.min_learning_rate_fraction) * shape


def _half_cosine(progress: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def _stable_then_decaying(schedule: WarmupStableDecaySchedule, step: int, num_steps: int) -> float:
    decayed = step - (num_steps - schedule.decay_steps)
    if decayed < 0 or schedule.decay_steps == 0:
        return 1.0
    progress = decayed / schedule.decay_steps
    match schedule.decay:
        case "linear":
            return 1.0 - progress
        case "cosine":
            return _half_cosine(progress)
        case "one_minus_sqrt":
            return 1.0 - math.sqrt(progress)


def _reduced_on_plateaus(schedule: AdaptiveSchedule, losses: Iterable[float]) -> float:
    factor, best, num_without = 1.0, math.inf, 0
    for loss in losses:
        if loss < best * (1.0 - schedule.min_improvement):
            best, num_without = loss, 0
            continue
        num_without += 1
        if num_without == schedule.patience_evaluations:
            factor, num_without = factor * schedule.reduction_factor, 0
    return max(factor, schedule.min_learning_rate_fraction)
