"""Finds phrases in a line whatever their case. Up to 63 phrases are bits of one number, so one look serves all."""

from typing import NamedTuple

from forgeline.text.kernels.characters import LOWER, Table
from forgeline.text.kernels.inner import inner
from forgeline.text.kernels.normalize import decode
from forgeline.text.kernels.tables import Bytes, Ints, Longs


class Phrases(NamedTuple):
    """Phrases to look for.

    Attributes:
        first: (256,) int64, the phrases that may begin with this byte.
        second: (256,) int64, those that may have it as second byte.
        third: (256,) int64.
        points: (n,) int32, the lower-case code points of all phrases, one after another.
        starts: (phrases + 1,) int64, where each begins.
        table: `character_table()`, for lower case beyond ASCII.
    """

    first: Longs
    second: Longs
    third: Longs
    points: Ints
    starts: Longs
    table: Table


@inner
def find_phrases(text: Bytes, start: int, end: int, phrases: Phrases) -> int:
    """The phrases that occur between two bytes, as bits."""
    found = 0
    for place in range(start, end - 2):
        candidates = phrases.first[text[place]] & phrases.second[text[place + 1]] & phrases.third[text[place + 2]]
        if candidates & ~found:
            for phrase in range(phrases.starts.size - 1):
                if (candidates & ~found) >> phrase & 1 and _stands_at(text, place, end, phrase, phrases):
                    found |= 1 << phrase
    return found


@inner
def _stands_at(text: Bytes, place: int, end: int, phrase: int, phrases: Phrases) -> bool:
    for point in phrases.points[phrases.starts[phrase] : phrases.starts[phrase + 1]]:
        if place >= end:
            return False
        character, width = decode(text, place)
        if phrases.table[character] & LOWER != point:
            return False
        place += width
    return True
