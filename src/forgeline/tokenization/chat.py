"""The one renderer of chats. Training, evaluation, generation and serving all get their token ids here.

The tokenizer's own Jinja template turns a chat into text and marks, with `{% generation %}`, what the assistant says:
content and end-of-turn token. The text is cut at those marks and each piece encoded by itself. So the ids before an
answer never depend on the answer, whatever it starts with: what inference feeds is a prefix of what training saw.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import render_jinja_template

from forgeline.core.errors import DataError
from forgeline.core.records import Message


@dataclass(frozen=True)
class RenderedChat:
    """Token ids of a chat and, for each, 1 where the assistant speaks (its end-of-turn token included), else 0."""

    input_ids: list[int]
    assistant_mask: list[int]


def render_prompt(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """Ids of the turns so far and of the header after which the assistant speaks."""
    return _render(tokenizer, messages, add_generation_prompt=True).input_ids


def render_conversation(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> RenderedChat:
    """Ids of a whole chat, ending right after the last assistant turn's end-of-turn token.

    What the template writes after that token (a newline, say) is cut: the model stops there and never sees it.

    Raises:
        DataError: The template marks no assistant part, so there would be nothing to learn.
    """
    chat = _render(tokenizer, messages, add_generation_prompt=False)
    if 1 not in chat.assistant_mask:
        raise DataError(
            "the chat template marks no assistant tokens: add {% generation %} ... {% endgeneration %} around the "
            "assistant's turn in its file under src/forgeline/tokenization/templates"
        )
    end = len(chat.assistant_mask) - chat.assistant_mask[::-1].index(1)
    return RenderedChat(chat.input_ids[:end], chat.assistant_mask[:end])


def stop_token_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The ids at which generation stops: end of turn and end of document, in ascending order."""
    return sorted({tokenizer.eos_token_id, tokenizer.bos_token_id} - {None})


def _render(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], add_generation_prompt: bool
) -> RenderedChat:
    texts, spans = render_jinja_template(
        conversations=[list(messages)],
        chat_template=tokenizer.get_chat_template(),
        return_assistant_tokens_mask=True,
        add_generation_prompt=add_generation_prompt,
        **tokenizer.special_tokens_map,
    )
    text = texts[0]
    ids: list[int] = []
    mask: list[int] = []
    position = 0
    for start, end in [*spans[0], (len(text), len(text))]:
        for piece, spoken in ((text[position:start], 0), (text[start:end], 1)):
            piece_ids = tokenizer.encode(piece, add_special_tokens=False)
            ids += piece_ids
            mask += [spoken] * len(piece_ids)
        position = end
    return RenderedChat(ids, mask)
