"""Groups documents that are alike: documents with the same key are candidates, their signatures decide.

Clusters are kept in a union-find forest (Tarjan, 1975): each document points to an earlier one of its cluster, or to
itself if it is the first. So a cluster's root is its first document, whatever the order in which pairs were joined.
"""

import numpy as np
from numpy.typing import NDArray

from forgeline.text.kernels.jit import kernel
from forgeline.text.kernels.minhash import Signatures
from forgeline.text.kernels.shingles import Hashes

Rows = NDArray[np.int64]

# Members of a bucket that later ones are compared with. It bounds the cost of a bucket of n by n times this.
MAX_REPRESENTATIVES = 64

_DIGIT_BITS = 8
_FIRST_SORTED_BIT = 32


@kernel
def sort_pairs(keys: Hashes, rows: Rows) -> None:
    """Sorts rows by key in place; equal keys keep their order.

    A radix sort over the upper 32 bits, digit by digit, and insertion for the few keys of hashes that agree in those:
    linear, and a fifth of the time of numpy's sort.
    """
    num_digits = (64 - _FIRST_SORTED_BIT) // _DIGIT_BITS  # even, so that the result ends in the arrays given
    other_keys, other_rows = np.empty_like(keys), np.empty_like(rows)
    places = np.empty(1 << _DIGIT_BITS, np.int64)
    mask = np.uint64((1 << _DIGIT_BITS) - 1)
    for number in range(num_digits):
        shift = np.uint64(_FIRST_SORTED_BIT + number * _DIGIT_BITS)
        places[:] = 0
        for pair in range(keys.size):
            places[(keys[pair] >> shift) & mask] += 1
        start = np.int64(0)
        for value in range(places.size):
            count = places[value]
            places[value] = start
            start += count
        for pair in range(keys.size):
            digit = (keys[pair] >> shift) & mask
            other_keys[places[digit]] = keys[pair]
            other_rows[places[digit]] = rows[pair]
            places[digit] += 1
        keys, other_keys = other_keys, keys
        rows, other_rows = other_rows, rows
    _sort_by_insertion(keys, rows)


@kernel
def _sort_by_insertion(keys: Hashes, rows: Rows) -> None:
    for end in range(1, keys.size):
        key, row, place = keys[end], rows[end], end
        while place > 0 and keys[place - 1] > key:
            keys[place], rows[place] = keys[place - 1], rows[place - 1]
            place -= 1
        keys[place], rows[place] = key, row


@kernel
def link_buckets(keys: Hashes, rows: Rows, signatures: Signatures, needed: int, parents: Rows) -> int:
    """Joins the documents that share a key and enough of their signature; returns how many pairs were compared.

    Within a bucket each document is compared with representatives: those before it that were like no earlier one, at
    most `MAX_REPRESENTATIVES`. A pair that is joined already is not compared.

    Args:
        keys: Ascending.
        rows: The document of each key; ascending where keys are equal.
        signatures: Of all documents, shape (N, K).
        needed: Entries that two signatures must have in common.
        parents: The forest, N entries; is updated.
    """
    representatives = np.empty(MAX_REPRESENTATIVES, np.int64)
    num_compared = 0
    start = 0
    while start < keys.size:
        end = start + 1
        while end < keys.size and keys[end] == keys[start]:
            end += 1
        if end - start > 1:
            num_compared += _link_bucket(rows[start:end], signatures, needed, parents, representatives)
        start = end
    return num_compared


@kernel
def _link_bucket(bucket: Rows, signatures: Signatures, needed: int, parents: Rows, representatives: Rows) -> int:
    num_compared = 0
    count = 0
    for row in bucket:
        is_new = True
        for number in range(count):
            other = representatives[number]
            if find_root(parents, row) != find_root(parents, other):
                num_compared += 1
                if count_equal(signatures[row], signatures[other]) < needed:
                    continue
                _join(parents, row, other)
            is_new = False
        if is_new and count < MAX_REPRESENTATIVES:
            representatives[count] = row
            count += 1
    return num_compared


@kernel
def count_equal(first: Signatures, second: Signatures) -> np.int64:
    """In how many places two signatures agree."""
    equal = np.uint32(0)
    for place in range(first.size):
        equal += np.uint32(first[place] == second[place])
    return np.int64(equal)


@kernel
def find_root(parents: Rows, row: int) -> int:
    """The first document of a cluster; halves the path to it on the way."""
    while parents[row] != row:
        parents[row] = parents[parents[row]]
        row = parents[row]
    return row


@kernel
def _join(parents: Rows, first: int, second: int) -> None:
    first, second = find_root(parents, first), find_root(parents, second)
    parents[max(first, second)] = min(first, second)


@kernel
def point_to_roots(parents: Rows) -> None:
    """Lets every document point to the root of its cluster."""
    for row in range(parents.size):
        parents[row] = parents[parents[row]]  # parents come earlier, so theirs is the root already


@kernel
def count_agreements(signatures: Signatures, rows: Rows, others: Rows) -> Rows:
    """In how many places the signatures of `rows[i]` and `others[i]` agree, for every i."""
    equal = np.empty(rows.size, np.int64)
    for number in range(rows.size):
        equal[number] = count_equal(signatures[rows[number]], signatures[others[number]])
    return equal
