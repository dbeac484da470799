"""MinHash signatures from hashed words or characters, and the keys of their bands."""

import numpy as np
from numpy.typing import NDArray

from forgeline.text.kernels.characters import Offsets
from forgeline.text.kernels.jit import kernel
from forgeline.text.kernels.shingles import BASE, Hashes, mix, power_of_base

Signatures = NDArray[np.uint32]

_LARGEST = np.uint32(0xFFFFFFFF)
_ONE = np.uint64(1)
_BLOCK = np.uint64(2048)  # shingles whose values stay in the fastest cache while all permutations go over them


@kernel
def sign(
    hashes: Hashes, starts: Offsets, size: int, multipliers: Signatures, addends: Signatures, signatures: Signatures
) -> None:
    """The smallest value of each document's shingles under each permutation x -> multiplier * x + addend mod 2**32.

    The loop over shingles is innermost and holds one product, one sum and one minimum of 32 bits, which the compiler
    turns into vector instructions: 112 permutations cost less than hashing the words.

    Args:
        hashes: Units of all documents; see `shingles`.
        starts: N + 1 positions in it.
        size: Units in a shingle.
        multipliers: One odd number for each of K permutations.
        addends: One number for each.
        signatures: Is filled, shape (N, K). A document without a shingle gets the largest value everywhere.
    """
    values = np.empty(_BLOCK, np.uint32)
    length = np.uint64(size)  # positions are unsigned: see `shingles`
    weight_of_leaving = power_of_base(size)
    for document in range(starts.size - 1):
        signature = signatures[document]
        signature[:] = _LARGEST
        place, end = np.uint64(starts[document]), np.uint64(starts[document + 1])
        if end - place < length:
            continue
        run = np.uint64(0)
        for _ in range(size - 1):
            run = run * BASE + hashes[place]
            place += _ONE
        leaving = np.uint64(0)
        while place < end:
            count = min(end - place, _BLOCK)
            for number in range(count):
                run = run * BASE + hashes[place] - leaving
                values[number] = np.uint32(mix(run) >> np.uint64(32))
                leaving = hashes[place + _ONE - length] * weight_of_leaving
                place += _ONE
            _lower_minima(values[:count], multipliers, addends, signature)


@kernel
def _lower_minima(values: Signatures, multipliers: Signatures, addends: Signatures, signature: Signatures) -> None:
    for number in range(multipliers.size):
        multiplier, addend, smallest = multipliers[number], addends[number], signature[number]
        for place in range(values.size):
            smallest = min(smallest, np.uint32(values[place] * multiplier + addend))
        signature[number] = smallest


@kernel
def hash_bands(signatures: Signatures, keys: Hashes) -> None:
    """One key for each band of each signature: equal bands have equal keys.

    Args:
        signatures: Shape (N, K).
        keys: Is filled, shape (num_bands, N); num_bands divides K.
    """
    num_documents, num_permutations = signatures.shape
    num_bands = keys.shape[0]
    num_rows = num_permutations // num_bands
    for document in range(num_documents):
        for band in range(num_bands):
            key = np.uint64(0)
            for row in range(band * num_rows, (band + 1) * num_rows):
                key = key * BASE + np.uint64(signatures[document, row])
            keys[band, document] = mix(key)
