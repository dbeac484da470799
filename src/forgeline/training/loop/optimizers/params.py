"""Parameters of the optimizers: a choice by `name`, and each choice has its own knobs only.

Weight decay is decoupled from the gradient everywhere: a step shrinks weights by `learning_rate` x `weight_decay`. It
acts on matrices and embeddings, never on vectors (norms, biases). docs/reference.md lists what each paper proposes.
"""

from typing import Annotated, Literal

from pydantic import Field

from forgeline.core.params import Section

Fraction = Annotated[float, Field(ge=0, lt=1)]
Betas = Annotated[list[Fraction], Field(min_length=2, max_length=2)]


class _Common(Section):
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)


class AdamWParams(_Common):
    """AdamW (Loshchilov & Hutter 2019, algorithm 2).

    Attributes:
        learning_rate: Peak of the schedule.
        betas: Decay rates of the gradient's mean and of its square's.
        epsilon: Added to the root of the mean square.
        weight_decay: Decoupled weight decay.
    """

    name: Literal["adamw"]
    betas: Betas
    epsilon: float = Field(gt=0)


class AdafactorParams(_Common):
    """Adafactor (Shazeer & Stern 2018, algorithms 4 and 5): the second moment of a matrix is kept by row and column.

    The step is relative: its size is the parameter's own root mean square times min(`learning_rate`, 1 / sqrt(step)).

    Attributes:
        learning_rate: Peak of the schedule; the paper's largest relative step is 0.01.
        beta2_decay: The second moment decays at 1 - step^beta2_decay.
        epsilon: Least root of the second moment; squared, it is the paper's first regularization constant.
        min_scale: Least root mean square that a parameter's step is relative to, the paper's second constant.
        clip_threshold: Largest root mean square of an update before it is scaled.
        weight_decay: Decoupled weight decay.
    """

    name: Literal["adafactor"]
    beta2_decay: float = Field(lt=0)
    epsilon: float = Field(ge=1e-18)  # its square has to be a float32
    min_scale: float = Field(gt=0)
    clip_threshold: float = Field(ge=1)


class LionParams(_Common):
    """Lion (Chen et al. 2023, algorithm 2): the sign of interpolated momentum, so every entry moves equally far.

    Attributes:
        learning_rate: Peak of the schedule; the paper advises a third to a tenth of AdamW's.
        betas: Decay rates of the interpolation whose sign is taken and of the momentum.
        weight_decay: Decoupled weight decay; the paper advises three to ten times AdamW's.
    """

    name: Literal["lion"]
    betas: Betas


class SophiaParams(_Common):
    """Sophia-G (Liu et al. 2023, algorithms 2 and 3): momentum over an estimated diagonal of the Hessian, clipped to 1.

    Attributes:
        learning_rate: Peak of the schedule, and the farthest that an entry moves in a step.
        betas: Decay rates of the momentum and of the Hessian estimate.
        gamma: Scale of the Hessian estimate: the larger, the fewer entries are clipped; half of them is a good share.
        epsilon: Least scaled Hessian that the momentum is divided by.
        hessian_every_steps: How often the Hessian is estimated, each time at the cost of a forward and backward pass.
        weight_decay: Decoupled weight decay.
    """

    name: Literal["sophia"]
    betas: Betas
    gamma: float = Field(gt=0)
    epsilon: float = Field(gt=0)
    hessian_every_steps: int = Field(ge=1)


class MuonParams(_Common):
    """Muon (Jordan et al. 2024) for hidden matrices; AdamW for embeddings, the output head and vectors.

    Attributes:
        learning_rate: Peak of AdamW's schedule.
        muon_learning_rate: Peak of Muon's schedule.
        momentum: Decay rate of Muon's Nesterov momentum.
        betas: AdamW's decay rates.
        epsilon: AdamW's, added to the root of the mean square.
        weight_decay: Decoupled weight decay of both.
    """

    name: Literal["muon"]
    muon_learning_rate: float = Field(gt=0)
    momentum: Fraction
    betas: Betas
    epsilon: float = Field(gt=0)


OptimizerParams = Annotated[
    AdamWParams | AdafactorParams | LionParams | SophiaParams | MuonParams, Field(discriminator="name")
]
