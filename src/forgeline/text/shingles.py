"""The words or characters of many documents as hashes, from which shingles (runs of them) are hashed.

Words are the runs of letters, digits and underscores in lower case, so punctuation, case and layout do not matter. Each
character of a script that puts no blanks between words counts as a word (`kernels.characters`).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from forgeline.text.buffers import as_buffers, one_array
from forgeline.text.kernels import shingles as kernels
from forgeline.text.kernels.characters import Offsets, character_table
from forgeline.text.kernels.shingles import Hashes

Unit = Literal["words", "characters"]


@dataclass(frozen=True)
class Units:
    """The words, or the characters, of N documents in a row.

    Attributes:
        hashes: One 64-bit hash each.
        starts: N + 1 positions: document i has `hashes[starts[i]:starts[i + 1]]`.
    """

    hashes: Hashes
    starts: Offsets


def hash_units(texts: pa.ChunkedArray, unit: Unit) -> Units:
    """The words or characters of every text, hashed. Two different ones collide with a chance of about 2**-64."""
    data, offsets = as_buffers(one_array(texts))
    data = data.view()
    data.flags.writeable = False  # as Arrow's buffers are; else a kernel would be compiled a second time
    num_bytes = int(offsets[-1] - offsets[0])
    starts = np.empty(len(offsets), np.int64)
    if unit == "words":
        hashes = np.empty((num_bytes + len(offsets)) // 2 + 2, np.uint64)
        kernels.hash_words(data, offsets, character_table(), hashes, starts)
    else:
        hashes = np.empty(num_bytes + 1, np.uint64)
        kernels.hash_characters(data, offsets, character_table(), hashes, starts)
    return Units(hashes[: starts[-1]], starts)
