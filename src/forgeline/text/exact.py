"""Which texts are the same but for case and white space."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import xxhash

from forgeline.text.buffers import as_buffers, one_array
from forgeline.text.kernels.characters import character_table
from forgeline.text.kernels.folding import fold
from forgeline.text.kernels.shingles import Hashes


def content_hashes(texts: pa.ChunkedArray) -> Hashes:
    """128 bits (XXH3) of each text in lower case with every run of white space as one blank, shape (N, 2).

    Not a cryptographic hash, which would take nine times as long: among 10**12 texts, two different ones share a hash
    with a chance of about 10**-15.
    """
    data, offsets = as_buffers(one_array(texts))
    data = data.view()
    data.flags.writeable = False  # as Arrow's buffers are; else the kernel would be compiled a second time
    folded = np.empty((int(offsets[-1] - offsets[0]) * 3) // 2 + 4, np.uint8)
    ends = np.empty(len(offsets), np.int64)
    fold(data, offsets, character_table(), folded, ends)
    content = folded.data
    digests = [xxhash.xxh3_128_digest(content[start:end]) for start, end in pairwise(ends.tolist())]
    return np.frombuffer(b"".join(digests), ">u8").astype(np.uint64).reshape(-1, 2)
