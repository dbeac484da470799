"""JSON lines files outside the corpus: the instruction sets of a user."""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from forgeline.core.errors import DataError
from forgeline.sources.formats.json_text import json_lines
from forgeline.sources.formats.limits import Reading
from forgeline.sources.formats.records import Where


def jsonl_objects(path: Path) -> Iterator[tuple[dict[str, Any], Where]]:
    """The object on each line of a JSON lines file, and its place for messages; blank lines are passed over.

    Raises:
        DataError: The file is missing, a folder or empty; or a line is not UTF-8, not JSON or not an object, or holds
            text that UTF-8 cannot express (names the line).
    """
    unlimited = Reading("strict", max_document_bytes=sys.maxsize, max_source_bytes=sys.maxsize, repair_advice="")
    is_empty = True
    for records in json_lines(path, unlimited):
        for index, row in enumerate(records.values):
            where = partial(records.where, index)
            if not isinstance(row, dict):
                raise DataError(f"{where()}: holds {type(row).__name__}, expected an object: write {{...}}")
            yield row, where
            is_empty = False
    if is_empty:
        raise empty_file(path)


def empty_file(path: Path) -> DataError:
    """The error of a file without anything in it."""
    return DataError(f"{path} is empty: put text into it or remove it from params.yaml")
