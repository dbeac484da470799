"""Gopher's rules for natural text; `text.quality.params.GopherQualityParams` says what they mean."""

from typing import NamedTuple

from forgeline.text.kernels.affixes import slot_of
from forgeline.text.kernels.grams import emptied, seen_before
from forgeline.text.kernels.inner import inlined, inner
from forgeline.text.kernels.scan import Counts
from forgeline.text.kernels.tables import (
    END,
    FLAGS,
    HAS_LETTER,
    HASH,
    LENGTH,
    NOT_ONLY_SYMBOLS,
    START,
    Bytes,
    Longs,
    Room,
)

KEPT = 0
TOO_FEW_WORDS = 1
TOO_MANY_WORDS = 2
SHORT_WORDS = 3
LONG_WORDS = 4
HASH_SIGNS = 5
ELLIPSES = 6
BULLET_LINES = 7
ELLIPSIS_LINES = 8
TOO_FEW_LETTERS = 9
TOO_FEW_STOP_WORDS = 10

_HYPHEN, _FULL_STOP = 0x2D, 0x2E
_BULLET = (0xE2, 0x80, 0xA2)  # in UTF-8
_ELLIPSIS = (0xE2, 0x80, 0xA6)


class QualityLimits(NamedTuple):
    """Limits; infinite where a rule is off.

    Attributes:
        enabled: Whether the family is applied.
        min_words: Words other than punctuation.
        max_words: Likewise.
        min_mean_length: Characters of such words.
        max_mean_length: Likewise.
        hash_signs: Per word.
        ellipses: Per word.
        bullet_lines: Fraction of lines.
        ellipsis_lines: Fraction of lines.
        min_with_letter: Fraction of words.
        min_stop_words: Different ones.
        stop_words: Hash table of their hashes, 0 where free.
    """

    enabled: bool
    min_words: float
    max_words: float
    min_mean_length: float
    max_mean_length: float
    hash_signs: float
    ellipses: float
    bullet_lines: float
    ellipsis_lines: float
    min_with_letter: float
    min_stop_words: float
    stop_words: Longs


@inner
def judge_quality(text: Bytes, counts: Counts, limits: QualityLimits, room: Room) -> tuple[int, float]:
    """The first rule that the document breaks and what was measured, or `KEPT` and 0."""
    num_counted, num_with_letter, characters = 0, 0, 0
    for word in range(counts.num_words):
        flags = room.words[word, FLAGS]
        num_with_letter += (flags & HAS_LETTER) != 0
        if flags & NOT_ONLY_SYMBOLS:
            num_counted += 1
            characters += room.words[word, LENGTH]
    rule, value = _judge_words(num_counted, characters, limits)
    if rule == KEPT:
        rule, value = _judge_marks(text, counts, limits, room)
    if rule != KEPT:
        return rule, value
    with_letter = num_with_letter / max(counts.num_words, 1)
    if with_letter < limits.min_with_letter:
        return TOO_FEW_LETTERS, with_letter
    num_stop_words = _num_stop_words(counts, limits, room)
    if num_stop_words < limits.min_stop_words:
        return TOO_FEW_STOP_WORDS, float(num_stop_words)
    return KEPT, 0.0


@inlined
def _judge_words(num_words: int, characters: int, limits: QualityLimits) -> tuple[int, float]:
    if num_words < limits.min_words:
        return TOO_FEW_WORDS, float(num_words)
    if num_words > limits.max_words:
        return TOO_MANY_WORDS, float(num_words)
    mean_length = characters / max(num_words, 1)
    if mean_length < limits.min_mean_length:
        return SHORT_WORDS, mean_length
    if mean_length > limits.max_mean_length:
        return LONG_WORDS, mean_length
    return KEPT, 0.0


@inlined
def _judge_marks(text: Bytes, counts: Counts, limits: QualityLimits, room: Room) -> tuple[int, float]:
    """The rules on hash signs, ellipses and bullets."""
    num_words = max(counts.num_words, 1)
    if counts.num_hash_signs / num_words > limits.hash_signs:
        return HASH_SIGNS, counts.num_hash_signs / num_words
    if counts.num_ellipses / num_words > limits.ellipses:
        return ELLIPSES, counts.num_ellipses / num_words
    bullets, ellipses = _line_fractions(text, counts, room)
    if bullets > limits.bullet_lines:
        return BULLET_LINES, bullets
    if ellipses > limits.ellipsis_lines:
        return ELLIPSIS_LINES, ellipses
    return KEPT, 0.0


@inner
def _line_fractions(text: Bytes, counts: Counts, room: Room) -> tuple[float, float]:
    """Fractions of lines that begin with a bullet or hyphen, and that end with an ellipsis."""
    num_bullets, num_ellipses = 0, 0
    for line in range(counts.num_lines):
        start, end = room.lines[line, START], room.lines[line, END]
        if start == end:
            continue
        num_bullets += text[start] == _HYPHEN or _stands_at(text, start, end, _BULLET)
        full_stops = end - start > 2 and text[end - 1] == text[end - 2] == text[end - 3] == _FULL_STOP
        num_ellipses += full_stops or _stands_at(text, end - 3, end, _ELLIPSIS)
    num_lines = max(counts.num_lines, 1)
    return num_bullets / num_lines, num_ellipses / num_lines


@inlined
def _stands_at(text: Bytes, start: int, end: int, mark: tuple[int, int, int]) -> bool:
    """Whether a character of three bytes stands at `start`."""
    if start < 0 or end - start < 3:
        return False
    return bool(text[start] == mark[0] and text[start + 1] == mark[1] and text[start + 2] == mark[2])


@inner
def _num_stop_words(counts: Counts, limits: QualityLimits, room: Room) -> int:
    """How many different stop words there are; stops at as many as are needed."""
    found = room.keys[: emptied(room.keys, min(counts.num_words, limits.stop_words.size))]
    count = 0
    for word in range(counts.num_words):
        if count >= limits.min_stop_words:
            break
        key = room.words[word, HASH]
        if limits.stop_words[slot_of(key, limits.stop_words)] == key and not seen_before(key, found):
            count += 1
    return count
