"""What the tasks share in which the model writes its answer."""

from collections.abc import Sequence
from dataclasses import dataclass

from forgeline.core.records import Message
from forgeline.evaluation.tasks.base import Subject
from forgeline.inference.engine import generate
from forgeline.tokenization.chat import render_prompt, stop_token_ids


@dataclass(frozen=True)
class Written:
    """What the model wrote: the prompt as it read it, the answer, and the tokens of the answer with its end."""

    prompt: str
    output: str
    num_output_tokens: int


def write_answers(
    subject: Subject,
    prompts: Sequence[Sequence[Message]],
    max_new_tokens: int,
    batch_tokens: int,
    tools: Sequence[str] | None = None,
) -> list[Written]:
    """Greedy answers to chats, in their order.

    Args:
        subject: Model and tokenizer.
        prompts: The turns before each answer.
        max_new_tokens: Most tokens of an answer.
        batch_tokens: Padded tokens of one forward pass.
        tools: Of each prompt, JSON text of the tool definitions or empty; None where no prompt has any.
    """
    tokenizer = subject.tokenizer
    offered = [""] * len(prompts) if tools is None else tools
    rendered = [render_prompt(tokenizer, messages, tools) for messages, tools in zip(prompts, offered, strict=True)]
    answers = generate(
        subject.model,
        rendered,
        max_new_tokens=max_new_tokens,
        stop_token_ids=stop_token_ids(tokenizer),
        pad_token_id=int(tokenizer.pad_token_id),
        temperature=0.0,
        generator=None,
        batch_tokens=batch_tokens,
    )
    return [
        Written(
            str(tokenizer.decode(ids)),
            str(tokenizer.decode(answer.output_ids, skip_special_tokens=True)),
            len(answer.output_ids),
        )
        for ids, answer in zip(rendered, answers, strict=True)
    ]
