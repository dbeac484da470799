"""Parameters of supervised fine-tuning."""

from typing import Literal

from pydantic import Field

from forgeline.training.params.optimization import BatchedParams
from forgeline.training.params.peft import PeftParams


class SftParams(BatchedParams):
    """Section `sft`.

    Attributes:
        peft: What is trained.
        truncation: What happens to a conversation of more than `max_length` tokens: `drop` leaves it out, `answer_end`
            cuts the end of the last answer that begins in time, `oldest_turns` leaves out its first exchanges. A cut
            never takes the header of an answer, and a cut answer is not taught to end.
        packing: Whether rows of up to `max_length` tokens hold several conversations, which do not see each other.
        assistant_only_loss: Whether only what the assistant says is learned, or every token of a chat.
        neftune_alpha: Noise on the embeddings while training, uniform up to alpha / sqrt(tokens x hidden size) (Jain et
            al. 2023); null is none.
        final_weights: Which become the model: the last, or the best by validation loss.
        eval_conversations: Validation conversations the loss is watched on, the same ones each time.
        sample_conversations: How many of them are answered before and after training, for the report.
        sample_tokens: Most tokens of such an answer.
    """

    peft: PeftParams
    truncation: Literal["drop", "answer_end", "oldest_turns"]
    packing: bool
    assistant_only_loss: bool
    neftune_alpha: float | None = Field(gt=0)
    final_weights: Literal["last", "best"]
    eval_conversations: int = Field(ge=1)
    sample_conversations: int = Field(ge=0)
    sample_tokens: int = Field(ge=1)
