"""Parameters of Kahneman-Tversky optimization."""

from typing import Literal

from pydantic import Field, model_validator

from forgeline.training.trl.params import AlignmentParams


class KtoParams(AlignmentParams):
    """Section `align.<name>` with `method: kto`. A record is one answer: each pair gives two.

    Attributes:
        method: Chooses this section.
        beta: How fast the value of a reward saturates, and how dear it is to move away from the reference.
        desirable_weight: λ_D, of desirable answers (Ethayarajh et al. 2024, eq. 8).
        undesirable_weight: λ_U, of undesirable ones.
    """

    method: Literal["kto"]
    beta: float = Field(gt=0)
    desirable_weight: float = Field(gt=0)
    undesirable_weight: float = Field(gt=0)

    @model_validator(mode="after")
    def _answers_to_compare_with(self) -> "KtoParams":
        if self.micro_batch_size < 2:
            raise ValueError(
                "micro_batch_size 1 leaves no other answer to estimate the divergence from: make it 2 or more"
            )
        return self
