"""Parameters of direct preference optimization."""

from pydantic import Field

from forgeline.training.params.lora import LoraParams
from forgeline.training.params.optimization import BatchedParams


class DpoParams(BatchedParams):
    """Section `align.dpo`.

    Attributes:
        lora: The adapter that is trained; without it the model is the reference.
        beta: How dear it is to move away from the reference (Rafailov et al. 2023, eq. 7).
        sft_weight: Weight of the chosen answers' own loss, nats per token, beside the preference loss; without it both
            answers may become less likely (RPO, Pang et al. 2024, eq. 1).
        max_new_tokens: Longest answer when policy and reference answer the verifiable validation prompts.
    """

    lora: LoraParams
    beta: float = Field(gt=0)
    sft_weight: float = Field(ge=0)
    max_new_tokens: int = Field(ge=1)
