"""Gopher's repetition rules; `text.quality.params.GopherRepetitionParams` says what they mean."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from forgeline.text.kernels.grams import (
    count_grams,
    duplicate_characters,
    emptied,
    first_grams,
    gram_characters,
    hash_bytes,
    keep_repeated,
    lengthen_parted,
    num_characters,
    seen_before,
    write_together,
)
from forgeline.text.kernels.inner import ZERO, inner
from forgeline.text.kernels.scan import Counts
from forgeline.text.kernels.tables import END, NUM_CHUNKS, START, Bytes, Longs, Room, WordRules

KEPT = 0
EMPTY = 1
DUPLICATE_PARAGRAPHS = 2
DUPLICATE_PARAGRAPH_CHARACTERS = 3
DUPLICATE_LINES = 4
DUPLICATE_LINE_CHARACTERS = 5
TOP_GRAM = 6  # and the following, one for each size
FIRST_TOP_SIZE, LAST_TOP_SIZE = 2, 4
DUPLICATE_GRAM = 9  # and the following
FIRST_DUPLICATE_SIZE, LAST_DUPLICATE_SIZE = 5, 10


class RepetitionLimits(NamedTuple):
    """Largest fractions; infinite where a rule is off.

    Attributes:
        enabled: Whether the family is applied.
        paragraphs: Of paragraphs.
        paragraph_characters: Of characters, in paragraphs.
        lines: Of lines.
        line_characters: Of characters, in lines.
        top_grams: (3,) float64, of characters, for n-grams of 2, 3, 4 words.
        duplicate_grams: (6,) float64, for 5 to 10 words.
    """

    enabled: bool
    paragraphs: float
    paragraph_characters: float
    lines: float
    line_characters: float
    top_grams: NDArray[np.float64]
    duplicate_grams: NDArray[np.float64]


@inner
def judge_repetition(
    text: Bytes, start: int, end: int, counts: Counts, limits: RepetitionLimits, rules: WordRules, room: Room
) -> tuple[int, float]:
    """The first rule that the document breaks and what was measured, or `KEPT` and 0."""
    if start == end:
        return EMPTY, 0.0
    first, last = _stripped(start, counts, room)
    fraction, characters = _repeated_parts(text, first, last, room.newlines[: counts.num_newlines], ZERO + 2, room.keys)
    if fraction > limits.paragraphs:
        return DUPLICATE_PARAGRAPHS, fraction
    fraction_of_text = characters / counts.num_characters
    if fraction_of_text > limits.paragraph_characters:
        return DUPLICATE_PARAGRAPH_CHARACTERS, fraction_of_text
    fraction, characters = _repeated_parts(text, start, end, room.newlines[: counts.num_newlines], ZERO + 1, room.keys)
    if fraction > limits.lines:
        return DUPLICATE_LINES, fraction
    fraction_of_text = characters / counts.num_characters
    if fraction_of_text > limits.line_characters:
        return DUPLICATE_LINE_CHARACTERS, fraction_of_text
    return _judge_grams(counts, limits, rules, room)


@inner
def _judge_grams(counts: Counts, limits: RepetitionLimits, rules: WordRules, room: Room) -> tuple[int, float]:
    words, num_words, grams = room.words, counts.num_words, room.grams
    num_grams = first_grams(words, num_words, grams)
    for size in range(FIRST_TOP_SIZE, LAST_TOP_SIZE + 1):
        if num_words < size:
            return KEPT, 0.0
        most, first = count_grams(grams, num_grams, room.keys, room.tallies)
        if most < 2:
            most, first = 1, 0
        fraction = most * (gram_characters(grams, first, size) + size - 1) / counts.num_characters
        if fraction > limits.top_grams[size - FIRST_TOP_SIZE]:
            return TOP_GRAM + size - FIRST_TOP_SIZE, fraction
        num_grams = keep_repeated(grams, num_grams, room.tallies)
        lengthen_parted(words, grams, num_grams, size + 1)
    for size in range(FIRST_DUPLICATE_SIZE, LAST_DUPLICATE_SIZE + 1):
        if num_grams == 0:
            break
        write_together(words, grams, num_grams, size, rules.powers)
        fraction = duplicate_characters(grams, num_grams, size, room.keys) / counts.num_characters
        if fraction > limits.duplicate_grams[size - FIRST_DUPLICATE_SIZE]:
            return DUPLICATE_GRAM + size - FIRST_DUPLICATE_SIZE, fraction
        count_grams(grams, num_grams, room.keys, room.tallies)
        num_grams = keep_repeated(grams, num_grams, room.tallies)
    return KEPT, 0.0


@inner
def _stripped(start: int, counts: Counts, room: Room) -> tuple[int, int]:
    """Where the text without white space at its ends begins and ends; twice `start` if there is only white space."""
    first, last = start, start
    for line in range(counts.num_lines):
        if room.lines[line, NUM_CHUNKS] > 0:
            if last == start:
                first = room.lines[line, START]
            last = room.lines[line, END]
    return first, last


@inner
def _repeated_parts(
    text: Bytes, start: int, end: int, newlines: Longs, least_newlines: int, keys: Longs
) -> tuple[float, int]:
    """Fraction of the parts between so many or more newlines that stood there before, and their characters."""
    table = keys[: emptied(keys, newlines.size + 1)]
    num_parts, num_repeated, characters = 0, 0, 0
    part = start
    first = 0
    while part <= end:
        part_end, next_part = end, end + 1
        while first < newlines.size and newlines[first] < end:
            after = first + 1
            while after < newlines.size and newlines[after] == newlines[after - 1] + 1:
                after += 1
            run, first = first, after
            if newlines[run] >= start and after - run >= least_newlines:
                part_end, next_part = newlines[run], newlines[after - 1] + 1
                break
        num_parts += 1
        if seen_before(hash_bytes(text, part, part_end), table):
            num_repeated += 1
            characters += num_characters(text, part, part_end)
        part = next_part
    return num_repeated / num_parts, characters
