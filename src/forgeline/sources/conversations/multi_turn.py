"""Conversations of many turns, each `{"role": ..., "content": ...}` or ShareGPT's `{"from": ..., "value": ...}`.

A system prompt may be the first turn or a field of its own, tool definitions are a field. OpenAI's way to write tools
is read too: `tool_calls` of an assistant's turn become a function call, role `tool` is an observation, and a content
that is a list of text parts is joined.
"""

from dataclasses import dataclass
from typing import Any

from forgeline.core.records import Message
from forgeline.sources.conversations.problems import RecordProblem
from forgeline.sources.conversations.roles import ALIASES, check_turns, role_named
from forgeline.sources.conversations.tool_texts import call_text, openai_calls_text, tools_text

Chat = tuple[list[Message], str]  # turns, and tool definitions as JSON text
_PLAIN = ("user", "assistant", "system")
WITHOUT_PROMPT = "text"  # value of the field `format` of a converted record whose only turn is a text to learn


@dataclass(frozen=True)
class MultiTurn:
    """Makes one chat of each record; the attributes are names of its fields, `role` and `content` those of a turn."""

    turns: str
    role: str
    content: str
    system: str
    tools: str

    def chat(self, row: dict[str, Any]) -> Chat:
        """The conversation of a record.

        Raises:
            RecordProblem: It is not one to learn from.
        """
        turns = row.get(self.turns)
        if not isinstance(turns, list):
            raise missing_or_wrong(row, self.turns, "a list of turns")
        role, content = self.role, self.content
        messages: list[Message] = []
        for turn in turns:
            # Nearly all turns are plain text; the rest is read, and mistakes are named, by the slower way.
            if (
                type(turn) is dict
                and type(name := turn.get(role)) is str
                and type(text := turn.get(content)) is str
                and (known := ALIASES.get(name)) in _PLAIN
                and "tool_calls" not in turn
            ):
                messages.append({"role": known, "content": text})
            else:
                messages.append(self._message(turn, len(messages)))
        first = 0
        if messages and messages[0]["role"] == "system" and not messages[0]["content"].strip():
            del messages[0]  # a blank one is how tables write "none"
            first = 1
        if row.get(self.system):
            first -= self._insert_system(row, messages)
        is_text = row.get("format") == WITHOUT_PROMPT and [message["role"] for message in messages] == ["assistant"]
        if not is_text or not messages[0]["content"].strip():
            check_turns(messages, self.turns, self.content, first)
        return messages, tools_text(row.get(self.tools), self.tools)

    def _insert_system(self, row: dict[str, Any], messages: list[Message]) -> int:
        """Puts the system prompt of the record's field before its turns; how many messages that adds."""
        system = row[self.system]
        if not isinstance(system, str):
            raise missing_or_wrong(row, self.system, "text")
        if not system.strip() or (messages and messages[0] == {"role": "system", "content": system}):
            return 0
        if messages and messages[0]["role"] == "system":
            raise RecordProblem("role_order", self.system, "a second system prompt beside the first turn's: keep one")
        messages.insert(0, {"role": "system", "content": system})
        return 1

    def _message(self, turn: Any, place: int) -> Message:
        field = f"{self.turns}[{place}]"
        if not isinstance(turn, dict):
            raise RecordProblem("wrong_type", field, f"expected an object with {self.role} and {self.content}")
        if self.role not in turn:
            raise RecordProblem(
                "missing_field", f"{field}.{self.role}", f"missing (the turn has {_listed(turn)}): add it"
            )
        role = role_named(turn[self.role], f"{field}.{self.role}")
        content = turn.get(self.content)
        if role == "assistant" and turn.get("tool_calls"):
            return self._call(turn, content, field)
        if role == "function_call" and isinstance(content, dict | list):
            return {"role": role, "content": call_text(content, f"{field}.{self.content}")}
        if isinstance(content, list):
            content = _joined(content, f"{field}.{self.content}")
        if not isinstance(content, str):
            raise missing_or_wrong(turn, self.content, "text", f"{field}.")
        if role == "function_call" and content.strip():
            call_text(content, f"{field}.{self.content}")
        return {"role": role, "content": content}

    def _call(self, turn: dict[str, Any], content: Any, field: str) -> Message:
        if isinstance(content, str) and content.strip():
            raise RecordProblem(
                "tools",
                field,
                "says something and calls a tool in one turn, after which the model would stop: keep one of the two",
            )
        if not isinstance(turn["tool_calls"], list):
            raise RecordProblem("wrong_type", f"{field}.tool_calls", "expected a list of calls")
        return {"role": "function_call", "content": openai_calls_text(turn["tool_calls"], f"{field}.tool_calls")}


def missing_or_wrong(row: dict[str, Any], field: str, expected: str, prefix: str = "") -> RecordProblem:
    """The problem of a field that is not there, or holds something else than expected."""
    if row.get(field) is None:
        return RecordProblem("missing_field", f"{prefix}{field}", f"missing (found {_listed(row)}): add it, {expected}")
    spelled = {
        str: "text",
        list: "a list",
        dict: "an object",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    found = spelled.get(type(row[field]), type(row[field]).__name__)
    return RecordProblem("wrong_type", f"{prefix}{field}", f"holds {found}, expected {expected}: correct it")


def _joined(parts: list[Any], field: str) -> str:
    """The text of a content that is a list of parts, as multimodal data write it."""
    texts = []
    for place, part in enumerate(parts):
        text = part.get("text") if isinstance(part, dict) and part.get("type", "text") == "text" else None
        if not isinstance(text, str):
            raise RecordProblem("wrong_type", f"{field}[{place}]", "no text part: pictures and sound cannot be learned")
        texts.append(text)
    return "".join(texts)


def _listed(row: dict[str, Any]) -> str:
    return ", ".join(sorted(map(str, row))[:12]) or "nothing"
