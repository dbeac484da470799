"""What the methods that learn from preference pairs share."""

from pydantic import Field

from forgeline.training.params.lora import LoraParams
from forgeline.training.params.optimization import BatchedParams


class AlignmentParams(BatchedParams):
    """An adapter trained on preference pairs.

    Attributes:
        lora: The adapter that is trained; without it the model is the reference.
        max_new_tokens: Longest answer when policy and reference answer held-out prompts.
    """

    lora: LoraParams
    max_new_tokens: int = Field(ge=1)
