"""Reads a document once and notes what the quality rules need of it: words, lines, newlines, and some counts."""

from typing import NamedTuple

import numpy as np

from forgeline.text.kernels.affixes import HASH_BASE, LONGEST_SPECIAL, slot_of
from forgeline.text.kernels.classes import (
    BYTE_DIGIT,
    BYTE_FULL_STOP,
    BYTE_HIGH,
    BYTE_LETTER,
    BYTE_MARK,
    BYTE_SPACE,
    BYTE_WHITE,
    COUNTED,
    LETTER,
    LINE_BREAK,
    MARK,
    PUNCTUATION,
    SENTENCE_END,
    SPACE,
    SYMBOL,
    UNSPACED,
)
from forgeline.text.kernels.inner import ZERO, inlined, inner
from forgeline.text.kernels.normalize import decode
from forgeline.text.kernels.tables import (
    AFTER_WHITE_SPACE,
    END,
    ENDS_SENTENCE,
    FLAGS,
    HAS_CURLY_BRACKET,
    HAS_LETTER,
    HAS_SQUARE_BRACKET,
    HASH,
    LENGTH,
    LINE_FLAGS,
    LONGEST_CHUNK,
    NOT_ONLY_SYMBOLS,
    NUM_CHUNKS,
    ONLY_PUNCTUATION,
    START,
    WORD_END,
    Bytes,
    Classes,
    Ints,
    Longs,
    Room,
    SpecialCases,
    WordRules,
)
from forgeline.text.kernels.words import split_chunk

# What is counted besides
HASH_SIGNS = 0
ELLIPSES = 1

_NEWLINE, _RETURN, _SPACE, _FULL_STOP, _HASH, _ELLIPSIS = 0x0A, 0x0D, 0x20, 0x2E, 0x23, 0x2026
_SQUARE_BRACKET, _CURLY_BRACKET, _LOWER_A = 0x5B, 0x7B, 0x61


class Counts(NamedTuple):
    """How much there is in a document."""

    num_words: int
    num_lines: int
    num_newlines: int
    num_characters: int
    num_hash_signs: int
    num_ellipses: int


class LineCounts(NamedTuple):
    """What `scan_line` found.

    Attributes:
        num_words: Words noted so far, those of this line included.
        start: Where the first character that is not white space begins.
        end: Where the last one ends.
        num_chunks: See `tables`.
        longest_chunk: See `tables`.
        flags: Of the line.
    """

    num_words: int
    start: int
    end: int
    num_chunks: int
    longest_chunk: int
    flags: int


@inner
def scan(text: Bytes, start: int, end: int, rules: WordRules, unspaced: bool, room: Room) -> Counts:
    """Notes words, lines and newlines of the document between two bytes of `text`."""
    num_lines, num_newlines, num_characters = _find_lines(text, start, end, rules, room.lines, room.newlines)
    num_words = ZERO
    room.totals[HASH_SIGNS] = 0
    room.totals[ELLIPSES] = 0
    lines = room.lines
    for line in range(num_lines):
        found = scan_line(text, lines[line, START], lines[line, END], rules, unspaced, room, num_words)
        num_words = found.num_words
        lines[line, START] = found.start
        lines[line, END] = found.end
        lines[line, WORD_END] = num_words
        lines[line, NUM_CHUNKS] = found.num_chunks
        lines[line, LONGEST_CHUNK] = found.longest_chunk
        lines[line, LINE_FLAGS] = found.flags
    return Counts(num_words, num_lines, num_newlines, num_characters, room.totals[HASH_SIGNS], room.totals[ELLIPSES])


@inlined
def _find_lines(
    text: Bytes, start: int, end: int, rules: WordRules, lines: Longs, newlines: Longs
) -> tuple[int, int, int]:
    """Notes where lines begin and end, and newlines; returns how many there are of both, and of characters."""
    num_lines, num_newlines, num_continued = 0, 0, 0
    line_start = position = start
    while position < end:
        byte = text[position]
        kind = rules.byte_classes[byte]
        position += 1
        if kind < BYTE_WHITE:
            continue
        width = 1
        if kind == BYTE_WHITE:
            if not rules.classes[byte] & LINE_BREAK:
                continue
            if byte == _NEWLINE:
                newlines[num_newlines] = position - 1
                num_newlines += 1
        else:
            if byte < 0x80:
                continue
            point, width = decode(text, position - 1)
            num_continued += width - 1
            position += width - 1
            if not rules.classes[point] & LINE_BREAK:
                continue
        lines[num_lines, START] = line_start
        lines[num_lines, END] = position - width
        num_lines += 1
        if byte == _RETURN and position < end and text[position] == _NEWLINE:
            newlines[num_newlines] = position
            num_newlines += 1
            position += 1
        line_start = position
    if line_start < end:
        lines[num_lines, START] = line_start
        lines[num_lines, END] = end
        num_lines += 1
    return num_lines, num_newlines, end - start - num_continued


@inner
def scan_line(
    text: Bytes, start: int, end: int, rules: WordRules, unspaced: bool, room: Room, num_words: int
) -> LineCounts:
    """Notes the words of a line behind those noted, and adds its hash signs and ellipses to `room.totals`."""
    words = room.words
    first, last = end, end
    num_chunks, longest, flags = 0, 0, 0
    position = _after_white_space(text, start, end, rules)
    while position < end:
        words_before, chunk_start = num_words, position
        position, num_words = _read_plain(text, position, end, rules, words, num_words)
        size = position - chunk_start
        if size == 0:
            position, size, seen = _decode_chunk(text, position, end, rules.classes, room.points, room.classes)
            if seen & COUNTED:
                flags |= _count(room.points, size, room.totals)
            count = split_chunk(room.points, room.classes, size, rules.cases, room.cuts)
            part = unspaced and seen & UNSPACED != 0
            num_words = _add_words(room.points, room.classes, room.cuts[0], count, part, words, num_words)
        if num_chunks == 0:
            first = chunk_start
        elif chunk_start - last != 1 or text[last] != _SPACE:
            words[words_before, FLAGS] |= AFTER_WHITE_SPACE
        last = position
        if unspaced:
            num_chunks += num_words - words_before
            for word in range(words_before, num_words):
                longest = max(longest, words[word, LENGTH])
        else:
            num_chunks += 1
            longest = max(longest, size)
        position = _after_white_space(text, position, end, rules)
    return LineCounts(num_words, first, last, num_chunks, longest, flags)


@inlined
def _after_white_space(text: Bytes, position: int, end: int, rules: WordRules) -> int:
    while position < end:
        kind = rules.byte_classes[text[position]]
        width = 1
        if kind == BYTE_HIGH:
            point, width = decode(text, position)
            if not rules.classes[point] & SPACE:
                break
        elif kind != BYTE_SPACE and kind != BYTE_WHITE:
            break
        position += width
    return position


@inlined
def _read_plain(
    text: Bytes, position: int, end: int, rules: WordRules, words: Longs, num_words: int
) -> tuple[int, int]:
    """Reads a chunk of ASCII letters or of digits, maybe with one mark behind, which is most of what there is.

    Returns the position after it and the number of words; `position` itself if the chunk is of another kind.
    """
    kinds = rules.byte_classes
    kind = kinds[text[position]]
    if kind != BYTE_LETTER and kind != BYTE_DIGIT:
        return position, num_words
    key = 0
    after = position
    while after < end and kinds[text[after]] == kind:
        key = key * HASH_BASE + text[after] + 1
        after += 1
    size = after - position
    if _is_special(text[position], size, key, rules.cases):
        return position, num_words
    behind = BYTE_SPACE if after == end else kinds[text[after]]
    has_mark = behind == BYTE_MARK or behind == BYTE_FULL_STOP  # `in` would build a tuple each time
    if has_mark:
        if _is_special(text[position], size + 1, key * HASH_BASE + text[after] + 1, rules.cases):
            return position, num_words
        if behind == BYTE_FULL_STOP and kind == BYTE_LETTER and text[after - 1] < _LOWER_A:
            return position, num_words  # after a capital it depends
        behind = BYTE_SPACE if after + 1 == end else kinds[text[after + 1]]
    if behind != BYTE_SPACE and behind != BYTE_WHITE:
        return position, num_words
    words[num_words, HASH] = key
    words[num_words, LENGTH] = size
    words[num_words, FLAGS] = NOT_ONLY_SYMBOLS | (HAS_LETTER if kind == BYTE_LETTER else 0)
    if not has_mark:
        return after, num_words + 1
    mark = text[after]
    words[num_words + 1, HASH] = np.int64(mark) + 1
    words[num_words + 1, LENGTH] = 1
    classes: int = ZERO + rules.classes[mark]
    words[num_words + 1, FLAGS] = _flags(classes, classes, ZERO + 1)
    return after + 1, num_words + 2


@inner
def _is_special(first: int, size: int, key: int, cases: SpecialCases) -> bool:
    """Whether a word of ASCII is a special case, by its hash."""
    if size > LONGEST_SPECIAL or not (cases.lengths[first] >> size) & 1:
        return False
    is_case: bool = cases.keys[slot_of(key, cases.keys)] == key
    return is_case


@inlined
def _decode_chunk(
    text: Bytes, position: int, end: int, table: Classes, points: Ints, classes: Classes
) -> tuple[int, int, int]:
    """Decodes up to the next white space; returns the position there, the characters, and the classes of any."""
    size = 0
    seen = 0
    while position < end:
        point, width = decode(text, position)
        bits: int = ZERO + table[point]
        if bits & SPACE:
            break
        points[size] = point
        classes[size] = bits
        seen |= bits
        size += 1
        position += width
    return position, size, seen


@inlined
def _count(points: Ints, size: int, totals: Longs) -> int:
    """Adds a chunk's hash signs and ellipses to the totals; returns the flags of its brackets."""
    flags = 0
    run = 0
    for place in range(size):
        point = points[place]
        run = run + 1 if point == _FULL_STOP else 0
        if run == 3:
            totals[ELLIPSES] += 1
            run = 0
        if point == _ELLIPSIS:
            totals[ELLIPSES] += 1
        elif point == _HASH:
            totals[HASH_SIGNS] += 1
        elif point == _SQUARE_BRACKET:
            flags |= HAS_SQUARE_BRACKET
        elif point == _CURLY_BRACKET:
            flags |= HAS_CURLY_BRACKET
    return flags


@inlined
def _add_words(
    points: Ints, classes: Classes, ends: Longs, count: int, part: bool, words: Longs, num_words: int
) -> int:
    """Notes the words of a chunk that is split, parted once more if asked; returns how many are noted now."""
    start = 0
    for number in range(count):
        word_end = ends[number]
        while start < word_end:
            end = _part_end(classes, start, word_end) if part else word_end
            key = 0
            any_class, all_classes = ZERO, ZERO - 1
            for place in range(start, end):
                key = key * HASH_BASE + points[place] + 1
                any_class |= classes[place]
                all_classes &= classes[place]
            words[num_words, HASH] = key
            words[num_words, LENGTH] = end - start
            words[num_words, FLAGS] = _flags(any_class, all_classes, end - start)
            num_words += 1
            start = end
    return num_words


@inner
def _flags(any_class: int, all_classes: int, size: int) -> int:
    """Flags of a word by the classes of its characters."""
    flags = HAS_LETTER if any_class & LETTER else 0
    if not all_classes & SYMBOL:
        flags |= NOT_ONLY_SYMBOLS
    if all_classes & PUNCTUATION:
        flags |= ONLY_PUNCTUATION
    if size == 1 and all_classes & SENTENCE_END:
        flags |= ENDS_SENTENCE
    return flags


@inlined
def _part_end(classes: Classes, start: int, end: int) -> int:
    """Where the first part ends of a word with letters of scripts without spaces.

    Such a letter is a part, with the marks on it, and so is every punctuation mark; what stands between stays together.
    """
    after = start + 1
    if classes[start] & UNSPACED:
        while after < end and classes[after] & MARK:
            after += 1
    elif not classes[start] & PUNCTUATION:
        while after < end and not classes[after] & (UNSPACED | PUNCTUATION):
            after += 1
    return after
