"""Records that are no conversations, kept with the reason in JSON lines so that a person can read or mend them."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson

from forgeline.sources.conversations.conversion import Failure


class RejectedWriter:
    """Writes failures to the file at `path`, in a `with` block; renamed into place when all went well."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.with_name(f".{path.name}.partial")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._partial.open("wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if kind is None:
            self._partial.replace(self._path)
        else:
            self._partial.unlink(missing_ok=True)

    def write(self, failures: Sequence[Failure]) -> None:
        """Adds records: `reason` (one word), `problem` (the message), `record` (null where nothing could be read)."""
        for failure in failures:
            row = {"reason": failure.kind, "problem": failure.message(), "record": failure.row}
            self._file.write(orjson.dumps(row, default=str, option=orjson.OPT_APPEND_NEWLINE))
