r"""Turns of a dialogue, however a row of preference data writes them: messages, or text such as "\n\nHuman: Hi".

Messages are `{"role": ..., "content": ...}` or, as in ShareGPT, `{"from": ..., "value": ...}`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from forgeline.core.records import Message
from forgeline.sources.formats.records import Where
from forgeline.sources.preference_formats.problems import RowProblem

ROLES = ("system", "user", "assistant", "function_call", "observation")
_ALIASES = {"human": "user", "gpt": "assistant", "bot": "assistant", "tool": "observation"}
_SPEAKERS = {"Human": "user", "Assistant": "assistant"}
_SPEAKER = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")


def is_transcript(value: Any) -> bool:
    """Whether a value is text of turns that begins with what a human says."""
    found = _SPEAKER.match(value) if isinstance(value, str) else None
    return found is not None and found[1] == "Human"


def transcript_turns(text: str, field: str, where: Where) -> list[Message]:
    """The turns of a transcript, which must alternate, human first and assistant last; the last may be empty.

    Raises:
        RowProblem: They do not, or one before the last is empty.
    """
    marks = list(_SPEAKER.finditer(text))
    if not is_transcript(text):
        text = "does not begin with 'Human:': write turns as \"\\n\\nHuman: ...\\n\\nAssistant: ...\""
        raise RowProblem("wrong_type", where, field, text)
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    turns = [
        {"role": _SPEAKERS[mark[1]], "content": text[mark.end() : end].strip()}
        for mark, end in zip(marks, ends, strict=True)
    ]
    for place, (turn, speaker) in enumerate(zip(turns, ["user", "assistant"] * len(turns), strict=False), start=1):
        if turn["role"] != speaker:
            text = f"turn {place} is the {turn['role']}'s like the one before it: join the two, or remove the row"
            raise RowProblem("role_order", where, field, text)
        if not turn["content"] and place < len(turns):
            raise RowProblem("empty", where, field, f"turn {place} is empty: write text into it or remove the row")
    if turns[-1]["role"] != "assistant":
        raise RowProblem("role_order", where, field, "ends with the human's turn: it must end with an answer")
    return turns


def messages(value: Any, field: str, where: Where) -> list[Message]:
    """A list of messages with our role names; a text is what a user says.

    Raises:
        RowProblem: It is something else, or a message has no known role or no text.
    """
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    if not isinstance(value, list) or not value:
        raise RowProblem("wrong_type", where, field, "is neither a text nor a list of messages: correct it")
    return [_message(item, f"{field}[{place}]", where) for place, item in enumerate(value)]


def check_prompt(prompt: Sequence[Message], where: Where) -> None:
    """Raises `RowProblem` unless turns alternate, have text, and end where the assistant is to speak."""
    for place, message in enumerate(prompt, start=1):
        role = message["role"]
        if not message["content"].strip():
            raise RowProblem("empty", where, "prompt", f"turn {place} is empty: write text into it or remove the row")
        if role == "system" and place > 1:
            raise RowProblem(
                "role_order", where, "prompt", f"turn {place} is the system's: it can only be the first, move it"
            )
        if place > 1 and role == prompt[place - 2]["role"]:
            raise RowProblem(
                "role_order", where, "prompt", f"turns {place - 1} and {place} are both the {role}'s: join them"
            )
    if not prompt or prompt[-1]["role"] not in ("user", "observation"):
        raise RowProblem(
            "role_order", where, "prompt", "does not end with the user's turn: the answers have to follow on it"
        )


def answer_text(value: Any, prompt: Sequence[Message], field: str, where: Where) -> str:
    """An answer given as text, as one message, or as messages that may repeat the prompt first.

    Raises:
        RowProblem: It is something else, or the messages after the prompt are not one of the assistant.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        value = [value]
    turns = messages(value, field, where)
    if list(turns[: len(prompt)]) == list(prompt):
        turns = turns[len(prompt) :]
    if [turn["role"] for turn in turns] != ["assistant"]:
        roles = ", ".join(turn["role"] for turn in turns) or "nothing"
        text = f"should be one answer of the assistant after the prompt, has {roles}: correct it"
        raise RowProblem("role_order", where, field, text)
    return turns[0]["content"]


def _message(item: Any, field: str, where: Where) -> Message:
    values = item if isinstance(item, Mapping) else {}
    role, content = values.get("role", values.get("from")), values.get("content", values.get("value"))
    role = _ALIASES.get(role, role) if isinstance(role, str) else role
    if role not in ROLES:
        known = ", ".join((*ROLES, *_ALIASES))
        raise RowProblem("unknown_role", where, field, f"has the role {role!r}, which is none of {known}: correct it")
    if not isinstance(content, str):
        raise RowProblem("wrong_type", where, field, "has no text as content: write it or remove the row")
    return {"role": role, "content": content}
