"""What the tasks share in which the model writes its answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel

from forgeline.core.records import Message
from forgeline.evaluation.tasks.base import Subject
from forgeline.inference.engine import PackedModel, generate
from forgeline.inference.packed import PackedLlama, is_packable
from forgeline.tokenization.chat import render_prompt, stop_token_ids


@dataclass(frozen=True)
class Written:
    """What the model wrote: the prompt as it read it, the answer, and the ids of the answer with its end."""

    prompt: str
    output: str
    output_ids: list[int]

    @property
    def num_output_tokens(self) -> int:
        """Tokens of the answer, its end included."""
        return len(self.output_ids)


def write_answers(
    subject: Subject,
    prompts: Sequence[Sequence[Message]],
    max_new_tokens: int,
    batch_tokens: int,
    tools: Sequence[str] = (),
) -> list[Written]:
    """Greedy answers to chats, in their order.

    Args:
        subject: Model and tokenizer.
        prompts: The turns before each answer.
        max_new_tokens: Most tokens of an answer.
        batch_tokens: Padded tokens of one forward pass.
        tools: JSON text of each chat's tool definitions; none if no chat has any.
    """
    tokenizer = subject.tokenizer
    rendered = [
        render_prompt(tokenizer, messages, defined)
        for messages, defined in zip(prompts, tools or [""] * len(prompts), strict=True)
    ]
    model = _for_writing(subject.model)

    def write(rows: list[int]) -> list[Any]:
        answers = generate(
            model,
            [rendered[row] for row in rows],
            max_new_tokens=max_new_tokens,
            stop_token_ids=stop_token_ids(tokenizer),
            pad_token_id=int(tokenizer.pad_token_id),
            temperature=0.0,
            generator=None,
            batch_tokens=batch_tokens,
        )
        return [answer.output_ids for answer in answers]

    lengths = [len(ids) + max_new_tokens for ids in rendered]
    answers = subject.work.by_length(lengths, batch_tokens, write, num_tokens=len)
    return [
        Written(str(tokenizer.decode(ids)), str(tokenizer.decode(answer, skip_special_tokens=True)), answer)
        for ids, answer in zip(rendered, answers, strict=True)
    ]


def _for_writing(model: PreTrainedModel) -> PreTrainedModel | PackedModel:
    """A copy of a Llama in the layout that writes fastest, in the same precision; other models as they are."""
    quantized = getattr(model.config, "quantization_config", None) is not None  # its layers have no plain matrices
    if isinstance(model, PeftModel) or quantized or not is_packable(model):
        return model
    return PackedLlama(model, model.dtype)
