"""An instruction set of files: conversations of any format as questions, split by what is asked first."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from forgeline.core.errors import DataError
from forgeline.core.records import Message, document_id
from forgeline.sources.conversations.conversion import ChatFile, Failure
from forgeline.sources.conversations.multi_turn import Chat
from forgeline.sources.conversations.problems import FILTERABLE
from forgeline.sources.find_files import SourceFile, find_files
from forgeline.sources.instruction_params import FileSet, InstructionParams
from forgeline.sources.questions import Question
from forgeline.text.funnel import DroppedRow
from forgeline.text.split import Split, assign_split

TASK = "reference_answer"


@dataclass(frozen=True)
class FileSetContent:
    """What the files of a set hold.

    Attributes:
        questions: The conversations, each with its last answer apart.
        dropped: Conversations without text or with an echo.
        formats: How many files are in each format.
    """

    questions: list[Question]
    dropped: list[DroppedRow]
    formats: dict[str, int]


def read_file_set(name: str, chosen: FileSet, params: InstructionParams) -> FileSetContent:
    """Reads all files of a set.

    Raises:
        DataError: There are none, or a record is no conversation (names file, line and field).
    """
    content = FileSetContent([], [], {})
    formats: Counter[str] = Counter()
    for file in find_files(Path(chosen.path), chosen.pattern):
        formats[_read(file, name, chosen, params, content)] += 1
    content.formats.update(sorted(formats.items()))
    return content


def split_key(messages: list[Message]) -> str:
    """What decides the split: a hash of the first thing a user asks, else of the text, but for case and white space.

    So a conversation and a longer one that begins with the same question never part.
    """
    first = next((message for message in messages if message["role"] == "user"), messages[-1])
    return document_id(" ".join(first["content"].lower().split()))


def _read(file: SourceFile, name: str, chosen: FileSet, params: InstructionParams, content: FileSetContent) -> str:
    reader = ChatFile(file, chosen.expected)
    for batch in reader.batches():
        content.questions.extend(_questions(batch.chats, name, params))
        content.dropped.extend(_drop(failure, name, params, file.path) for failure in batch.failures)
    return reader.detected.format if reader.detected else ""


def _questions(chats: list[Chat], name: str, params: InstructionParams) -> Iterator[Question]:
    for messages, tools in chats:
        key = split_key(messages)
        split: Split = assign_split(key, params.seed, params.validation_fraction, params.test_fraction)
        *prompt, last = messages
        if split == "test" and not prompt:
            split = "validation"  # a text that answers nothing cannot be asked for
        yield Question(TASK, split, key, name, prompt, last["content"], tools=tools, answer_role=last["role"])


def _drop(failure: Failure, name: str, params: InstructionParams, path: Path) -> DroppedRow:
    """The row of a conversation that may be dropped.

    Raises:
        DataError: It may not.
    """
    if failure.kind not in FILTERABLE:
        raise DataError(f"{failure.message()} (`forgeline validate {path}` lists all such records)")
    if getattr(params.filters, failure.kind) == "error":
        raise DataError(f"{failure.message()}, or set instructions.filters.{failure.kind} to drop")
    text = orjson.dumps(failure.row, default=str).decode()
    return DroppedRow(document_id(text), text, name, failure.kind, failure.message())
