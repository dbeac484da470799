"""Parameters of the learning-rate schedules: a choice by `name`, and each choice has its own knobs only.

Steps are optimizer steps, whatever the accumulation. Every schedule rises linearly over `warmup_steps` first.
"""

from typing import Annotated, Literal

from pydantic import Field

from forgeline.core.params import Section


class _Warmed(Section):
    warmup_steps: int = Field(ge=0)


class _Decaying(_Warmed):
    min_learning_rate_fraction: float = Field(ge=0, le=1)


class ConstantSchedule(_Warmed):
    """The peak to the end.

    Attributes:
        warmup_steps: Steps of linear rise.
    """

    name: Literal["constant"]


class LinearSchedule(_Decaying):
    """A straight line down.

    Attributes:
        warmup_steps: Steps of linear rise.
        min_learning_rate_fraction: Where it ends, relative to the peak.
    """

    name: Literal["linear"]


class CosineSchedule(_Decaying):
    """Half a cosine down (Loshchilov & Hutter 2017, without restarts).

    Attributes:
        warmup_steps: Steps of linear rise.
        min_learning_rate_fraction: Where it ends, relative to the peak.
    """

    name: Literal["cosine"]


class PolynomialSchedule(_Decaying):
    """A power of the time left.

    Attributes:
        warmup_steps: Steps of linear rise.
        min_learning_rate_fraction: Where it ends, relative to the peak.
        power: 1 is linear; more falls fast first.
    """

    name: Literal["polynomial"]
    power: float = Field(gt=0)


class WarmupStableDecaySchedule(_Decaying):
    """The peak until the last `decay_steps` (Hu et al. 2024), so that a longer run can start from any stable step.

    Attributes:
        warmup_steps: Steps of linear rise.
        decay_steps: Steps of the fall at the end; 10 to 20 % of the run is usual (Hägele et al. 2024).
        decay: Shape of the fall; `one_minus_sqrt` did best in Hägele et al. 2024.
        min_learning_rate_fraction: Where it ends, relative to the peak.
    """

    name: Literal["warmup_stable_decay"]
    decay_steps: int = Field(ge=0)
    decay: Literal["linear", "cosine", "one_minus_sqrt"]


class AdaptiveSchedule(_Decaying):
    """Reduced whenever the validation loss stops falling, measured every `eval_every_steps` after warmup.

    Attributes:
        warmup_steps: Steps of linear rise.
        min_learning_rate_fraction: What it is never reduced below, relative to the peak.
        reduction_factor: What the rate is multiplied with.
        patience_evaluations: How many measurements in a row without improvement bring a reduction.
        min_improvement: By which fraction of the best loss so far a loss must be lower to be an improvement.
    """

    name: Literal["adaptive"]
    reduction_factor: float = Field(gt=0, lt=1)
    patience_evaluations: int = Field(ge=1)
    min_improvement: float = Field(ge=0, lt=1)


Schedule = Annotated[
    ConstantSchedule
    | LinearSchedule
    | CosineSchedule
    | PolynomialSchedule
    | WarmupStableDecaySchedule
    | AdaptiveSchedule,
    Field(discriminator="name"),
]


def schedule_to_zero(name: Literal["constant", "linear", "cosine"], warmup_steps: int) -> Schedule:
    """The schedule that the alignment stages name by one word; linear and cosine end at 0."""
    if name == "constant":
        return ConstantSchedule(name=name, warmup_steps=warmup_steps)
    if name == "linear":
        return LinearSchedule(name=name, warmup_steps=warmup_steps, min_learning_rate_fraction=0.0)
    return CosineSchedule(name=name, warmup_steps=warmup_steps, min_learning_rate_fraction=0.0)
