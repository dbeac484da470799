"""A user's own files of text: JSON lines, and plain text with blank lines between documents."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from forgeline.core.errors import DataError

_BLANK_LINES = re.compile(r"\n[^\S\n]*\n\s*")


def read_text_file(path: Path) -> str:
    """The content of a UTF-8 file, with line feeds as line ends and without a byte order mark.

    Raises:
        DataError: The file is missing, a folder, empty (or blank), or not UTF-8 (names line and byte).
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder: name a file")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: correct its path in params.yaml or put the file there") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: not UTF-8 (byte {error.start} of the file): save the file as UTF-8") from None
    if not text.strip():
        raise DataError(f"{path} is empty: put text into it or remove it from params.yaml")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def text_documents(path: Path) -> list[str]:
    """The documents of a plain text file, which blank lines separate; raises what `read_text_file` raises."""
    return [document for document in _BLANK_LINES.split(read_text_file(path).strip()) if document]


def jsonl_documents(path: Path, field: str) -> list[str]:
    """The texts in one field of a JSON lines file, blank ones included.

    Raises:
        DataError: As `jsonl_objects`, or the field is missing or no text (names the line).
    """
    texts = []
    for number, row in jsonl_objects(path):
        if field not in row:
            known = ", ".join(sorted(row)) or "none"
            raise DataError(
                f"{path}:{number}: no field '{field}' (its fields: {known}): correct text_field or the line"
            )
        if not isinstance(row[field], str):
            kind = type(row[field]).__name__
            raise DataError(f"{path}:{number}: field '{field}' holds {kind}, expected text: correct the line")
        texts.append(row[field])
    return texts


def jsonl_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number (from 1) and object of each line of a JSON lines file; blank lines are passed over.

    Raises:
        DataError: As `read_text_file`; or a line is not JSON, not an object, or holds text that UTF-8 cannot express.
    """
    for number, line in enumerate(read_text_file(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            json.dumps(row, ensure_ascii=False).encode("utf-8")
        except json.JSONDecodeError as error:
            raise DataError(
                f"{path}:{number}: not valid JSON ({error.msg}, column {error.colno}): correct it"
            ) from None
        except UnicodeEncodeError:
            raise DataError(
                f"{path}:{number}: holds half of a surrogate pair (\\ud800 to \\udfff): correct it"
            ) from None
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number}: holds {type(row).__name__}, expected an object: write {{...}}")
        yield number, row
