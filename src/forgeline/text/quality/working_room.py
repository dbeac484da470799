"""Makes the arrays in which the kernels take documents apart."""

import numpy as np

from forgeline.text.kernels.tables import GRAM_COLUMNS, LINE_COLUMNS, TALLY_COLUMNS, WORD_COLUMNS, Room

_SMALLEST_TABLE = 64


def working_room(longest: int) -> Room:
    """Room for documents of at most so many bytes.

    It is large, for every character may be a word, but the system gives memory only to what is written to: some 20
    bytes for each byte of ordinary text, and about 170 in the worst case.
    """
    size = longest + 2
    table_size = _SMALLEST_TABLE
    while table_size < 2 * size:
        table_size *= 2
    return Room(
        words=np.empty((2 * size, WORD_COLUMNS), np.int64),
        lines=np.empty((size, LINE_COLUMNS), np.int64),
        newlines=np.empty(size, np.int64),
        points=np.empty(size, np.int32),
        classes=np.empty(size, np.uint32),
        cuts=np.empty((3, size), np.int64),
        line=np.empty(size, np.uint8),
        grams=np.empty((size, GRAM_COLUMNS), np.int64),
        keys=np.empty(table_size, np.int64),
        tallies=np.empty((table_size, TALLY_COLUMNS), np.int32),
        totals=np.empty(2, np.int64),
    )
