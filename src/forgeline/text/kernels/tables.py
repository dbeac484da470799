"""The arrays that kernels of the quality rules read and work in.

Tables with several numbers to an entry are arrays of two dimensions with a constant for each column: Numba compiles
functions of few arrays much faster than of many.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Classes = NDArray[np.uint32]

# Columns of a table of words, int64
HASH = 0  # polynomial over code points: that of two words written together follows from theirs
LENGTH = 1  # characters
FLAGS = 2
WORD_COLUMNS = 3
# Flags of a word
HAS_LETTER = 1
NOT_ONLY_SYMBOLS = 2
ENDS_SENTENCE = 4
ONLY_PUNCTUATION = 8
AFTER_WHITE_SPACE = 16  # other than a single space

# Columns of a table of lines as `str.splitlines` finds them, blank ones included, int64; positions are in bytes
START = 0  # of the line, or, once it is scanned, of its first character that is not white space
END = 1  # likewise of its last one
WORD_END = 2  # number of words up to the line's end
NUM_CHUNKS = 3  # runs without white space, or words where scripts have none; 0 if blank
LONGEST_CHUNK = 4  # characters
LINE_FLAGS = 5
LINE_COLUMNS = 6
# Flags of a line
HAS_SQUARE_BRACKET = 1
HAS_CURLY_BRACKET = 2

# Columns of a table of n-grams, int64. The first is by word; the others list the n-grams that are looked at, in order
LAST = 0  # characters of all words up to and including this one
PLACE = 1  # the first word
GRAM = 2  # hash
SLOT = 3  # where it stands in the hash table
GRAM_COLUMNS = 4

# Columns of a tally beside a hash table, int32
COUNT = 0
FIRST = 1  # where it occurred first
TALLY_COLUMNS = 2


class SpecialCases(NamedTuple):
    """Chunks that are split in their own way, and units of measurement; made in `text.quality.word_rules`.

    Attributes:
        lengths: (129,) int64; bit n is set where a case of n characters begins with this character (128 stands for
            every character beyond ASCII).
        keys: Hash table of the cases' hashes, int64, 0 where free. The hashes of units are changed, see `affixes`.
        rows: Which case stands there, int64; -1 for units.
        ends: (cases, 3) int8, where the words of a case end; 0 where it has no more.
        patterns: (cases, n) int8, where they would end by the other rules; all 0 if those would make one word of it.
    """

    lengths: Longs
    keys: Longs
    rows: Longs
    ends: NDArray[np.int8]
    patterns: NDArray[np.int8]


class WordRules(NamedTuple):
    """Word splitting as data; made in `text.quality.word_rules`.

    Attributes:
        classes: (0x110000,) uint32, bits of `classes` for every code point.
        byte_classes: (256,) uint8.
        powers: (n,) int64, the hash base to the power of the index.
        cases: See there.
    """

    classes: Classes
    byte_classes: Bytes
    powers: Longs
    cases: SpecialCases


class Room(NamedTuple):
    """Where documents are taken apart, one after another; every thread needs its own.

    Kernels do not check bounds. All but the last three have an entry for every byte of the longest document.

    Attributes:
        words: See the columns above; twice as long, since a line that is rewritten is noted again behind the rest.
        lines: See the columns above; one more than bytes.
        newlines: Where newline characters stand, in bytes, int64.
        points: Code points of a chunk, a run of characters without white space, int32.
        classes: Their bits of `classes`, uint32.
        cuts: (3, n) int64: where the words of a chunk end, and two rows to work in.
        line: Bytes of a rewritten line.
        grams: See the columns above.
        keys: Hash table, int64: a power of two, at least twice as many places as there are bytes.
        tallies: See the columns above; beside `keys`.
        totals: (2,) int64, hash signs and ellipses of a document.
    """

    words: Longs
    lines: Longs
    newlines: Longs
    points: Ints
    classes: Classes
    cuts: Longs
    line: Bytes
    grams: Longs
    keys: Longs
    tallies: Ints
    totals: Longs
