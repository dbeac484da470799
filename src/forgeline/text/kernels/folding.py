"""Texts in the form in which they are compared for being the same: lower case, any white space as one blank."""

import numpy as np

from forgeline.text.kernels.characters import LOWER, Bytes, Offsets, Table, decode
from forgeline.text.kernels.jit import kernel

_SPACE_BIT = np.uint32(23)
_NONE = np.uint64(0)  # positions are unsigned: see `shingles`
_ONE = np.uint64(1)
_BLANK = np.uint8(0x20)


@kernel
def fold(data: Bytes, offsets: Offsets, table: Table, folded: Bytes, folded_offsets: Offsets) -> None:
    """Writes every text in lower case, each run of white space as one blank, none at the ends.

    Args:
        data: The texts' UTF-8 bytes.
        offsets: Where each of the N texts begins, and where the last one ends.
        table: `character_table()`.
        folded: Is filled with UTF-8; needs room for 3/2 of the bytes and four more (two letters of two bytes have a
            lower case of three).
        folded_offsets: Is filled with the N + 1 offsets of the folded texts.
    """
    written = _NONE
    num_texts = offsets.size - 1
    for text in range(num_texts):
        folded_offsets[text] = written
        beginning = written
        position, end = np.uint64(offsets[text]), np.uint64(offsets[text + 1])
        after_space = _ONE  # so that a leading blank is written over
        while position < end:
            first = data[position]
            if first < 0x80:
                entry = table[first]
                position += _ONE
            else:
                code_point, position = decode(data, position, end)
                entry = table[code_point]
            is_space = np.uint64((entry >> _SPACE_BIT) & np.uint32(1))
            if first < 0x80 or is_space:
                folded[written] = _BLANK if is_space else np.uint8(entry & LOWER)
                written += _ONE & ~(is_space & after_space)
            else:
                written = _encode(entry & LOWER, folded, written)
            after_space = is_space
        if written > beginning and after_space:
            written -= _ONE
    folded_offsets[num_texts] = written


@kernel
def _encode(code_point: np.uint32, folded: Bytes, written: np.uint64) -> np.uint64:
    """Writes one character as UTF-8 and returns the position after it."""
    if code_point < 0x80:
        folded[written] = np.uint8(code_point)
        return written + _ONE
    length = np.uint64(2) if code_point < 0x800 else np.uint64(3) if code_point < 0x10000 else np.uint64(4)
    place = written + length - _ONE
    while place > written:
        folded[place] = np.uint8(0x80 | (code_point & np.uint32(0x3F)))
        code_point >>= np.uint32(6)
        place -= _ONE
    folded[written] = np.uint8((0xF00 >> length) & 0xFF | code_point)
    return written + length
