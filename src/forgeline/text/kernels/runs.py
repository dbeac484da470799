"""An index of runs of words that must not be found in documents, and the search for them.

Runs have different lengths, but none is shorter than `shortest`. A document is gone through once, with the rolling hash
of `shortest` words; a small bit field of what such runs may begin with rejects nearly every position, and only at
the others the full lengths are looked up.
"""

import numpy as np
from numpy.typing import NDArray

from forgeline.text.kernels.characters import Offsets
from forgeline.text.kernels.jit import kernel
from forgeline.text.kernels.shingles import BASE, Hashes, mix, power_of_base

Owners = NDArray[np.int32]

NOBODY = np.int32(-1)
_EMPTY = np.uint64(0)
_ONE = np.uint64(1)


@kernel
def count_runs(starts: Offsets, shortest: int, longest: int) -> int:
    """How many runs `index_runs` will enter."""
    count = 0
    for text in range(starts.size - 1):
        num_words = starts[text + 1] - starts[text]
        if num_words >= shortest:
            count += max(1, num_words - longest + 1)
    return count


@kernel
def index_runs(
    hashes: Hashes, starts: Offsets, shortest: int, longest: int, keys: Hashes, owners: Owners, beginnings: Hashes
) -> None:
    """Enters every run of `longest` words, and whole texts that are shorter but have `shortest` words.

    Args:
        hashes: Words of all texts; see `shingles`.
        starts: N + 1 positions in it.
        shortest: Words that a text must have.
        longest: Words of a run.
        keys: Hash table with open addressing, zero where free; a power of two, at least twice `count_runs`.
        owners: For each key, the first text that holds the run.
        beginnings: Bit field, a power of two of 64-bit words, of the hashes of the runs' first `shortest` words.
    """
    for text in range(starts.size - 1):
        begin, end = np.uint64(starts[text]), np.uint64(starts[text + 1])
        size = min(np.uint64(longest), end - begin)
        if size < np.uint64(shortest):
            continue
        for place in range(begin, end - size + _ONE):
            _set(beginnings, hash_run(hashes, np.uint64(place), np.uint64(shortest)))
            key = hash_run(hashes, np.uint64(place), size)
            slot = _slot_of(key, keys)
            if keys[slot] == _EMPTY:
                keys[slot] = key
                owners[slot] = text


@kernel
def find_runs(
    hashes: Hashes, starts: Offsets, sizes: Offsets, keys: Hashes, owners: Owners, beginnings: Hashes, found: Owners
) -> None:
    """For each document the owner of the first run of the index in it, or `NOBODY`.

    Args:
        hashes: Words of all documents.
        starts: N + 1 positions in it.
        sizes: Lengths of the runs in the index, ascending; the first is not below the `shortest` of the index.
        keys: The index; see `index_runs`.
        owners: The index.
        beginnings: The index.
        found: Is filled, N entries.
    """
    shortest = sizes[0]
    length = np.uint64(shortest)  # positions are unsigned: see `shingles`
    weight_of_leaving = power_of_base(shortest)
    for document in range(starts.size - 1):
        found[document] = NOBODY
        begin, end = np.uint64(starts[document]), np.uint64(starts[document + 1])
        if end - begin < length:
            continue
        run = _polynomial(hashes, begin, length - _ONE)
        leaving = np.uint64(0)
        while begin + length <= end and found[document] == NOBODY:
            run = run * BASE + hashes[begin + length - _ONE] - leaving
            leaving = hashes[begin] * weight_of_leaving
            if _is_set(beginnings, mix(run)):
                found[document] = _owner_at(hashes, begin, end, sizes, keys, owners)
            begin += _ONE


@kernel
def _owner_at(
    hashes: Hashes, begin: np.uint64, end: np.uint64, sizes: Offsets, keys: Hashes, owners: Owners
) -> np.int32:
    owner = NOBODY
    for size in sizes:
        if begin + np.uint64(size) > end:
            break
        key = hash_run(hashes, begin, np.uint64(size))
        slot = _slot_of(key, keys)
        if keys[slot] == key:
            owner = owners[slot]
            break
    return owner


@kernel
def hash_run(hashes: Hashes, begin: np.uint64, size: np.uint64) -> np.uint64:
    """The mixed polynomial of `size` units from `begin` on."""
    return mix(_polynomial(hashes, begin, size))


@kernel
def _polynomial(hashes: Hashes, begin: np.uint64, size: np.uint64) -> np.uint64:
    run = np.uint64(0)
    for place in range(begin, begin + size):
        run = run * BASE + hashes[place]
    return run


@kernel
def _is_set(bits: Hashes, hashed: np.uint64) -> bool:
    return bool((bits[hashed & np.uint64(bits.size - 1)] >> (hashed >> np.uint64(58))) & _ONE)


@kernel
def _set(bits: Hashes, hashed: np.uint64) -> None:
    bits[hashed & np.uint64(bits.size - 1)] |= _ONE << (hashed >> np.uint64(58))


@kernel
def _slot_of(key: np.uint64, keys: Hashes) -> np.uint64:
    """Where the key stands, or the free place where it would."""
    mask = np.uint64(keys.size - 1)
    slot = key & mask
    while keys[slot] != _EMPTY and keys[slot] != key:
        slot = (slot + _ONE) & mask
    return slot
