"""`forgeline validate` and `forgeline convert`: files of conversations checked, and written in one format."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from forgeline.core.errors import DataError
from forgeline.core.progress import ProgressBar, progress
from forgeline.sources.conversations.conversion import Batch, ChatFile
from forgeline.sources.conversations.formats import Expected
from forgeline.sources.conversations.output import ChatWriter
from forgeline.sources.conversations.problems import Kind, Problems
from forgeline.sources.conversations.rejected import RejectedWriter
from forgeline.sources.find_files import SourceFile, find_files


@dataclass
class FileFigures:
    """What a file holds.

    Attributes:
        path: The file.
        format: Its format; empty where none was found.
        reason: Why it is this one.
        unread: Fields of its first record that are not read.
        num_conversations: Good ones.
        num_turns: Theirs.
        num_with_tools: Those with tool definitions.
        problems: The others, by kind.
    """

    path: Path
    format: str = ""
    reason: str = ""
    unread: tuple[str, ...] = ()
    num_conversations: int = 0
    num_turns: int = 0
    num_with_tools: int = 0
    problems: Counter[Kind] = field(default_factory=Counter)

    def add(self, batch: Batch) -> None:
        """Counts a batch."""
        self.num_conversations += len(batch.chats)
        self.num_turns += sum([len(messages) for messages, _ in batch.chats])
        self.num_with_tools += sum([tools != "" for _, tools in batch.chats])
        self.problems.update(failure.kind for failure in batch.failures)


@dataclass(frozen=True)
class Verdict:
    """The figures of all files, and the first problems in full."""

    files: list[FileFigures]
    problems: Problems


def validate(paths: Sequence[Path], expected: Expected, max_listed: int) -> Verdict:
    """Reads all records of files, or of the files in folders; nothing is written.

    Raises:
        DataError: A path does not exist or is of an unknown kind.
    """
    return _read_all(_files(paths), expected, max_listed, "validate", lambda batch: None)


def convert(path: Path, target: Path, expected: Expected, max_listed: int, rejected: Path | None) -> Verdict:
    """Writes the conversations of a file, or of the files in a folder, in the format `messages`.

    Args:
        path: What to read.
        target: The file to write; its name tells the kind.
        expected: What is known of the files.
        max_listed: How many problems to tell in full.
        rejected: Where records go that are no conversations. Without it nothing is written if there is one.

    Raises:
        DataError: As `validate`; or a target is also read, or no record is good.
    """
    files = _files([path])
    for written in (target, *([rejected] if rejected else [])):
        if written.resolve() in {file.path.resolve() for file in files}:
            raise DataError(f"{written} is what is read: choose another name for the output")
    with ChatWriter(target) as writer, RejectedWriter(rejected) if rejected else nullcontext() as left:

        def write(batch: Batch) -> None:
            writer.write(batch.chats)
            if left:
                left.write(batch.failures)

        verdict = _read_all(files, expected, max_listed, "convert", write)
        if verdict.problems.total and (left is None or not writer.num_written):
            raise InvalidRecords(verdict)
    return verdict


class InvalidRecords(DataError):
    """Nothing was written since records are no conversations; `verdict` has them."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__("nothing written: correct the records, or name a file for them with --rejected")
        self.verdict = verdict


def _files(paths: Sequence[Path]) -> list[SourceFile]:
    for path in paths:
        if not path.exists():
            raise DataError(f"{path} does not exist: correct the path")
    return [file for path in paths for file in find_files(path, None)]


def _read_all(
    files: Sequence[SourceFile], expected: Expected, max_listed: int, task: str, use: Callable[[Batch], None]
) -> Verdict:
    problems = Problems(max_listed)
    found: list[FileFigures] = []
    is_packed = any(file.is_packed or file.format == "parquet" for file in files)
    total = 0.0 if is_packed else sum(file.num_bytes for file in files) / 1e6  # unpacked sizes are not known
    with progress(task, total, "MB") as bar:
        for file in files:
            figures = FileFigures(file.path)
            found.append(figures)
            for batch in _batches(ChatFile(file, expected), bar, figures):
                figures.add(batch)
                use(batch)
                for failure in batch.failures:
                    problems.add(failure.kind, failure.message)
    return Verdict(found, problems)


def _batches(chats: ChatFile, bar: ProgressBar, figures: FileFigures) -> Iterator[Batch]:
    """The batches of a file, while the bar moves; afterwards the figures tell the format."""
    num_bytes = 0
    for batch in chats.batches():
        yield batch
        bar((chats.num_bytes - num_bytes) / 1e6)
        num_bytes = chats.num_bytes
    if chats.detected is not None:
        figures.format, figures.reason = chats.detected.format, chats.detected.reason
        figures.unread = chats.detected.unread
