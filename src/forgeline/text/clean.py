"""Normalises text and drops documents that are not worth learning from.

Newlines and paragraphs survive: they are structure. What is normalised: line ends, control characters (Unicode category
Cc, and the byte order mark), Unicode form (NFC), trailing white space, and runs of blank lines (one is left).
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import pyarrow as pa
from pydantic import Field, model_validator

from forgeline.core.params import Section
from forgeline.core.records import DOCUMENTS, document_id
from forgeline.core.run import Counts
from forgeline.text.funnel import DroppedRow, count_reasons, dropped_table

_LINE_END = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff]")
_TRAILING = re.compile(r"[^\S\n]+$", re.MULTILINE)
_BLANK_RUN = re.compile(r"\n{3,}")

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class CleanParams(Section):
    """Section `clean`: what a document must be like, measured on the normalised text.

    Attributes:
        min_characters: Shorter documents are dropped as `too_short`.
        max_characters: Longer ones as `too_long`.
        max_symbol_fraction: Largest share of symbols (neither letter, digit nor mark) among the characters that are not
            white space; above it, `too_many_symbols`.
        max_duplicate_line_fraction: Largest share of lines that repeat an earlier line, among lines that are not blank;
            above it, `duplicate_lines`.
    """

    min_characters: Annotated[int, Field(ge=1)]
    max_characters: Annotated[int, Field(ge=1)]
    max_symbol_fraction: Share
    max_duplicate_line_fraction: Share

    @model_validator(mode="after")
    def _range_of_lengths(self) -> "CleanParams":
        if self.min_characters > self.max_characters:
            raise ValueError("min_characters is above max_characters: no document could stay, lower it")
        return self


@dataclass(frozen=True)
class CleanResult:
    """Normalised documents in input order, dropped ones as they came in, and the counts of both."""

    documents: pa.Table
    dropped: pa.Table
    counts: Counts


def clean(documents: pa.Table, params: CleanParams) -> CleanResult:
    """Normalises every document and drops those that break a rule, the first that applies.

    A kept document gets the id of its new text; a dropped one keeps the id and text it came with.
    """
    kept: list[tuple[str, str]] = []
    dropped: list[DroppedRow] = []
    rows = zip(*(documents[name].to_pylist() for name in ("doc_id", "text", "source")), strict=True)
    for doc_id, text, source in rows:
        normal = normalize(text)
        verdict = judge(normal, params)
        if verdict is None:
            kept.append((normal, source))
        else:
            dropped.append(DroppedRow(doc_id, text, source, *verdict))
    table = dropped_table(dropped)
    return CleanResult(_documents(kept), table, Counts(documents.num_rows, len(kept), count_reasons(table)))


def _documents(kept: list[tuple[str, str]]) -> pa.Table:
    texts = [text for text, _ in kept]
    return pa.table([[document_id(text) for text in texts], texts, [source for _, source in kept]], schema=DOCUMENTS)


def normalize(text: str) -> str:
    """The text with the normalisations of this module; applying it twice changes nothing more."""
    text = _CONTROL.sub("", _LINE_END.sub("\n", text))
    text = _TRAILING.sub("", unicodedata.normalize("NFC", text))
    return _BLANK_RUN.sub("\n\n", text).strip("\n")


def judge(text: str, params: CleanParams) -> tuple[str, str] | None:
    """Why a normalised text is dropped, as (reason, the measured number), or None when it stays."""
    if len(text) < params.min_characters:
        return "too_short", f"{len(text)} characters"
    if len(text) > params.max_characters:
        return "too_long", f"{len(text)} characters"
    symbols = symbol_fraction(text)
    if symbols > params.max_symbol_fraction:
        return "too_many_symbols", f"{symbols:.3f}"
    repeats = duplicate_line_fraction(text)
    if repeats > params.max_duplicate_line_fraction:
        return "duplicate_lines", f"{repeats:.3f}"
    return None


def symbol_fraction(text: str) -> float:
    """Share of symbols among the characters that are not white space; 0 when there are none."""
    kinds = [(_kind(character), text.count(character)) for character in set(text)]
    symbols = sum(count for kind, count in kinds if kind == "symbol")
    visible = sum(count for kind, count in kinds if kind != "space")
    return symbols / visible if visible else 0.0


def duplicate_line_fraction(text: str) -> float:
    """Share of lines that repeat an earlier one, among lines that are not blank; 0 when there are none."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return 1 - len(set(lines)) / len(lines) if lines else 0.0


@lru_cache(maxsize=65_536)
def _kind(character: str) -> str:
    if character.isspace():
        return "space"
    # Marks are vowels in many scripts: counting them as symbols would throw Hindi or Thai away.
    return "word" if unicodedata.category(character)[0] in "LNM" else "symbol"
