"""FineWeb's rules; `text.quality.params.FineWebParams` says what they mean."""

from typing import NamedTuple

from forgeline.text.kernels.classes import LINE_END, SPACE
from forgeline.text.kernels.grams import emptied, hash_bytes, num_characters, seen_before
from forgeline.text.kernels.inner import inner
from forgeline.text.kernels.normalize import decode
from forgeline.text.kernels.tables import Bytes, Longs, Room, WordRules

KEPT = 0
EMPTY = 1
TOO_FEW_PUNCTUATED_LINES = 2
SHORT_LINES = 3
DUPLICATE_LINES = 4
TOO_MANY_NEWLINES = 5

_NEWLINE = 0x0A


class FineWebLimits(NamedTuple):
    """Limits; infinite where a rule is off.

    Attributes:
        enabled: Whether the family is applied.
        min_punctuated: Fraction of lines.
        max_short: Fraction of lines.
        short_characters: Of a short line.
        duplicate_characters: Fraction of characters.
        newlines: Per word.
    """

    enabled: bool
    min_punctuated: float
    max_short: float
    short_characters: int
    duplicate_characters: float
    newlines: float


class _LineFigures(NamedTuple):
    """Lines that are not blank: all, punctuated and short ones; characters in repeated ones; and newlines."""

    num_lines: int
    num_punctuated: int
    num_short: int
    duplicate_characters: int
    num_newlines: int


@inner
def judge_fineweb(
    text: Bytes, start: int, end: int, num_words: int, limits: FineWebLimits, rules: WordRules, room: Room
) -> tuple[int, float]:
    """The first rule that the text between two bytes breaks and what was measured, or `KEPT` and 0."""
    figures = _measure_lines(text, start, end, limits.short_characters, rules, room.keys)
    if figures.num_lines == 0:
        return EMPTY, 0.0
    punctuated = figures.num_punctuated / figures.num_lines
    if punctuated < limits.min_punctuated:
        return TOO_FEW_PUNCTUATED_LINES, punctuated
    short = figures.num_short / figures.num_lines
    if short > limits.max_short:
        return SHORT_LINES, short
    duplicate = figures.duplicate_characters / (num_characters(text, start, end) - figures.num_newlines)
    if duplicate > limits.duplicate_characters:
        return DUPLICATE_LINES, duplicate
    newlines = figures.num_newlines / max(num_words, 1)
    if newlines > limits.newlines:
        return TOO_MANY_NEWLINES, newlines
    return KEPT, 0.0


@inner
def _measure_lines(
    text: Bytes, start: int, end: int, short_characters: int, rules: WordRules, keys: Longs
) -> _LineFigures:
    num_newlines = 0
    for place in range(start, end):
        num_newlines += text[place] == _NEWLINE
    table = keys[: emptied(keys, num_newlines + 1)]
    num_lines, num_punctuated, num_short, duplicate_characters = 0, 0, 0, 0
    line = start
    while line < end:
        line_end = line
        while line_end < end and text[line_end] != _NEWLINE:
            line_end += 1
        if not _is_blank(text, line, line_end, rules):
            num_lines += 1
            characters = num_characters(text, line, line_end)
            num_short += characters <= short_characters
            num_punctuated += _is_punctuated(text, line_end, rules)
            if seen_before(hash_bytes(text, line, line_end), table):
                duplicate_characters += characters
        line = line_end + 1
    return _LineFigures(num_lines, num_punctuated, num_short, duplicate_characters, num_newlines)


@inner
def _is_blank(text: Bytes, start: int, end: int, rules: WordRules) -> bool:
    while start < end:
        point, width = decode(text, start)
        if not rules.classes[point] & SPACE:
            return False
        start += width
    return True


@inner
def _is_punctuated(text: Bytes, end: int, rules: WordRules) -> bool:
    """Whether the character before a byte is terminal punctuation."""
    last = end - 1
    while text[last] & 0xC0 == 0x80:
        last -= 1
    point, _ = decode(text, last)
    return bool(rules.classes[point] & LINE_END)
