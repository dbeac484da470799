"""Parameters of supervised fine-tuning."""

from typing import Literal

from pydantic import Field

from forgeline.training.params.lora import LoraParams
from forgeline.training.params.optimization import BatchedParams


class SftParams(BatchedParams):
    """Section `sft`.

    Attributes:
        peft: `none` trains all weights, `lora` an adapter on the base model.
        lora: The adapter; only read with `peft: lora`.
        assistant_only_loss: Whether only what the assistant says is learned, or every token of a chat.
        eval_conversations: Validation conversations the loss is watched on, the same ones each time.
    """

    peft: Literal["none", "lora"]
    lora: LoraParams
    assistant_only_loss: bool
    eval_conversations: int = Field(ge=1)
