"""Hashes of words, of characters, and the rolling hash of runs of either, from the UTF-8 bytes of many documents.

A unit (a word or a character) has a 64-bit hash. A run of units has the polynomial of its units' hashes modulo 2**64, a
rolling sum that costs two products a position, mixed at the end so that close inputs get unrelated outputs.
"""

import numpy as np
from numpy.typing import NDArray

from forgeline.text.kernels.characters import ALONE, LOWER, WORD, Bytes, Offsets, Table, decode
from forgeline.text.kernels.jit import kernel

Hashes = NDArray[np.uint64]

BASE = np.uint64(0x9E3779B97F4A7C15)  # odd; the point at which the polynomial of a run is taken
_WORD_BIT = np.uint32(21)
_BLANK = np.uint32(0x20)
# Positions are unsigned in the loops over bytes: for signed ones Numba looks at every access whether they are negative,
# which takes a third of the time. An unsigned and a signed number would give a float, hence the constants.
_NONE = np.uint64(0)
_ONE = np.uint64(1)


@kernel
def mix(value: np.uint64) -> np.uint64:
    """The splitmix64 finaliser (Steele, Lea and Flood, 2014): close inputs get unrelated outputs."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@kernel
def power_of_base(exponent: int) -> np.uint64:
    """`BASE` to the power of `exponent`: what a unit weighs when it leaves a run of that length."""
    power = _ONE
    for _ in range(exponent):
        power *= BASE
    return power


@kernel
def _absorb(state: np.uint64, entry: np.uint32) -> np.uint64:
    """A word's hash with one more character: 257 times the state, by a shift and a sum, plus the code point."""
    return (state << np.uint64(8)) + state + np.uint64(entry & LOWER)


@kernel
def hash_words(data: Bytes, offsets: Offsets, table: Table, hashes: Hashes, starts: Offsets) -> None:
    """Hashes every word of every document.

    The state is written at each character, and kept by moving on when a word ends: branches that depend on where words
    end would be mispredicted once a word, which costs as much as all the rest.

    Args:
        data: The documents' UTF-8 bytes.
        offsets: Where each of the N documents begins, and where the last one ends.
        table: `character_table()`.
        hashes: Is filled with the hashes; needs room for half as many as there are bytes and documents, and two more.
        starts: Is filled with N + 1 positions: document i has `hashes[starts[i]:starts[i + 1]]`.
    """
    count = _NONE
    num_documents = offsets.size - 1
    for document in range(num_documents):
        starts[document] = count
        position, end = np.uint64(offsets[document]), np.uint64(offsets[document + 1])
        state, within = _NONE, _NONE
        while position < end:
            first = data[position]
            if first < 0x80:
                entry = table[first]
                position += _ONE
            else:
                code_point, position = decode(data, position, end)
                entry = table[code_point]
                if entry & ALONE:
                    hashes[count] = state
                    count += within
                    hashes[count] = _absorb(_NONE, entry)
                    count += _ONE
                    state, within = _NONE, _NONE
                    continue
            is_word = np.uint64((entry >> _WORD_BIT) & np.uint32(1))
            hashes[count] = state
            count += within & ~is_word
            state = _absorb(state, entry) & (_NONE - is_word)  # all bits or none
            within = is_word
        hashes[count] = state
        count += within
    starts[num_documents] = count
    for place in range(count):
        hashes[place] = mix(hashes[place])


@kernel
def hash_characters(data: Bytes, offsets: Offsets, table: Table, hashes: Hashes, starts: Offsets) -> None:
    """Hashes every character of a word of every document, and one blank for whatever stands between two words.

    Args:
        data: The documents' UTF-8 bytes.
        offsets: Where each of the N documents begins, and where the last one ends.
        table: `character_table()`.
        hashes: Is filled with the hashes; needs room for as many as there are bytes, and one more.
        starts: Is filled with N + 1 positions: document i has `hashes[starts[i]:starts[i + 1]]`.
    """
    count = _NONE
    num_documents = offsets.size - 1
    for document in range(num_documents):
        starts[document] = count
        position, end = np.uint64(offsets[document]), np.uint64(offsets[document + 1])
        beginning = count
        after_gap = False
        while position < end:
            first = data[position]
            if first < 0x80:
                entry = table[first]
                position += _ONE
            else:
                code_point, position = decode(data, position, end)
                entry = table[code_point]
            if not entry & WORD:
                after_gap = bool(count > beginning)
                continue
            if after_gap:
                hashes[count] = mix(np.uint64(_BLANK))
                count += _ONE
                after_gap = False
            hashes[count] = mix(np.uint64(entry & LOWER))
            count += _ONE
    starts[num_documents] = count
