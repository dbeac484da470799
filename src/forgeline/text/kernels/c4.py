"""C4's rules, which rewrite a document line by line; `text.quality.params.C4Params` says what they mean."""

from typing import NamedTuple

from forgeline.text.kernels.classes import DECIMAL, SPACE
from forgeline.text.kernels.inner import ZERO, inlined, inner
from forgeline.text.kernels.normalize import decode
from forgeline.text.kernels.phrases import Phrases, find_phrases
from forgeline.text.kernels.scan import Counts, scan_line
from forgeline.text.kernels.tables import (
    AFTER_WHITE_SPACE,
    END,
    ENDS_SENTENCE,
    FLAGS,
    HAS_CURLY_BRACKET,
    HAS_SQUARE_BRACKET,
    LINE_FLAGS,
    LONGEST_CHUNK,
    NUM_CHUNKS,
    ONLY_PUNCTUATION,
    START,
    WORD_END,
    Bytes,
    Ints,
    Longs,
    Room,
    WordRules,
)

KEPT = 0
DOCUMENT_PHRASE = 1
CURLY_BRACKET = 2
TOO_FEW_SENTENCES = 3
NO_LINES = 4
_CUT_OUT = -1

_FULL_STOP, _NEWLINE, _SPACE, _OPEN, _CLOSE = 0x2E, 0x0A, 0x20, 0x5B, 0x5D


class C4Limits(NamedTuple):
    """Limits; infinite where a rule is off.

    Attributes:
        enabled: Whether the family is applied.
        max_word_characters: In a line.
        remove_citations: Whether they are cut out.
        any_ending: Whether lines may end with anything.
        endings: (n,) int32, else the code points they may end with.
        min_chunks: Runs without white space in a line.
        phrases: The phrases of all three kinds.
        document_phrases: Bits of those that drop a document.
        line_phrases: Bits of those that cut out their line before brackets are looked for.
        policy_phrases: Bits of those that do so afterwards.
        drop_curly_brackets: Whether they drop a document.
        min_sentences: In the kept lines.
        notes: (n,) uint8, the bytes of other things in brackets that are cut out, each preceded by its length.
    """

    enabled: bool
    max_word_characters: float
    remove_citations: bool
    any_ending: bool
    endings: Ints
    min_chunks: float
    phrases: Phrases
    document_phrases: int
    line_phrases: int
    policy_phrases: int
    drop_curly_brackets: bool
    min_sentences: float
    notes: Bytes


class Rewritten(NamedTuple):
    """What became of a document: the rule it breaks, what was measured, where its text ends now, and its words."""

    rule: int
    value: float
    end: int
    num_words: int


@inner
def rewrite(
    text: Bytes, counts: Counts, limits: C4Limits, rules: WordRules, unspaced: bool, room: Room, out: Bytes, start: int
) -> Rewritten:
    """Writes the lines that stay, joined and stripped, to `out` from `start` on."""
    lines = room.lines
    written = start
    num_words, num_sentences = 0, 0
    for line in range(counts.num_lines):
        source, first, last = text, lines[line, START], lines[line, END]
        is_cited = False
        if limits.remove_citations and lines[line, LINE_FLAGS] & HAS_SQUARE_BRACKET:
            size = _cut_citations(text, first, last, rules, limits.notes, room.line)
            if size < last - first:
                source, first, last, is_cited = room.line, ZERO, size, True
        rule = _judge_line(source, first, last, lines, line, limits)
        if rule == _CUT_OUT:
            continue
        if rule != KEPT:
            return Rewritten(rule, 1.0, start, ZERO)
        first_word = lines[line - 1, WORD_END] if line > 0 else ZERO
        word_end = lines[line, WORD_END]
        ends_with_gap = False
        if is_cited:
            again = scan_line(source, first, last, rules, unspaced, room, counts.num_words)
            first_word, word_end = counts.num_words, again.num_words
            ends_with_gap = last - again.end > 1 or (last > again.end and source[again.end] != _SPACE)
        num_sentences += _num_sentences(room.words, first_word, word_end, ends_with_gap)
        num_words += word_end - first_word
        written = _append_line(source, first, last, rules, out, start, written)
    if num_sentences < limits.min_sentences:
        return Rewritten(TOO_FEW_SENTENCES, float(num_sentences), start, ZERO)
    written = _without_trailing_space(out, start, written, rules)
    if written == start:
        return Rewritten(NO_LINES, 0.0, start, ZERO)
    return Rewritten(KEPT, 0.0, written, num_words)


@inlined
def _judge_line(source: Bytes, first: int, last: int, lines: Longs, line: int, limits: C4Limits) -> int:
    """`KEPT`, `_CUT_OUT`, or the rule by which a line drops its document."""
    if lines[line, LONGEST_CHUNK] > limits.max_word_characters:
        return _CUT_OUT
    if not _may_end(source, first, last, limits) or lines[line, NUM_CHUNKS] < limits.min_chunks:
        return _CUT_OUT
    found = find_phrases(source, first, last, limits.phrases)
    if found & limits.document_phrases:
        return DOCUMENT_PHRASE
    if found & limits.line_phrases:
        return _CUT_OUT
    if limits.drop_curly_brackets and lines[line, LINE_FLAGS] & HAS_CURLY_BRACKET:
        return CURLY_BRACKET
    return _CUT_OUT if found & limits.policy_phrases else KEPT


@inner
def _cut_citations(text: Bytes, start: int, end: int, rules: WordRules, notes: Bytes, line: Bytes) -> int:
    """Copies a line without `[`, decimal digits, `]`, and without the notes; returns its new size."""
    size = 0
    place = start
    while place < end:
        if text[place] == _OPEN:
            after = _citation_end(text, place, end, rules, notes)
            if after > place:
                place = after
                continue
        line[size] = text[place]
        size += 1
        place += 1
    return size


@inner
def _citation_end(text: Bytes, start: int, end: int, rules: WordRules, notes: Bytes) -> int:
    """Where the citation ends that begins at a bracket, or `start` if none does."""
    place = start + 1
    while place < end:
        point, width = decode(text, place)
        if not rules.classes[point] & DECIMAL:
            break
        place += width
    if place < end and text[place] == _CLOSE:
        return place + 1
    note = 0
    while note < notes.size:
        size: int = ZERO + notes[note]
        if start + size <= end and _is_equal(text, start, notes, note + 1, size):
            return start + size
        note += size + 1
    return start


@inner
def _is_equal(left: Bytes, left_start: int, right: Bytes, right_start: int, size: int) -> bool:
    for place in range(size):  # noqa: SIM110 - `all` does not compile
        if left[left_start + place] != right[right_start + place]:
            return False
    return True


@inner
def _may_end(text: Bytes, start: int, end: int, limits: C4Limits) -> bool:
    """Whether a line ends with a mark it may end with, and not with three full stops."""
    if limits.any_ending:
        return True
    if start == end:
        return False
    last = end - 1
    while text[last] & 0xC0 == 0x80:
        last -= 1
    point, _ = decode(text, last)
    if point == _FULL_STOP and end - start > 2 and text[end - 2] == text[end - 3] == _FULL_STOP:
        return False
    for ending in limits.endings:  # noqa: SIM110 - `any` does not compile
        if point == ending:
            return True
    return False


@inner
def _num_sentences(words: Longs, first: int, end: int, ends_with_gap: bool) -> int:
    """Sentences of a line, as spaCy's sentencizer counts: one ends at a mark and what punctuation follows."""
    count = 1
    has_ended = False
    for word in range(first, end):
        flags = words[word, FLAGS]
        if has_ended and flags & AFTER_WHITE_SPACE:
            count += 1
            has_ended = False
        if flags & ENDS_SENTENCE:
            has_ended = True
        elif has_ended and not flags & ONLY_PUNCTUATION:
            count += 1
            has_ended = False
    return count + 1 if has_ended and ends_with_gap else count


@inner
def _append_line(source: Bytes, first: int, last: int, rules: WordRules, out: Bytes, start: int, written: int) -> int:
    """Writes a line behind those written since `start`, whose white space in front is left out."""
    if written > start:
        out[written] = _NEWLINE
        written += 1
    else:
        while first < last:
            point, width = decode(source, first)
            if not rules.classes[point] & SPACE:
                break
            first += width
    return copy(source, first, last, out, written)


@inner
def copy(source: Bytes, first: int, last: int, out: Bytes, written: int) -> int:
    """Writes some bytes behind those written and returns how many are now."""
    for place in range(first, last):
        out[written + place - first] = source[place]
    return written + last - first


@inner
def _without_trailing_space(out: Bytes, start: int, end: int, rules: WordRules) -> int:
    while end > start:
        last = end - 1
        while out[last] & 0xC0 == 0x80:
            last -= 1
        point, _ = decode(out, last)
        if not rules.classes[point] & SPACE:
            break
        end = last
    return end
