"""The one renderer of chats. Training, evaluation, generation and serving all get their token ids here.

The tokenizer's own Jinja template turns a chat into text and marks, with `{% generation %}`, what the assistant says:
content and end-of-turn token. The text is cut at those marks and each piece encoded by itself. So the ids before an
answer never depend on the answer, whatever it starts with: what inference feeds is a prefix of what training saw.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import render_jinja_template

from forgeline.core.errors import DataError
from forgeline.core.records import Message
from forgeline.tokenization.template import TemplateFacts, facts_of

CALL, OBSERVATION = "function_call", "observation"  # roles of records; templates know them as tool_calls and tool


@dataclass(frozen=True)
class RenderedChat:
    """Token ids of a chat and, for each, 1 where the assistant speaks (its end-of-turn token included), else 0."""

    input_ids: list[int]
    assistant_mask: list[int]


def render_prompt(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], tools: str = "") -> list[int]:
    """Ids of the turns so far and of the header after which the assistant speaks.

    Args:
        tokenizer: With its chat template.
        messages: Turns; a function call's content is JSON text with `name` and `arguments`, or a list of such.
        tools: JSON text of a list of tool definitions; empty when there are none.

    Raises:
        DataError: The template cannot render a role, tools or this order of turns.
    """
    return _render(tokenizer, messages, tools, add_generation_prompt=True).input_ids


def render_conversation(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], tools: str = ""
) -> RenderedChat:
    """Ids of a whole chat, ending right after the last assistant turn's end-of-turn token.

    What the template writes after that token (a newline, say) is cut: the model stops there and never sees it.

    Raises:
        DataError: The template marks no assistant part, so there would be nothing to learn; or as `render_prompt`.
    """
    chat = _render(tokenizer, messages, tools, add_generation_prompt=False)
    if 1 not in chat.assistant_mask:
        raise DataError(
            "the chat template marks no assistant tokens: add {% generation %} ... {% endgeneration %} around the "
            "assistant's turn in its file under src/forgeline/tokenization/templates"
        )
    end = len(chat.assistant_mask) - chat.assistant_mask[::-1].index(1)
    return RenderedChat(chat.input_ids[:end], chat.assistant_mask[:end])


def stop_token_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The ids at which generation stops, in ascending order.

    They are those of the end of turn, of the end of document, and what else the template names.
    """
    stops = {tokenizer.eos_token_id, tokenizer.bos_token_id}
    if tokenizer.chat_template is not None:
        vocabulary = tokenizer.get_vocab()
        stops |= {vocabulary.get(token) for token in facts_of(tokenizer.get_chat_template()).stop_tokens}
    return sorted(stops - {None})


def _render(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], tools: str, add_generation_prompt: bool
) -> RenderedChat:
    template = tokenizer.get_chat_template()
    facts = facts_of(template)
    turns = _turns(messages, facts)
    try:
        texts, spans = render_jinja_template(
            conversations=[turns],
            tools=_tools(tools, facts),
            chat_template=template,
            return_assistant_tokens_mask=True,
            add_generation_prompt=add_generation_prompt,
            **tokenizer.special_tokens_map,
        )
    except TemplateError as error:
        raise DataError(f"the chat template cannot render a conversation: {error}: correct the record") from None
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


def _turns(messages: Sequence[Message], facts: TemplateFacts) -> list[dict[str, Any]]:
    """The messages as templates of Hugging Face models expect them."""
    turns = [_turn(message, facts) for message in messages]
    for turn in turns:
        if facts.roles is not None and turn["role"] not in facts.roles:
            raise DataError(
                f"the chat template has no role '{turn['role']}', only {', '.join(facts.roles)}: take such turns out, "
                "or set tokenizer.chat_template to one that has it (docs/templates.md)"
            )
    return turns


def _turn(message: Message, facts: TemplateFacts) -> dict[str, Any]:
    if message["role"] == OBSERVATION:
        return {"role": "tool" if facts.calls else OBSERVATION, "content": message["content"]}
    if message["role"] != CALL:
        return dict(message)
    if facts.calls is None:
        raise DataError(
            "the chat template cannot render function calls: set tokenizer.chat_template to one that can, qwen or "
            "llama3 for instance (docs/templates.md), or take them out"
        )
    calls = _json(message["content"], "a function call")
    calls = calls if isinstance(calls, list) else [calls]
    functions = []
    for call in calls:
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            raise DataError(f"a function call has no name: {message['content'][:80]!r}: write name and arguments")
        arguments = call.get("arguments", {})
        if facts.calls == "text" and not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        functions.append({"type": "function", "function": {"name": call["name"], "arguments": arguments}})
    return {"role": "assistant", "content": "", "tool_calls": functions}


def _tools(tools: str, facts: TemplateFacts) -> list[Any] | None:
    if not tools:
        return None
    if not facts.takes_tools:
        raise DataError(
            "the chat template has no place for tool definitions: set tokenizer.chat_template to one that has, qwen or "
            "llama3 for instance (docs/templates.md), or take `tools` out of the records"
        )
    definitions = _json(tools, "`tools`")
    return definitions if isinstance(definitions, list) else [definitions]


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise DataError(f"{what} is not JSON: {text[:80]!r}: correct the record") from None
