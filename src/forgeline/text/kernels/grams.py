"""Counts what repeats in a document: lines, paragraphs and n-grams, all told apart by 64-bit hashes.

An n-gram can only repeat where the n-grams of one word less at the same place and at the next repeat. So only those are
looked at, a few in a hundred from four words on.
"""

from forgeline.text.kernels.affixes import HASH_BASE, slot_of
from forgeline.text.kernels.inner import inlined, inner
from forgeline.text.kernels.tables import (
    COUNT,
    FIRST,
    GRAM,
    HASH,
    LAST,
    LENGTH,
    PLACE,
    SLOT,
    Bytes,
    Ints,
    Longs,
)

_SEPARATOR_FACTOR = 0x2545F4914F6CDD1D  # parts words, so that "a bc" and "ab c" differ
_MIXING_FACTOR = 0x369DEA0F31A53F85
_SMALLEST_TABLE = 64


@inner
def hash_bytes(text: Bytes, start: int, end: int) -> int:
    """A hash of some bytes, not 0. Four polynomials, one for every fourth byte, do not wait for each other."""
    first, second, third, fourth = end - start + 1, 0, 0, 0
    fours = start + (end - start) // 4 * 4
    for place in range(start, fours, 4):
        first = first * HASH_BASE + text[place]
        second = second * HASH_BASE + text[place + 1]
        third = third * HASH_BASE + text[place + 2]
        fourth = fourth * HASH_BASE + text[place + 3]
    for place in range(fours, end):
        first = first * HASH_BASE + text[place]
    key = ((first * _MIXING_FACTOR + second) * _MIXING_FACTOR + third) * _MIXING_FACTOR + fourth
    return key if key != 0 else 1


@inner
def num_characters(text: Bytes, start: int, end: int) -> int:
    """Characters between two bytes of UTF-8."""
    count = 0
    for place in range(start, end):
        count += (text[place] & 0xC0) != 0x80
    return count


@inner
def emptied(keys: Longs, count: int) -> int:
    """Empties as much of `keys` as makes a hash table with room for so many entries, and returns its size."""
    size = _SMALLEST_TABLE
    while size < 2 * count:
        size *= 2
    for slot in range(size):
        keys[slot] = 0
    return size


@inlined
def seen_before(key: int, table: Longs) -> bool:
    """Whether a hash was in the table; now it is."""
    slot = slot_of(key, table)
    was_there: bool = table[slot] != 0
    table[slot] = key
    return was_there


@inner
def first_grams(words: Longs, num_words: int, grams: Longs) -> int:
    """Lists all 2-grams, hashed with their words parted, and returns how many there are."""
    characters = 0
    for word in range(num_words):
        characters += words[word, LENGTH]
        grams[word, LAST] = characters
        grams[word, PLACE] = word
    for word in range(num_words - 1):
        grams[word, GRAM] = _not_zero(words[word, HASH] * _SEPARATOR_FACTOR + words[word + 1, HASH])
    return max(num_words - 1, 0)


@inner
def count_grams(grams: Longs, num_grams: int, keys: Longs, tallies: Ints) -> tuple[int, int]:
    """Counts the listed n-grams; returns the count of the commonest and where it occurs first. Of equals, the first."""
    table = keys[: emptied(keys, num_grams)]
    most, first_of_most = 0, 0
    for number in range(num_grams):
        key = grams[number, GRAM]
        slot = slot_of(key, table)
        if table[slot] == 0:
            table[slot] = key
            tallies[slot, COUNT] = 0
            tallies[slot, FIRST] = grams[number, PLACE]
        count = tallies[slot, COUNT] + 1
        tallies[slot, COUNT] = count
        grams[number, SLOT] = slot
        first = tallies[slot, FIRST]
        if count > most or (count == most and first < first_of_most):
            most, first_of_most = count, first
    return most, first_of_most


@inner
def keep_repeated(grams: Longs, num_grams: int, tallies: Ints) -> int:
    """Keeps the n-grams that may repeat with one word more, by the counts of now; returns how many."""
    kept = 0
    for number in range(num_grams - 1):
        if tallies[grams[number, SLOT], COUNT] > 1 and tallies[grams[number + 1, SLOT], COUNT] > 1:
            place = grams[number, PLACE]
            if grams[number + 1, PLACE] == place + 1:
                grams[kept, PLACE] = place
                grams[kept, GRAM] = grams[number, GRAM]
                kept += 1
    return kept


@inner
def lengthen_parted(words: Longs, grams: Longs, num_grams: int, size: int) -> None:
    """Turns listed n-grams of `size - 1` words into those of `size`, hashed with their words parted."""
    for number in range(num_grams):
        last = words[grams[number, PLACE] + size - 1, HASH]
        grams[number, GRAM] = _not_zero(grams[number, GRAM] * _SEPARATOR_FACTOR + last)


@inner
def write_together(words: Longs, grams: Longs, num_grams: int, size: int, powers: Longs) -> None:
    """Turns listed n-grams into those of `size` words, hashed as if written without spaces."""
    for number in range(num_grams):
        place = grams[number, PLACE]
        key = 0
        for word in range(place, place + size):
            key = key * _power(words[word, LENGTH], powers) + words[word, HASH]
        grams[number, GRAM] = _not_zero(key)


@inlined
def _power(length: int, powers: Longs) -> int:
    """The hash base to the power of a word's length."""
    power: int = powers[min(length, powers.size - 1)]
    for _ in range(powers.size - 1, length):
        power *= HASH_BASE
    return power


@inlined
def _not_zero(key: int) -> int:
    return key if key != 0 else 1


@inner
def duplicate_characters(grams: Longs, num_grams: int, size: int, keys: Longs) -> int:
    """Characters of listed n-grams of which an equal one was met before; no word is counted twice."""
    table = keys[: emptied(keys, num_grams)]
    characters, free = 0, 0
    for number in range(num_grams):
        place = grams[number, PLACE]
        if place >= free and seen_before(grams[number, GRAM], table):
            characters += gram_characters(grams, place, size)
            free = place + size
    return characters


@inner
def gram_characters(grams: Longs, first: int, size: int) -> int:
    """Characters of `size` words, without spaces."""
    characters: int = grams[first + size - 1, LAST]
    return characters - grams[first - 1, LAST] if first > 0 else characters
