"""How much text files hold, extrapolated from a look into some of them, read as `ingest` would."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from forgeline.sources.find_files import SourceFile, find_files
from forgeline.sources.formats.limits import Reading
from forgeline.sources.formats.unpacked import COMPRESSIONS
from forgeline.sources.ingest_files import no_documents
from forgeline.sources.params import SourceParams, SourcesParams
from forgeline.sources.read_texts import FilePart, check_format, read_texts

COUNTED, SAMPLED = "counted", "sampled"

_SAMPLE_FILES = 4
_SAMPLE_BYTES = 8 << 20  # of all files together, unpacked, but at least
_LEAST_BYTES = 4 << 20  # of each: readers may be a block of 1 MiB ahead of what they yield
_PIECES = 8  # of a JSON lines file


@dataclass(frozen=True)
class Size:
    """Documents that are not blank, UTF-8 bytes of their texts, and how that is known."""

    num_documents: float
    num_bytes: float
    basis: str


@dataclass
class _Tally:
    """Records, and documents among them that are not blank, found in `num_read` unpacked bytes of a file."""

    num_records: int = 0
    num_documents: int = 0
    num_bytes: int = 0
    num_read: int = 0

    def add(self, texts: Sequence[str]) -> None:
        sizes = [len(text.encode()) for text in texts if text.strip()]
        self.num_records += len(texts)
        self.num_documents += len(sizes)
        self.num_bytes += sum(sizes)


def sample_files(source: SourceParams, ingest: SourcesParams) -> Size:
    """The size of a source of kind `files`, before its caps.

    Raises:
        DataError: The files, or those that were looked into, cannot be read as params.yaml says, or hold no text.
    """
    files = find_files(Path(source.path), source.pattern)
    check_format(files[0], source)
    chosen = _spread(files)
    max_bytes = max(_SAMPLE_BYTES // len(chosen), _LEAST_BYTES)
    tallies = [_look_into(file, source, ingest, max_bytes) for file in chosen]
    unpacked = [_unpacked_bytes(file, tally) for file, tally in zip(chosen, tallies, strict=True)]
    num_read = sum(tally.num_read for tally in tallies)
    share_of_files = sum(file.num_bytes for file in chosen) / max(sum(file.num_bytes for file in files), 1)
    factor = sum(unpacked) / max(num_read, 1) / (share_of_files or 1.0)
    documents = factor * sum(tally.num_documents for tally in tallies)
    is_whole = len(chosen) == len(files) and num_read >= sum(unpacked)
    if is_whole and not documents:
        raise no_documents(Path(source.path), files, sum(tally.num_records for tally in tallies))
    return Size(
        len(files) if source.documents == "file" else documents,
        factor * sum(tally.num_bytes for tally in tallies),
        COUNTED if is_whole else SAMPLED,
    )


def _look_into(file: SourceFile, source: SourceParams, ingest: SourcesParams, max_bytes: int) -> _Tally:
    """Some of a file: lines can be read from anywhere, so of JSON lines pieces from all over, else the beginning."""
    tally = _Tally()
    if file.format == "jsonl" and not file.is_packed and file.num_bytes > max_bytes:
        length = max_bytes // _PIECES
        for number in range(_PIECES):
            start = number * (file.num_bytes - length) // (_PIECES - 1)
            _read(FilePart(file, start, start + length), source, ingest, max_bytes, tally)
            tally.num_read = (number + 1) * length
    else:
        _read(FilePart(file), source, ingest, max_bytes, tally)
    return tally


def _read(part: FilePart, source: SourceParams, ingest: SourcesParams, max_bytes: int, tally: _Tally) -> None:
    """Adds what is in the part, up to about `max_bytes` of it."""
    reading = Reading(source.encoding, ingest.max_document_bytes, ingest.max_source_bytes)
    for records in read_texts(part, source, reading):
        if reading.num_bytes > tally.num_read:  # another block was read: all of the ones before have been yielded
            if tally.num_read >= max_bytes:
                return
            tally.num_read = reading.num_bytes
        tally.add(records.values)
    tally.num_read = reading.num_bytes


def _unpacked_bytes(file: SourceFile, tally: _Tally) -> float:
    """Bytes that a reader counts over the whole file."""
    if file.format == "parquet":
        num_rows: int = pq.read_metadata(file.path).num_rows
        return tally.num_read * (num_rows / max(tally.num_records, 1))
    if not file.is_packed:
        return float(file.num_bytes)
    with file.path.open("rb", buffering=0) as packed:
        stream = pa.CompressedInputStream(pa.PythonFile(packed, "r"), COMPRESSIONS[file.path.suffix.lower()])
        num_unpacked = len(stream.read(_LEAST_BYTES))
        return file.num_bytes * num_unpacked / max(packed.tell(), 1)


def _spread(files: Sequence[SourceFile]) -> list[SourceFile]:
    """At most so many of the files, evenly over their order, the first one among them."""
    if len(files) <= _SAMPLE_FILES:
        return list(files)
    return [files[number * len(files) // _SAMPLE_FILES] for number in range(_SAMPLE_FILES)]
