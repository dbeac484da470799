r"""What the kernels know about characters: which belong to a word, which are white space, and their lower case.

One table over all code points, built from Python's own Unicode data. It holds for each

- its lower case as one code point. `str.lower` differs in two places, where it yields two characters or looks at the
  neighbours: U+0130 (I with a dot) becomes "i" here, and final sigma becomes the other sigma;
- whether it belongs to a word: `\w` of the module `re`, that is letters, digits and the underscore;
- whether it is a word by itself: letters of scripts that put no blanks between words. A word of several characters
  would there be a whole clause, and two texts that share a sentence would share no word;
- whether it is white space as `str.split` sees it.
"""

import re
from functools import cache

import numpy as np
from numpy.typing import NDArray

from forgeline.text.kernels.jit import kernel

Bytes = NDArray[np.uint8]
Offsets = NDArray[np.int64]
Table = NDArray[np.uint32]

LOWER = np.uint32(0x1FFFFF)  # the bits of an entry that hold the lower-case code point
WORD = np.uint32(1 << 21)
ALONE = np.uint32(1 << 22)
SPACE = np.uint32(1 << 23)

_NUM_CODE_POINTS = 0x110000
_BLOCK = 256  # most blocks of code points have no lower case at all
_FINAL_SIGMA, _SIGMA = 0x3C2, 0x3C3

# First and last code point of the scripts whose characters count as words of their own.
WITHOUT_BLANKS = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # ideographic iteration mark, closing mark, zero
    (0x3021, 0x3029),  # Hangzhou numerals
    (0x3038, 0x303A),  # Hangzhou numerals ten to thirty
    (0x3041, 0x30FF),  # Hiragana, Katakana
    (0x3105, 0x312F),  # Bopomofo
    (0x31A0, 0x31BF),  # Bopomofo, extended
    (0x31F0, 0x31FF),  # Katakana extensions
    (0x3400, 0x4DBF),  # Han, extension A
    (0x4E00, 0x9FFF),  # Han
    (0xA9E0, 0xA9FF),  # Myanmar, extended B
    (0xAA60, 0xAA7F),  # Myanmar, extended A
    (0xF900, 0xFAFF),  # Han, compatibility
    (0xFF66, 0xFF9F),  # Katakana, half width
    (0x1AFF0, 0x1B16F),  # Kana supplements and extensions
    (0x20000, 0x3FFFF),  # Han, later extensions
)


@cache
def character_table() -> Table:
    """The table, one entry for every code point; built once in a process, in a twentieth of a second."""
    table = np.arange(_NUM_CODE_POINTS, dtype=np.uint32)
    text = table.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
    for start in range(0, len(text), _BLOCK):
        block = text[start : start + _BLOCK]
        if block.lower() != block:
            table[start : start + _BLOCK] = [ord(character.lower()[0]) for character in block]
    table[_FINAL_SIGMA] = _SIGMA
    for run in re.finditer(r"\w+", text):
        table[run.start() : run.end()] |= WORD
    for first, last in WITHOUT_BLANKS:
        table[first : last + 1] |= np.where(table[first : last + 1] & WORD, ALONE, np.uint32(0))
    for space in re.finditer(r"\s+", text):
        table[space.start() : space.end()] |= SPACE
    return table


@kernel
def decode(data: Bytes, position: np.uint64, end: np.uint64) -> tuple[np.uint32, np.uint64]:
    """The character of several bytes at `position`, and the position after it.

    Never reads at or beyond `end` nor returns more than the last code point, not even where the text is no valid UTF-8.
    """
    first = data[position]
    length = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    code_point = np.uint32(first) & np.uint32(0x7F >> length)
    after = min(position + np.uint64(length), end)
    place = position + np.uint64(1)
    while place < after:
        code_point = (code_point << np.uint32(6)) | np.uint32(data[place] & np.uint8(0x3F))
        place += np.uint64(1)
    return min(code_point, np.uint32(_NUM_CODE_POINTS - 1)), after
