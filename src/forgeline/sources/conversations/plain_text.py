"""Plain text: a transcript whose lines name who speaks, or a text that is learned as a whole."""

import re
from dataclasses import dataclass
from typing import Any

from forgeline.core.records import Message
from forgeline.sources.conversations.multi_turn import Chat, missing_or_wrong
from forgeline.sources.conversations.problems import RecordProblem
from forgeline.sources.conversations.roles import check_turns

LABELS = {
    "system": "system",
    "user": "user",
    "human": "user",
    "question": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "answer": "assistant",
    "function call": "function_call",
    "observation": "observation",
}
_LABEL = re.compile(rf"^({'|'.join(LABELS)}):[ \t]*", re.IGNORECASE | re.MULTILINE)


def is_transcript(text: str) -> bool:
    """Whether a text begins with a label such as `User:` and goes on with an assistant's."""
    labels = [LABELS[match[1].lower()] for match in _LABEL.finditer(text.strip())]
    return "assistant" in labels[1:] and _LABEL.match(text.strip()) is not None


@dataclass(frozen=True)
class Transcript:
    """Makes one chat of each text: a line that begins with a label begins a turn, which goes on up to the next one."""

    text: str

    def chat(self, row: dict[str, Any]) -> Chat:
        """The conversation of a record.

        Raises:
            RecordProblem: It is not one to learn from.
        """
        text = row.get(self.text)
        if not isinstance(text, str):
            raise missing_or_wrong(row, self.text, "text")
        text = text.strip()
        found = list(_LABEL.finditer(text))
        if not found or found[0].start():
            labels = ", ".join(f"{label.capitalize()}:" for label in LABELS)
            raise RecordProblem("role_order", self.text, f"does not begin with a label: write one of {labels}")
        ends = [match.start() for match in found[1:]] + [len(text)]
        messages: list[Message] = [
            {"role": LABELS[match[1].lower()], "content": text[match.end() : end].strip()}
            for match, end in zip(found, ends, strict=True)
        ]
        check_turns(messages, self.text, "content")
        return messages, ""


@dataclass(frozen=True)
class WholeText:
    """Makes one chat of each text, in which the assistant says all of it unasked."""

    text: str

    def chat(self, row: dict[str, Any]) -> Chat:
        """The conversation of a record.

        Raises:
            RecordProblem: It is not one to learn from.
        """
        text = row.get(self.text)
        if not isinstance(text, str):
            raise missing_or_wrong(row, self.text, "text")
        if not text.strip():
            raise RecordProblem("empty", self.text, "blank: write text or remove the record")
        return [{"role": "assistant", "content": text}], ""
