"""MinHash signatures and locality-sensitive hashing: which documents are near copies of each other.

Broder, "On the resemblance and containment of documents" (1997): the share of equal entries in two signatures estimates
the Jaccard similarity of the two sets of word runs. Banding (Leskovec, Rajaraman and Ullman, "Mining of Massive
Datasets", ch. 3): with b bands of r rows, two documents of similarity s share a band with probability 1 - (1 - s^r)^b;
only such pairs are compared.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from forgeline.core.params import Section
from forgeline.text.shingles import Indices, hash_runs, hash_words, mix

Signatures = NDArray[np.uint32]


class MinHashParams(Section):
    """Section `curate.minhash`.

    Attributes:
        seed: Chooses the hash functions.
        num_permutations: Entries of a signature; the estimate's standard error is at most 0.5 / sqrt of it.
        num_bands: More bands of fewer rows find less similar pairs, and cost more comparisons.
        shingle_words: Words in a run. Documents with fewer words are only compared exactly.
        threshold: Estimated similarity from which two documents count as near copies.
    """

    seed: int
    num_permutations: Annotated[int, Field(ge=1)]
    num_bands: Annotated[int, Field(ge=1)]
    shingle_words: Annotated[int, Field(ge=1)]
    threshold: Annotated[float, Field(gt=0.0, le=1.0)]

    @model_validator(mode="after")
    def _bands_divide_permutations(self) -> "MinHashParams":
        if self.num_permutations % self.num_bands:
            raise ValueError(
                f"num_permutations ({self.num_permutations}) must be a multiple of num_bands ({self.num_bands})"
            )
        return self


def near_copies(texts: Sequence[str], params: MinHashParams) -> Indices:
    """For each text the index of the earliest one in its cluster of near copies: its own when it is not a copy.

    Clusters are joined through any member, so a survivor (index = own) is below the threshold with every other survivor
    that it shares a band with.
    """
    signatures, documents = sign(texts, params)
    leaders = np.arange(len(texts), dtype=np.int64)
    for bucket in _buckets(signatures, params.num_bands):
        for first, second in _similar_pairs(signatures, bucket, params.threshold):
            _join(leaders, int(documents[first]), int(documents[second]))
    return np.array([_leader(leaders, index) for index in range(len(texts))], dtype=np.int64)


def sign(texts: Sequence[str], params: MinHashParams) -> tuple[Signatures, Indices]:
    """Signatures of the texts that have at least one run of words.

    Returns:
        Signatures, shape (num_signed, num_permutations), and for each row the index of its text (ascending).
    """
    runs, owners = hash_runs(hash_words(texts), params.shingle_words)
    documents, starts = np.unique(owners, return_index=True)
    signatures = np.empty((len(documents), params.num_permutations), dtype=np.uint32)
    if len(documents):
        for number in range(params.num_permutations):
            hashed = (mix(runs ^ _salt(params.seed, number)) >> np.uint64(32)).astype(np.uint32)
            signatures[:, number] = np.minimum.reduceat(hashed, starts)
    return signatures, documents.astype(np.int64)


def _salt(seed: int, number: int) -> np.uint64:
    digest = hashlib.blake2b(f"{seed}:{number}".encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))


def _buckets(signatures: Signatures, num_bands: int) -> Iterator[Indices]:
    """Rows that agree on all entries of a band, ascending, for every band and every such group of two or more."""
    for band in np.split(signatures, num_bands, axis=1):
        key = np.zeros(len(band), dtype=np.uint64)
        for column in band.T:
            key = mix(key ^ column.astype(np.uint64)) + np.uint64(1)
        order = np.argsort(key, kind="stable")
        ends = np.flatnonzero(np.diff(key[order])) + 1
        for start, end in zip([0, *ends], [*ends, len(order)], strict=True):
            if end - start > 1:
                yield order[start:end]


def _similar_pairs(signatures: Signatures, bucket: Indices, threshold: float) -> Iterator[tuple[int, int]]:
    """Compares the first row of the bucket with the others, then the first of those it did not match, and so on.

    So every two rows that end as first ones have been compared, and a bucket of n copies costs n comparisons.
    """
    while len(bucket) > 1:
        first, others = bucket[0], bucket[1:]
        agreement = (signatures[others] == signatures[first]).mean(axis=1)
        matched = agreement >= threshold
        for other in others[matched]:
            yield int(first), int(other)
        bucket = others[~matched]


def _leader(leaders: Indices, index: int) -> int:
    while leaders[index] != index:
        leaders[index] = leaders[leaders[index]]  # path halving
        index = int(leaders[index])
    return index


def _join(leaders: Indices, first: int, second: int) -> None:
    first, second = _leader(leaders, first), _leader(leaders, second)
    leaders[max(first, second)] = min(first, second)
