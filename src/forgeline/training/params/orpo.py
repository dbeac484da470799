"""Parameters of odds ratio preference optimization."""

from typing import Literal

from pydantic import Field

from forgeline.training.trl.params import AlignmentParams


class OrpoParams(AlignmentParams):
    """Section `align.<name>` with `method: orpo`.

    Attributes:
        method: Chooses this section.
        odds_ratio_weight: λ, of the odds ratio beside the chosen answers' own loss (Hong et al. 2024, eq. 6).
    """

    method: Literal["orpo"]
    odds_ratio_weight: float = Field(gt=0)
