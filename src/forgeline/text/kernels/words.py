"""Splits a chunk, a run of characters without white space, into words and punctuation marks.

How a chunk is split depends on nothing else. The procedure is that of spaCy's `Tokenizer` (MIT licence, copyright
2016-2024 ExplosionAI GmbH) with its rules for English: affixes are cut off as long as a rule cuts any; special cases
("don't", "e.g.", "10am", emoticons) end that and have words of their own; what then remains is an address or is parted
at infixes; and words that together spell a special case become its words. Written anew: there rules are regular
expressions on Python strings, here they are tests of character classes on arrays.
"""

import numpy as np
from numpy.typing import NDArray

from forgeline.text.kernels.addresses import is_address
from forgeline.text.kernels.affixes import (
    LONGEST_SPECIAL,
    MAY_PART,
    NO_CASE,
    find_special,
    infix_length,
    prefix_length,
    suffix_length,
)
from forgeline.text.kernels.classes import SPECIAL_FIRST, SPECIAL_SECOND
from forgeline.text.kernels.inner import ZERO, entry, inner
from forgeline.text.kernels.tables import Classes, Ints, Longs, SpecialCases

_FULL_STOP = 0x2E
_INSIDE = -2
_PASSED_OVER = -3


@entry
def split_chunk(points: Ints, classes: Classes, size: int, cases: SpecialCases, cuts: Longs) -> int:
    """Splits the chunk that `size` code points make.

    Args:
        points: The code points.
        classes: Their bits of `classes`.
        size: How many there are, at least one.
        cases: Special cases.
        cuts: (3, n) with n at least `size`; row 0 is filled with the positions where words end, the others are used.

    Returns:
        The number of words.
    """
    ends, suffix_ends = cuts[0], cuts[1]
    low, high = ZERO, size
    count, num_suffixes = ZERO, 0
    special = NO_CASE
    while low < high and special == NO_CASE:
        prefix, suffix, special = _next_affixes(points, classes, low, high, cases)
        if prefix > 0:
            low += prefix
            ends[count] = low
            count += 1
        if suffix > 0:
            suffix_ends[num_suffixes] = high
            num_suffixes += 1
            high -= suffix
        if prefix + suffix == 0:
            break
    if special != NO_CASE:
        count = _cut_special(low, special, cases, ends, count)
    elif low < high:
        count = _cut_at_infixes(points, classes, low, high, ends, count)
    for number in range(num_suffixes - 1, -1, -1):
        ends[count] = suffix_ends[number]
        count += 1
    return _join_specials(points, count, cases, cuts) if _may_join(classes, ends, count) else count


@inner
def _next_affixes(points: Ints, classes: Classes, low: int, high: int, cases: SpecialCases) -> tuple[int, int, int]:
    """How much to cut off next at the front and at the end, and the special case that then is left, or `NO_CASE`.

    Where one affix leaves a special case, the other is not cut off.
    """
    special = find_special(points, low, high, cases)
    if special != NO_CASE:
        return ZERO, ZERO, special
    prefix = prefix_length(points, classes, low, high)
    if 0 < prefix < high - low:
        special = find_special(points, low + prefix, high, cases)
        if special != NO_CASE:
            return prefix, ZERO, special
    suffix = suffix_length(points, classes, low + prefix, high, cases)
    if 0 < suffix < high - low:
        special = find_special(points, low, high - suffix, cases)
        if special != NO_CASE:
            return ZERO, suffix, special
    return prefix, suffix, special


@inner
def _cut_special(low: int, special: int, cases: SpecialCases, ends: Longs, count: int) -> int:
    for end in cases.ends[special]:
        if end > 0:
            ends[count] = low + end
            count += 1
    return count


@inner
def _cut_at_infixes(points: Ints, classes: Classes, low: int, high: int, ends: Longs, count: int) -> int:
    first = count
    start = low
    has_full_stop = points[low] == _FULL_STOP
    place = low + 1  # at the front an infix parts nothing, and stays with what follows
    while place < high:
        size = 0
        if classes[place] & MAY_PART:
            has_full_stop |= points[place] == _FULL_STOP
            size = infix_length(points, classes, low, high, place)
        if size > 0:
            if place > start:
                ends[count] = place
                count += 1
            ends[count] = place + size
            count += 1
            start = place + size
        place += max(size, 1)
    if start < high:
        ends[count] = high
        count += 1
    if has_full_stop and count - first > 1 and is_address(points, classes, low, high):
        ends[first] = high
        return first + 1
    return count


@inner
def _may_join(classes: Classes, ends: Longs, count: int) -> bool:
    """Whether two words begin as the first two of a special case do."""
    start = 0
    for word in range(count - 1):
        if classes[start] & SPECIAL_FIRST and classes[ends[word]] & SPECIAL_SECOND:
            return True
        start = ends[word]
    return False


@inner
def _join_specials(points: Ints, count: int, cases: SpecialCases, cuts: Longs) -> int:
    """Replaces neighbouring words that together spell a special case; of overlapping ones the longest, then the first.

    `chosen` holds for every word the case that begins there, `_INSIDE` for its other words, and `_PASSED_OVER` for
    those of a case that overlaps with a better one: no other case may begin or end with them either.
    """
    ends, chosen = cuts[0], cuts[2]
    for word in range(count):
        chosen[word] = NO_CASE
    found = False
    for num_words in range(cases.patterns.shape[1], 1, -1):
        start = ZERO
        for first in range(count - num_words + 1):
            last = first + num_words - 1
            if ends[last] - start <= LONGEST_SPECIAL:
                special = find_special(points, start, ends[last], cases)
                if special != NO_CASE and _is_cut_alike(start, ends, first, last, cases.patterns[special]):
                    found = True
                    _choose(chosen, first, last, special)
            start = ends[first]
    return _rewrite(count, cases, cuts) if found else count


@inner
def _is_cut_alike(start: int, ends: Longs, first: int, last: int, pattern: NDArray[np.int8]) -> bool:
    for word in range(first, last + 1):  # noqa: SIM110 - `all` does not compile
        if ends[word] - start != pattern[word - first]:
            return False
    return True


@inner
def _choose(chosen: Longs, first: int, last: int, special: int) -> None:
    if chosen[first] == NO_CASE and chosen[last] == NO_CASE:
        chosen[first] = special
        for word in range(first + 1, last + 1):
            chosen[word] = _INSIDE
        return
    for word in range(first, last + 1):
        if chosen[word] == NO_CASE:
            chosen[word] = _PASSED_OVER


@inner
def _rewrite(count: int, cases: SpecialCases, cuts: Longs) -> int:
    """The cuts after joining."""
    ends, rewritten, chosen = cuts[0], cuts[1], cuts[2]
    start, written = ZERO, ZERO
    for word in range(count):
        special = chosen[word]
        if special >= 0:
            written = _cut_special(start, special, cases, rewritten, written)
        elif special != _INSIDE:
            rewritten[written] = ends[word]
            written += 1
        start = ends[word]
    for word in range(written):
        ends[word] = rewritten[word]
    return written
