"""Files of a source as shards of documents: groups of files are read in parallel, each into shards of its own.

Which files make a group, and where a large JSON lines file is parted, follows from sizes alone. So the shards are the
same for any number of workers. A budget depends on what was read before, so with one there is a single group, which
ends as soon as the budget is spent: the rest of the source is never looked at.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from forgeline.core.errors import DataError
from forgeline.core.records import DOCUMENTS, DROPPED, write_documents
from forgeline.core.shards import ShardWriter, shard_path, shard_paths
from forgeline.runner.tasks import run_tasks
from forgeline.sources.budget import Budget
from forgeline.sources.files import empty_file
from forgeline.sources.find_files import SourceFile, find_files
from forgeline.sources.formats.limits import Reading, source_too_large
from forgeline.sources.params import SourceParams, SourcesParams
from forgeline.sources.read_texts import FilePart, check_format, read_texts
from forgeline.sources.sink import Figures, Sink


@dataclass(frozen=True)
class Group:
    """Files that are read one after another by one worker.

    Attributes:
        source: Name of the source.
        parts: What to read.
        params: How.
        limits: The limits of all sources.
        documents: Folder for shards of documents, the group's own.
        dropped: Folder for shards of dropped records, the group's own.
    """

    source: str
    parts: tuple[FilePart, ...]
    params: SourceParams
    limits: SourcesParams
    documents: Path
    dropped: Path

    @property
    def num_megabytes(self) -> float:
        """Size of the files as they lie on the disk."""
        return sum(part.num_bytes for part in self.parts) / 1e6


def ingest_files(
    source: str, path: Path, params: SourceParams, limits: SourcesParams, documents: Path, dropped: Path
) -> tuple[list[SourceFile], Figures]:
    """Reads a source of kind `files`.

    Args:
        source: Its name.
        path: The file or folder.
        params: How to read it.
        limits: The limits of all sources.
        documents: Folder for the shards of documents.
        dropped: Folder for the shards of dropped records.

    Returns:
        The files and what came of their records.

    Raises:
        DataError: The files cannot be read, exceed a limit, or hold no text.
    """
    files = find_files(path, params.pattern)
    check_format(files[0], params)
    is_limited = params.max_documents is not None or params.max_tokens is not None
    if not is_limited:
        _check_sizes(files, limits)
    parts = group_files(files, None if is_limited else limits.shard_bytes)
    groups = [
        Group(source, group, params, limits, documents / f"group-{number}", dropped / f"group-{number}")
        for number, group in enumerate(parts)
    ]
    total = Figures()
    kept, left = _Shards(documents), _Shards(dropped)
    for group, figures in zip(groups, run_tasks(ingest_group, groups, source, "MB", _megabytes), strict=True):
        total.add(figures)
        if total.reading["num_bytes"] > limits.max_source_bytes:
            raise source_too_large(group.parts[-1].file.path, limits.max_source_bytes)
        kept.adopt(group.documents, figures.documents["num_documents"])
        left.adopt(group.dropped, figures.dropped.total())
    if not kept.number:
        if total.is_spent:
            raise DataError(f"{path}: the first document alone holds more than max_tokens: raise it")
        raise no_documents(path, files, total.num_records)
    if not left.number:
        write_documents(dropped, DROPPED.empty_table())
    return files, total


def ingest_group(group: Group) -> Figures:
    """Reads the files of a group into its own folders; raises what `read_texts` raises."""
    params, limits = group.params, group.limits
    reading = Reading(params.encoding, limits.max_document_bytes, limits.max_source_bytes)
    budget = budget_of(params, limits)
    with (
        ShardWriter(group.documents, DOCUMENTS, limits.shard_bytes) as documents,
        ShardWriter(group.dropped, DROPPED, limits.shard_bytes) as dropped,
    ):
        sink = Sink(group.source, budget, documents, dropped)
        for origin, texts in _texts(group, reading):
            sink.write(texts, origin)
            if budget.is_spent:
                break
    sink.figures.reading.update(
        num_bytes=reading.num_bytes,
        num_replaced=reading.repairs.num_replaced,
        num_removed=reading.repairs.num_removed,
    )
    return sink.figures


def budget_of(params: SourceParams, limits: SourcesParams) -> Budget:
    """The budget of a source, its tokens turned into bytes."""
    max_bytes = None if params.max_tokens is None else int(params.max_tokens * limits.bytes_per_token)
    return Budget(params.max_documents, max_bytes)


def group_files(files: Sequence[SourceFile], group_bytes: int | None) -> list[tuple[FilePart, ...]]:
    """Parts the files, in their order, into groups of at least `group_bytes` on the disk; None makes one group of all.

    A JSON lines file of twice that size or more is cut into parts that are groups of their own.
    """
    if group_bytes is None:
        return [tuple(FilePart(file) for file in files)]
    groups: list[tuple[FilePart, ...]] = []
    pending: list[FilePart] = []
    size = 0
    for part in (part for file in files for part in _cut(file, group_bytes)):
        pending.append(part)
        size += part.num_bytes
        if size >= group_bytes:
            groups.append(tuple(pending))
            pending, size = [], 0
    if pending:
        groups.append(tuple(pending))
    return groups


def _cut(file: SourceFile, part_bytes: int) -> Iterator[FilePart]:
    num_parts = file.num_bytes // part_bytes if file.format == "jsonl" and not file.is_packed else 1
    for number in range(max(num_parts, 1)):
        is_last = number >= num_parts - 1
        yield FilePart(file, number * part_bytes, None if is_last else (number + 1) * part_bytes)


def _check_sizes(files: Sequence[SourceFile], limits: SourcesParams) -> None:
    """Refuses what is too large even before it is unpacked."""
    size = 0
    for file in files:
        size += file.num_bytes
        if size > limits.max_source_bytes:
            raise source_too_large(file.path, limits.max_source_bytes)


def _texts(group: Group, reading: Reading) -> Iterator[tuple[str, list[str]]]:
    """Name of the file and texts of consecutive records."""
    for part in group.parts:
        for records in read_texts(part, group.params, reading):
            yield part.file.path.as_posix(), records.values


def _megabytes(group: Group) -> float:
    return group.num_megabytes


class _Shards:
    """A folder in which the shards of all groups get consecutive numbers."""

    def __init__(self, folder: Path) -> None:
        self.number = 0
        self._folder = folder

    def adopt(self, group: Path, num_rows: int) -> None:
        """Moves the shards of the next group here; without rows it has one that only tells the columns."""
        for shard in shard_paths(group) if num_rows else ():
            shard.rename(shard_path(self._folder, self.number))
            self.number += 1
        shutil.rmtree(group)


def no_documents(path: Path, files: Sequence[SourceFile], num_records: int) -> DataError:
    """What to say of files that were read to their end without a document in them."""
    if num_records:
        return DataError(f"{path}: all {num_records} records are blank: correct `text` of the source in params.yaml")
    if len(files) == 1:
        return empty_file(files[0].path)
    return DataError(f"{path}: its {len(files)} files hold no records: put text into them or remove the source")
