"""What is cut off a chunk (characters without white space between them) at its front, its end, and inside.

The rules are those of spaCy 3.8 for English (`spacy.lang.punctuation`, `spacy.lang.en.punctuation`; MIT licence,
copyright 2016-2024 ExplosionAI GmbH), there regular expressions, here written out over classes of characters. `points`
are the chunk's code points, `classes` their bits; `low` and `high` bound the part of it that a rule may look at.
"""

from forgeline.text.kernels.classes import (
    ALPHABETIC,
    COUNTED,
    CURRENCY,
    DASH,
    DIGIT,
    FULL_STOP_FOLLOWS,
    ICON,
    LOWER,
    OPERATOR,
    PREFIX,
    QUOTE,
    SEPARATOR,
    SUFFIX,
    UPPER,
)
from forgeline.text.kernels.inner import entry, inner
from forgeline.text.kernels.tables import Classes, Ints, Longs, SpecialCases

HASH_BASE = 0x5851F42D4C957F2D  # odd; the multiplier of Knuth's MMIX generator
UNIT = 0x1BD11BDAA9FC1A22  # makes the hash of a unit of measurement differ from that of a special case
LONGEST_SPECIAL = 12
LONGEST_UNIT = 6
NO_CASE = -1
# Where `infix_length` may not be 0; the comma is among the quotes.
MAY_PART = OPERATOR | DASH | SEPARATOR | ICON | QUOTE | COUNTED

_FULL_STOP, _PLUS, _HYPHEN, _COMMA, _DOLLAR = 0x2E, 0x2B, 0x2D, 0x2C, 0x24
_EM_DASH, _ELLIPSIS, _DEGREE, _APOSTROPHE, _RIGHT_QUOTE = 0x2014, 0x2026, 0xB0, 0x27, 0x2019
_A, _C, _F, _K, _S, _U = 0x41, 0x43, 0x46, 0x4B, 0x53, 0x55
_LOWER_CASE = 0x20


@entry
def slot_of(key: int, keys: Longs) -> int:
    """Where a hash stands in an open-addressing table of hashes (0 is free), or the free place where it belongs."""
    mask = keys.size - 1
    slot = ((key ^ (key >> 31)) * 0x4F74430C22A54005 >> 29) & mask
    while keys[slot] != 0 and keys[slot] != key:
        slot = (slot + 1) & mask
    return slot


@inner
def find_special(points: Ints, low: int, high: int, cases: SpecialCases) -> int:
    """The row of the special case that this part of the chunk is, or `NO_CASE`."""
    size = high - low
    if size > LONGEST_SPECIAL or not (cases.lengths[min(points[low], 128)] >> size) & 1:
        return NO_CASE
    key = _hash(points, low, high)
    slot = slot_of(key, cases.keys)
    return cases.rows[slot] if cases.keys[slot] == key else NO_CASE


@inner
def _hash(points: Ints, low: int, high: int) -> int:
    key = 0
    for place in range(low, high):
        key = key * HASH_BASE + points[place] + 1
    return key


@inner
def prefix_length(points: Ints, classes: Classes, low: int, high: int) -> int:
    """Characters to cut off at the front; 0 if none."""
    if classes[low] & PREFIX:
        return 1
    first = points[low]
    if first == _FULL_STOP:
        run = _run_length(points, low, high)
        return run if run > 1 else 0
    if low + 1 == high:
        return 1 if first == _PLUS else 0
    if first == _PLUS:
        return 0 if classes[low + 1] & DIGIT else 1
    if first == _U and low + 2 < high and points[low + 1] == _S and points[low + 2] == _DOLLAR:
        return 3
    return 2 if _is_a_or_c(first) and points[low + 1] == _DOLLAR else 0


@inner
def suffix_length(points: Ints, classes: Classes, low: int, high: int, cases: SpecialCases) -> int:
    """Characters to cut off at the end, the most that any rule would; 0 if none."""
    if low >= high:
        return 0
    last, before = points[high - 1], high - 2
    if last == _FULL_STOP:
        return _full_stop_length(points, classes, low, high)
    if classes[high - 1] & SUFFIX:
        return 2 if last == _ELLIPSIS and before >= low and points[before] == _ELLIPSIS else 1
    if before < low:
        return 0
    if last | _LOWER_CASE == _S | _LOWER_CASE and _is_apostrophe(points[before]):
        return 2
    if last == _PLUS:
        return 1 if classes[before] & DIGIT else 0
    if classes[high - 1] & CURRENCY:
        return _currency_length(points, classes, low, high)
    return _unit_length(points, classes, low, high, cases)


@inner
def _full_stop_length(points: Ints, classes: Classes, low: int, high: int) -> int:
    """Several are one word; a single one belongs to an initial, and to a word of one capital at its end."""
    start = high - 1
    while start > low and points[start - 1] == _FULL_STOP:
        start -= 1
    if high - start > 1:
        return high - start
    if start == low:
        return 0
    if classes[start - 1] & FULL_STOP_FOLLOWS:
        return 1
    if start - 2 < low:
        return 0
    if classes[start - 1] & classes[start - 2] & UPPER:
        return 1
    return 1 if points[start - 2] == _DEGREE and _is_scale(points[start - 1]) else 0


@inner
def _currency_length(points: Ints, classes: Classes, low: int, high: int) -> int:
    """A currency sign is cut off behind a digit; so are US$, C$ and A$."""
    before = high - 2
    if classes[before] & DIGIT:
        return 1
    if points[high - 1] != _DOLLAR or before - 1 < low:
        return 0
    if _is_a_or_c(points[before]) and classes[before - 1] & DIGIT:
        return 2
    is_us = points[before] == _S and points[before - 1] == _U and before - 2 >= low
    return 3 if is_us and classes[before - 2] & DIGIT else 0


@inner
def _unit_length(points: Ints, classes: Classes, low: int, high: int, cases: SpecialCases) -> int:
    """A unit of measurement is cut off behind a digit."""
    start = high - 1
    while start > low and high - start <= LONGEST_UNIT:
        if classes[start - 1] & DIGIT:
            key = _hash(points, start, high) ^ UNIT
            return high - start if cases.keys[slot_of(key, cases.keys)] == key else 0
        start -= 1
    return 0


@inner
def infix_length(points: Ints, classes: Classes, low: int, high: int, place: int) -> int:
    """Characters at `place` that are a word inside the chunk, parting what stands around them; 0 if none."""
    point = points[place]
    if point == _FULL_STOP:
        run = _run_length(points, place, high)
        if run > 1:
            return run
    if point == _ELLIPSIS or classes[place] & ICON:
        return 1
    if place == low or place + 1 >= high:
        return 0
    before, after = classes[place - 1], classes[place + 1]
    if point == _FULL_STOP:
        return 1 if before & (LOWER | QUOTE) and after & (UPPER | QUOTE) else 0
    if point == _COMMA:
        return 1 if before & after & ALPHABETIC else 0
    return _infix_sign_length(points, classes, high, place)


@inner
def _infix_sign_length(points: Ints, classes: Classes, high: int, place: int) -> int:
    """An operator between digits; a dash or separator between a letter or digit and a letter."""
    sign, before, after = classes[place], classes[place - 1], classes[place + 1]
    if sign & OPERATOR and before & DIGIT and (after & DIGIT or points[place + 1] == _HYPHEN):
        return 1
    if not before & (ALPHABETIC | DIGIT):
        return 0
    if sign & DASH:
        return _dash_length(points, classes, high, place)
    return 1 if sign & SEPARATOR and after & ALPHABETIC else 0


@inner
def _dash_length(points: Ints, classes: Classes, high: int, place: int) -> int:
    """One dash of any kind, two or three hyphens, or two em dashes, if a letter follows."""
    point = points[place]
    longest = 3 if point == _HYPHEN else 2 if point == _EM_DASH else 1
    for size in range(1, longest + 1):
        after = place + size
        if after >= high:
            return 0
        if classes[after] & ALPHABETIC:
            return size
        if points[after] != point:
            return 0
    return 0


@inner
def _run_length(points: Ints, place: int, high: int) -> int:
    """How often the character at `place` is repeated from there on."""
    after = place + 1
    while after < high and points[after] == points[place]:
        after += 1
    return after - place


@inner
def _is_a_or_c(point: int) -> bool:
    return point == _A or point == _C  # `in` would build a tuple each time


@inner
def _is_scale(point: int) -> bool:
    letter = point & ~_LOWER_CASE
    return letter == _C or letter == _F or letter == _K  # `in` would build a tuple each time


@inner
def _is_apostrophe(point: int) -> bool:
    return point == _APOSTROPHE or point == _RIGHT_QUOTE  # `in` would build a tuple each time
