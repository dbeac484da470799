"""What may be read of a source, and what had to be repaired in it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from forgeline.core.errors import DataError

Encoding = Literal["strict", "repair"]


@dataclass
class Repairs:
    """How often `encoding: repair` changed something.

    Attributes:
        num_replaced: U+FFFD put in the place of bytes that are not UTF-8 and of halves of surrogate pairs.
        num_removed: NUL characters taken out.
    """

    num_replaced: int = 0
    num_removed: int = 0


@dataclass
class Reading:
    """Rules and tallies of reading some files of one source, one after another.

    Attributes:
        encoding: Whether text that is no valid Unicode is an error or is repaired.
        max_document_bytes: Longest line, cell or document.
        max_source_bytes: Most unpacked bytes.
        repair_advice: Ends the messages about text that could be repaired.
        num_bytes: Unpacked bytes so far.
        repairs: So far.
    """

    encoding: Encoding
    max_document_bytes: int
    max_source_bytes: int
    repair_advice: str = ", or set encoding of the source to repair"
    num_bytes: int = 0
    repairs: Repairs = field(default_factory=Repairs)

    def count(self, num_bytes: int, path: Path) -> None:
        """Adds bytes just unpacked.

        Raises:
            DataError: They are more than the source may have.
        """
        self.num_bytes += num_bytes
        if self.num_bytes > self.max_source_bytes:
            raise source_too_large(path, self.max_source_bytes)

    def document_too_long(self, where: str) -> DataError:
        """The error of a line, cell or document that exceeds the limit."""
        return DataError(
            f"{where}: longer than ingest.max_document_megabytes ({self.max_document_bytes / 1e6:g}): raise it, or part"
            " the document (a JSON lines file without line feeds is one line)"
        )


def source_too_large(path: Path, max_source_bytes: int) -> DataError:
    """The error of a source that exceeds the limit; `path` is the file at which it does."""
    return DataError(
        f"{path}: with this file the source unpacks to more than ingest.max_source_gigabytes"
        f" ({max_source_bytes / 1e9:g}): raise it if the source is meant to be that large"
    )
