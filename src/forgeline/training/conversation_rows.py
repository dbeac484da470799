"""Conversations as token ids with labels, cut to length without losing an answer's beginning, and packed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerBase

from forgeline.core.errors import DataError
from forgeline.core.records import Conversation
from forgeline.tokenization.chat import RenderedChat, render_conversation
from forgeline.training.params.sft import SftParams
from forgeline.training.trl.held_out import IGNORED, Labelled

TOO_LONG, PROMPT_TOO_LONG = "too_long", "prompt_too_long"


@dataclass
class LabelledRows:
    """Conversations to train on.

    Attributes:
        rows: Their ids and labels, in order.
        dropped: How many were left out, by reason.
        num_truncated: How many of the rows were cut.
    """

    rows: list[Labelled] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    num_truncated: int = 0


def labelled(
    tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Conversation], params: SftParams
) -> LabelledRows:
    """The conversations as ids and labels of at most `max_length` tokens, in order.

    Labels are the ids of what the assistant says, end-of-turn tokens included, and -100 elsewhere; without
    `assistant_only_loss` they are all ids.

    Raises:
        DataError: None fits, or there are none.
    """
    found = LabelledRows()
    for conversation in conversations:
        chat = render_conversation(tokenizer, conversation.messages, conversation.tools)
        if len(chat.input_ids) > params.max_length:
            shorter = _shortened(tokenizer, conversation, chat, params)
            if shorter is None:
                reason = PROMPT_TOO_LONG if params.truncation == "answer_end" else TOO_LONG
                found.dropped[reason] += 1
                continue
            chat = shorter
            found.num_truncated += 1
        mask = chat.assistant_mask if params.assistant_only_loss else [1] * len(chat.input_ids)
        labels = [token if said else IGNORED for token, said in zip(chat.input_ids, mask, strict=True)]
        found.rows.append(Labelled(chat.input_ids, labels))
    if not found.rows:
        raise DataError(
            f"none of {len(conversations)} conversations fits into sft.max_length {params.max_length} tokens "
            f"(sft.truncation {params.truncation}): raise it"
        )
    return found


def _shortened(
    tokenizer: PreTrainedTokenizerBase, conversation: Conversation, chat: RenderedChat, params: SftParams
) -> RenderedChat | None:
    if params.truncation == "answer_end":
        return cut_answer(chat, params.max_length)
    if params.truncation == "oldest_turns":
        return _without_oldest_turns(tokenizer, conversation, params.max_length)
    return None


def cut_answer(chat: RenderedChat, max_length: int) -> RenderedChat | None:
    """The beginning of a chat up to the last token within `max_length` that the assistant says.

    So the header of an answer stays whole with at least one token of the answer, or goes with the whole turn. None when
    the first answer would begin too late.
    """
    mask = chat.assistant_mask[:max_length]
    if 1 not in mask:
        return None
    end = len(mask) - mask[::-1].index(1)
    return RenderedChat(chat.input_ids[:end], chat.assistant_mask[:end])


def _without_oldest_turns(
    tokenizer: PreTrainedTokenizerBase, conversation: Conversation, max_length: int
) -> RenderedChat | None:
    """The chat from the earliest question on with which it fits, after the system prompt; None if none does."""
    messages = conversation.messages
    system = [message for message in messages[:1] if message["role"] == "system"]
    questions = [place for place, message in enumerate(messages) if message["role"] == "user"]
    for start in questions[1:]:
        chat = render_conversation(tokenizer, [*system, *messages[start:]], conversation.tools)
        if len(chat.input_ids) <= max_length:
            return chat
    return None


def pack(rows: Sequence[Labelled], max_length: int) -> list[list[int]]:
    """Which rows share a packed row, by best fit in order of falling length; every row is in exactly one.

    Args:
        rows: Each of at most `max_length` tokens.
        max_length: Tokens that a packed row holds.

    Returns:
        Indices of rows for each packed row.
    """
    order = sorted(range(len(rows)), key=lambda index: (-len(rows[index].input_ids), index))
    packs: list[list[int]] = []
    room: list[list[int]] = [[] for _ in range(max_length + 1)]  # packs by the tokens that still fit in
    for index in order:
        length = len(rows[index].input_ids)
        left = next((left for left in range(length, max_length + 1) if room[left]), None)
        if left is None:
            packs.append([index])
            room[max_length - length].append(len(packs) - 1)
        else:
            chosen = room[left].pop()
            packs[chosen].append(index)
            room[left - length].append(chosen)
    return packs


def joined(rows: Sequence[Labelled]) -> tuple[Labelled, list[int]]:
    """Rows one after the other, and each token's position in its own row.

    The first token of a row has no label: what stands before it is another conversation.
    """
    ids: list[int] = []
    labels: list[int] = []
    positions: list[int] = []
    for row in rows:
        ids += row.input_ids
        labels += [IGNORED, *row.labels[1:]]
        positions += range(len(row.input_ids))
    return Labelled(ids, labels), positions
