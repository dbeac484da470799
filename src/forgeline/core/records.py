"""The records that stages hand to each other, and their Parquet form.

Documents stay columnar (an Arrow table), because corpora are large and text kernels work on Arrow buffers.
Conversations, preference pairs and evaluation samples are few: lists of dataclasses.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from forgeline.core.shards import iter_shards, shard_path
from forgeline.core.storage import read_table, sha256_text, write_table

# {"role": "system" | "user" | "assistant" | "function_call" | "observation", "content": ...}; the content of a function
# call is JSON text.
Message = dict[str, str]

DOCUMENTS = pa.schema([("doc_id", pa.string()), ("text", pa.string()), ("source", pa.string())])
DROPPED = pa.schema([*DOCUMENTS, ("reason", pa.string()), ("detail", pa.string())])


def document_id(text: str) -> str:
    """The identity of a document: the first 32 hex digits of the SHA-256 of its text."""
    return sha256_text(text)[:32]


def documents_table(texts: Sequence[str], source: str) -> pa.Table:
    """A table of documents from one source, in the given order."""
    return pa.table([[document_id(text) for text in texts], list(texts), [source] * len(texts)], schema=DOCUMENTS)


@dataclass(frozen=True)
class Counts:
    """Where the records of a stage went: every one is kept or dropped for a reason.

    Raises:
        ValueError: The numbers do not add up, which is a bug in the stage.
    """

    num_in: int
    num_out: int
    dropped: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.num_in != self.num_out + sum(self.dropped.values()):
            raise ValueError(f"records do not add up: {self.num_in} in, {self.num_out} out, dropped {self.dropped}")

    def as_json(self) -> dict[str, Any]:
        """The form in which every metrics file holds it, under `records`."""
        return {"in": self.num_in, "out": self.num_out, "dropped": dict(self.dropped)}


@dataclass(frozen=True)
class Conversation:
    """A chat to learn from.

    Attributes:
        conversation_id: Content hash.
        source: Name of the instruction set it came from.
        task: What is asked, `organ_system` for instance; empty when unknown.
        split_key: What the split is decided by (the tested term, else the prompt): equal keys never part.
        messages: Turns in order, ending with the assistant's.
        tools: JSON text of the tool definitions, empty when there are none.
    """

    conversation_id: str
    source: str
    task: str
    split_key: str
    messages: list[Message]
    tools: str = ""

    @classmethod
    def make(cls, source: str, task: str, split_key: str, messages: list[Message], tools: str = "") -> "Conversation":
        """A conversation with its content hash filled in."""
        content = json.dumps([messages, tools], ensure_ascii=False, sort_keys=True)
        return cls(sha256_text(content)[:32], source, task, split_key, messages, tools)


@dataclass(frozen=True)
class PreferencePair:
    """Two answers to one prompt, the first preferred.

    Attributes:
        pair_id: Hash of prompt and answers.
        source: Name of the preference set it came from.
        task: What is asked; empty when unknown.
        split_key: What the split is decided by: equal keys never part.
        prompt: The turns before the answer.
        chosen: The better answer.
        rejected: The worse one.
        margin: How much better, as the difference of two grades; None when unknown.
    """

    pair_id: str
    source: str
    task: str
    split_key: str
    prompt: list[Message]
    chosen: str
    rejected: str
    margin: float | None = None

    @classmethod
    def make(
        cls,
        source: str,
        task: str,
        split_key: str,
        prompt: list[Message],
        chosen: str,
        rejected: str,
        margin: float | None = None,
    ) -> "PreferencePair":
        """A pair with its content hash filled in."""
        content = json.dumps([prompt, chosen, rejected], ensure_ascii=False, sort_keys=True)
        return cls(sha256_text(content)[:32], source, task, split_key, prompt, chosen, rejected, margin)


@dataclass(frozen=True)
class EvalSample:
    """One held-out question.

    Attributes:
        sample_id: Content hash.
        task: Name of the evaluation task that scores it.
        split_key: As in `Conversation`.
        prompt: The turns before the answer.
        reference: The right answer, as the model should write it.
        choices: Answers to choose from by likelihood; empty for generated answers.
        tools: JSON text of the tool definitions that belong to the prompt, empty when there are none.
    """

    sample_id: str
    task: str
    split_key: str
    prompt: list[Message]
    reference: str
    choices: list[str] = field(default_factory=list)
    tools: str = ""

    @classmethod
    def make(
        cls,
        task: str,
        split_key: str,
        prompt: list[Message],
        reference: str,
        choices: Sequence[str] = (),
        tools: str = "",
    ) -> "EvalSample":
        """A sample with its content hash filled in."""
        hashed = [task, prompt, reference, list(choices), *([tools] if tools else [])]
        content = json.dumps(hashed, ensure_ascii=False, sort_keys=True)
        return cls(sha256_text(content)[:32], task, split_key, prompt, reference, list(choices), tools)


MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_OTHER_THAN_TEXT = {
    "messages": MESSAGES,
    "prompt": MESSAGES,
    "choices": pa.list_(pa.string()),
    "margin": pa.float64(),
}


def _schema(kind: type) -> pa.Schema:
    return pa.schema([(entry.name, _OTHER_THAN_TEXT.get(entry.name, pa.string())) for entry in fields(kind)])


SCHEMAS: dict[type, pa.Schema] = {kind: _schema(kind) for kind in (Conversation, PreferencePair, EvalSample)}

RecordT = TypeVar("RecordT", Conversation, PreferencePair, EvalSample)


def write_documents(folder: Path, table: pa.Table) -> None:
    """Documents, or dropped documents with their reasons, as a folder with one shard; see `shards` for many."""
    write_table(shard_path(folder, 0), table)


def read_documents(path: Path) -> pa.Table:
    """All documents of a folder of shards, in memory; raises `DataError` as `iter_shards` does."""
    return pa.concat_tables(iter_shards(path, DOCUMENTS))


def write_records(path: Path, kind: type[RecordT], records: Sequence[RecordT]) -> None:
    """Records of one kind as Parquet, in the given order."""
    rows: list[dict[str, Any]] = [asdict(record) for record in records]
    write_table(path, pa.Table.from_pylist(rows, schema=SCHEMAS[kind]))


def read_records(path: Path, kind: type[RecordT]) -> list[RecordT]:
    """The records of a Parquet file; raises `DataError` as `read_table` does."""
    return [kind(**row) for row in read_table(path, SCHEMAS[kind]).to_pylist()]
