"""Parameters of the reward model."""

from pydantic import Field

from forgeline.training.params.optimization import BatchedParams


class RewardParams(BatchedParams):
    """Section `reward`: all weights of the instruction-tuned model and a new scalar head are trained.

    Attributes:
        margin_weight: How many units of reward one unit of a pair's margin is worth (Touvron et al. 2023, Llama 2,
            eq. 2); 0 ignores margins. A pair without a margin counts as one of 0.
    """

    margin_weight: float = Field(ge=0)
