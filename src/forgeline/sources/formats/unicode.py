"""Bytes to valid Unicode without NUL, strictly or with repairs."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from forgeline.core.errors import DataError
from forgeline.sources.formats.limits import Reading
from forgeline.sources.formats.records import Records, Where, each
from forgeline.sources.formats.unpacked import line_number

REPLACEMENT = "\ufffd"
_REPLACEMENT_BYTES = REPLACEMENT.encode()
_SURROGATE = re.compile("[\ud800-\udfff]")


def decode(data: bytes, path: Path, offset: int, reading: Reading) -> str:
    """UTF-8 as text.

    Args:
        data: Bytes that do not begin or end inside a character, whole lines for instance.
        path: The file they are from, for messages.
        offset: Of the first byte in the unpacked file.
        reading: Whether mistakes are errors; counts repairs.

    Raises:
        DataError: `strict`, and the bytes are not UTF-8 or hold a NUL (names line and byte).
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        if reading.encoding == "strict":
            raise _bad_byte("not UTF-8", "save the file as UTF-8", path, offset + error.start, reading) from None
        text = data.decode("utf-8", errors="replace")
        reading.repairs.num_replaced += text.count(REPLACEMENT) - data.count(_REPLACEMENT_BYTES)
    if "\0" not in text:
        return text
    if reading.encoding == "strict":
        raise _bad_byte("holds a NUL", "remove it", path, offset + data.index(b"\0"), reading)
    return _without_nul(text, reading)


def clean_texts(texts: Records[str], reading: Reading) -> Iterator[Records[str]]:
    """Texts of documents, without NUL characters (JSON and Parquet can hold them) and not too long.

    Raises:
        DataError: A text is longer than a document may be, or with `strict` holds a NUL.
    """
    limit = reading.max_document_bytes // 4  # no character takes more than 4 bytes
    if any("\0" in text or len(text) > limit for text in texts.values):
        yield from each(texts, lambda text, where: _clean_text(text, reading, where))
    else:
        yield texts


def without_surrogates(value: Any, reading: Reading, where: Where) -> Any:
    """A value as `json.loads` returns it, in which every text can be expressed in UTF-8.

    Raises:
        DataError: `strict`, and some text holds half of a surrogate pair.
    """
    match value:
        case str():
            whole, found = _SURROGATE.subn(REPLACEMENT, value)
            if found and reading.encoding == "strict":
                raise DataError(
                    f"{where()}: holds half of a surrogate pair (\\ud800 to \\udfff): correct it{reading.repair_advice}"
                )
            reading.repairs.num_replaced += found
            return whole
        case list():
            return [without_surrogates(item, reading, where) for item in value]
        case dict():
            return {
                without_surrogates(key, reading, where): without_surrogates(item, reading, where)
                for key, item in value.items()
            }
    return value


def _clean_text(text: str, reading: Reading, where: Where) -> str:
    if len(text) > reading.max_document_bytes // 4 and len(text.encode()) > reading.max_document_bytes:
        raise reading.document_too_long(where())
    if "\0" in text:
        if reading.encoding == "strict":
            raise DataError(f"{where()}: holds a NUL character: remove it{reading.repair_advice}")
        text = _without_nul(text, reading)
    return text


def _without_nul(text: str, reading: Reading) -> str:
    reading.repairs.num_removed += text.count("\0")
    return text.replace("\0", "")


def _bad_byte(what: str, advice: str, path: Path, offset: int, reading: Reading) -> DataError:
    line = line_number(path, offset)
    return DataError(f"{path}:{line}: {what} (byte {offset} of the file): {advice}{reading.repair_advice}")
