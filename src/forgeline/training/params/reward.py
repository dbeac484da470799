"""Parameters of the reward model."""

from forgeline.training.params.optimization import BatchedParams


class RewardParams(BatchedParams):
    """Section `reward`: all weights of the instruction-tuned model and a new scalar head are trained."""
