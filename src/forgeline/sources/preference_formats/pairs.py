"""Rows that hold a better and a worse answer, in four formats.

- `prompt`: `prompt` (text or messages), `chosen`, `rejected`.
- `question`: `question`, `response_chosen`, `response_rejected`, and perhaps `history`, a list of [question, answer].
- `conversations`: `conversations` (the messages before the answer), `chosen`, `rejected`.
- `transcripts`: `chosen`, `rejected`, each a whole dialogue, as messages or as text with "Human:" and "Assistant:"
  before the turns (see `turns`). The prompt is what they have in common.

Answers are texts, messages, or lists of messages that may repeat the prompt. A text `system` goes before any prompt.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from forgeline.core.records import Message
from forgeline.sources.formats.records import Where
from forgeline.sources.preference_formats.problems import RowProblem
from forgeline.sources.preference_formats.turns import (
    answer_text,
    check_prompt,
    is_transcript,
    messages,
    transcript_turns,
)

Row = Mapping[str, Any]
PARTED_EARLY = "parted_early"


@dataclass(frozen=True)
class Candidate:
    """Two answers to a prompt as a row has them; `reason` and `detail` say why it cannot be used, if it cannot."""

    prompt: list[Message]
    chosen: str
    rejected: str
    margin: float | None = None
    reason: str | None = None
    detail: str = ""


@dataclass(frozen=True)
class PairFormat:
    """A format of rows with two answers: its fields, whether a row that has them is in it, and how it is read."""

    fields: tuple[str, ...]
    matches: Callable[[Row], bool]
    read: Callable[[Row, Where], Candidate]


def missing_fields(row: Row, fields: tuple[str, ...]) -> list[str]:
    """The fields that a row does not have, or has as null."""
    return [field for field in fields if row.get(field) is None]


def require_fields(row: Row, fields: tuple[str, ...], name: str, where: Where) -> None:
    """Raises `RowProblem` with the names of fields that a row of the format `name` lacks."""
    missing = missing_fields(row, fields)
    if missing:
        found = ", ".join(row) or "nothing"
        text = f"missing: format {name} needs {', '.join(fields)} (the row has {found}): add it or remove the row"
        raise RowProblem("missing_field", where, ", ".join(missing), text)


def _read_prompt(row: Row, where: Where) -> Candidate:
    return _candidate(row, messages(row["prompt"], "prompt", where), "chosen", "rejected", where)


def _read_question(row: Row, where: Where) -> Candidate:
    prompt: list[Message] = []
    history = row.get("history") or []
    for place, pair in enumerate(history if isinstance(history, list) else [history]):
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise RowProblem("wrong_type", where, f"history[{place}]", "is not [question, answer]: correct it")
        prompt += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    if not isinstance(row["question"], str):
        raise RowProblem("wrong_type", where, "question", "is not a text: correct it")
    prompt.append({"role": "user", "content": row["question"]})
    return _candidate(row, prompt, "response_chosen", "response_rejected", where)


def _read_conversations(row: Row, where: Where) -> Candidate:
    return _candidate(row, messages(row["conversations"], "conversations", where), "chosen", "rejected", where)


def _candidate(row: Row, prompt: list[Message], chosen: str, rejected: str, where: Where) -> Candidate:
    system = row.get("system")
    if isinstance(system, str) and system.strip() and prompt[0]["role"] != "system":
        prompt = [{"role": "system", "content": system}, *prompt]
    check_prompt(prompt, where)
    answers = [answer_text(row[field], prompt, field, where) for field in (chosen, rejected)]
    return Candidate(prompt, answers[0], answers[1])


def _read_transcripts(row: Row, where: Where) -> Candidate:
    chosen, rejected = (_dialogue(row[field], field, where) for field in ("chosen", "rejected"))
    shared = 0
    for first, second in zip(chosen[:-1], rejected[:-1], strict=False):
        if first != second:
            break
        shared += 1
    prompt, answers = chosen[:-1], (chosen[-1]["content"], rejected[-1]["content"])
    check_prompt(prompt, where)
    if shared < len(chosen) - 1 or shared < len(rejected) - 1:
        detail = f"they part after turn {shared} of {len(chosen)} and {len(rejected)}"
        return Candidate(prompt, *answers, reason=PARTED_EARLY, detail=detail)
    return Candidate(prompt, *answers)


def _dialogue(value: Any, field: str, where: Where) -> list[Message]:
    if isinstance(value, str):
        return transcript_turns(value, field, where)
    turns = messages(value, field, where)
    if len(turns) < 2 or turns[-1]["role"] != "assistant":
        text = "should be a dialogue that ends with the assistant's answer: correct it"
        raise RowProblem("role_order", where, field, text)
    return turns


def _has(*fields: str) -> Callable[[Row], bool]:
    return lambda row: not missing_fields(row, fields)


def _holds_transcripts(row: Row) -> bool:
    answers = [row.get("chosen"), row.get("rejected")]
    if all(is_transcript(answer) for answer in answers):
        return True
    apart = "prompt" in row or "conversations" in row
    return not apart and all(isinstance(answer, list) and len(answer) > 1 for answer in answers)


PAIR_FORMATS: dict[str, PairFormat] = {
    "prompt": PairFormat(("prompt", "chosen", "rejected"), _has("prompt", "chosen", "rejected"), _read_prompt),
    "question": PairFormat(
        ("question", "response_chosen", "response_rejected"),
        _has("question", "response_chosen", "response_rejected"),
        _read_question,
    ),
    "conversations": PairFormat(
        ("conversations", "chosen", "rejected"), _has("conversations", "chosen", "rejected"), _read_conversations
    ),
    "transcripts": PairFormat(("chosen", "rejected"), _holds_transcripts, _read_transcripts),
}
