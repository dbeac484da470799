"""A file as blocks of whole lines: a block can be decoded and split without regard to its neighbours."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from forgeline.sources.formats.limits import Reading
from forgeline.sources.formats.unpacked import BLOCK_BYTES, BYTE_ORDER_MARK, blocks, line_number


@dataclass(frozen=True)
class LineBlock:
    """Consecutive whole lines, each with its line feed; the last one of a file may lack it.

    Attributes:
        offset: Of the first byte in the unpacked file.
        data: The bytes.
    """

    offset: int
    data: bytes


def line_blocks(
    path: Path, reading: Reading, start: int = 0, end: int | None = None, block_bytes: int = BLOCK_BYTES
) -> Iterator[LineBlock]:
    """The lines of a file, or of a part of it, without the byte order mark.

    Args:
        path: The file.
        reading: The limits.
        start: Lines that begin before this byte are left out; for files that are not packed.
        end: Lines that begin at this byte or later are left out. So every line belongs to one part.
        block_bytes: How much is read at once.

    Raises:
        DataError: As `blocks`; or a line is longer than a document may be (names it).
    """
    offset = max(start - 1, 0)  # one byte earlier: a line feed there means that a line begins at `start`
    pending: list[bytes] = []
    num_pending = 0
    skipping = start > 0
    for block in blocks(path, None, offset, block_bytes):
        block_offset = offset + num_pending
        if skipping:
            cut = block.find(b"\n") + 1
            offset += cut or len(block)
            block = block[cut:] if cut else b""
            skipping = not cut
        elif block_offset == 0 and block.startswith(BYTE_ORDER_MARK):
            block = block.removeprefix(BYTE_ORDER_MARK)
            offset = len(BYTE_ORDER_MARK)
        if end is not None and offset >= end:
            return
        cut = _end_of_lines(block, offset + num_pending, end) + 1
        if num_pending + (block.find(b"\n") if cut else len(block)) > reading.max_document_bytes:
            raise reading.document_too_long(f"{path}:{line_number(path, offset)}")
        if cut:
            reading.count(num_pending + cut, path)
            yield LineBlock(offset, b"".join([*pending, block[:cut]]))
            offset += num_pending + cut
            pending, num_pending = [], 0
            if end is not None and offset >= end:
                return
        pending.append(block[cut:])
        num_pending += len(block) - cut
    if num_pending:
        reading.count(num_pending, path)
        yield LineBlock(offset, b"".join(pending))


def _end_of_lines(block: bytes, offset: int, end: int | None) -> int:
    """Place of the line feed that ends the last line wanted of a block, or -1."""
    last = block.rfind(b"\n")
    if end is None or offset + last < end - 1:
        return last
    return block.find(b"\n", max(end - 1 - offset, 0))
