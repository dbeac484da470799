"""A user's own instruction set: JSON lines, each `{"messages": [{"role": ..., "content": ...}, ...]}`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forgeline.core.errors import DataError
from forgeline.core.records import Message
from forgeline.sources.files import jsonl_objects
from forgeline.sources.formats.records import Where
from forgeline.sources.questions import Question
from forgeline.text.split import assign_split

TASK = "reference_answer"
ROLES = ("system", "user", "assistant")


def chat_questions(
    path: Path, source: str, seed: int, validation_fraction: float, test_fraction: float
) -> list[Question]:
    """The conversations of a file, split by a hash of everything before the last answer.

    Fields other than `messages` are not read.

    Args:
        path: The file.
        source: Name of the instruction set.
        seed: Salt of the split.
        validation_fraction: Expected share of conversations in validation.
        test_fraction: Expected share in test, where they become evaluation samples of the task `reference_answer`.

    Raises:
        DataError: The file cannot be read, or a line holds no conversation that ends with an answer (names the line).
    """
    questions = []
    for row, where in jsonl_objects(path):
        messages = _messages(row, where)
        key = json.dumps(messages[:-1], ensure_ascii=False, sort_keys=True)
        split = assign_split(key, seed, validation_fraction, test_fraction)
        questions.append(Question(TASK, split, key, source, messages[:-1], messages[-1]["content"]))
    return questions


def _messages(row: Mapping[str, Any], where: Where) -> list[Message]:
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        raise DataError(
            f'{where()}: no list \'messages\': write {{"messages": [{{"role": ..., "content": ...}}, ...]}}'
        )
    for place, message in enumerate(messages, start=1):
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise DataError(f"{where()}: message {place} has no role out of {', '.join(ROLES)}: correct it")
        if not isinstance(message.get("content"), str) or not message["content"].strip():
            raise DataError(f"{where()}: message {place} has no content: write text into it or remove the line")
    roles = [message["role"] for message in messages]
    if roles[-1] != "assistant" or "user" not in roles:
        raise DataError(
            f"{where()}: needs a user's turn and the assistant's answer as the last one, has {', '.join(roles)}"
        )
    return [{"role": message["role"], "content": message["content"]} for message in messages]
