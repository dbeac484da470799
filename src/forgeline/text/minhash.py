"""MinHash signatures and their bands: which documents may be near copies of each other.

Broder, "On the resemblance and containment of documents" (1997): the share of equal entries in two signatures estimates
the Jaccard similarity of the two sets of shingles. Banding (Leskovec, Rajaraman and Ullman, "Mining of Massive
Datasets", ch. 3): with b bands of r rows, two documents of similarity s share a band with probability 1 - (1 - s^r)^b;
only such pairs are compared.
"""

import hashlib
import math
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from forgeline.core.params import Section
from forgeline.text.kernels import minhash as kernels
from forgeline.text.kernels.minhash import Signatures
from forgeline.text.kernels.shingles import Hashes
from forgeline.text.shingles import Unit, Units

# Missing a near copy is worse than comparing a pair for nothing, since signatures decide in the end.
_WEIGHT_OF_MISSING = 0.9
_NUM_POINTS = 1001  # at which the probability of being found is integrated


class MinHashParams(Section):
    """Section `curate.minhash`.

    Attributes:
        enabled: Whether near copies are looked for.
        seed: Chooses the hash functions.
        num_permutations: Entries of a signature; the estimate's standard error is at most 0.5 / sqrt of it.
        num_bands: More bands of fewer rows find less similar pairs, and cost more comparisons. Null chooses the number
            from the threshold.
        shingle_unit: Documents are compared by their runs of `words` or of `characters`.
        shingle_size: Units in a run. Documents with fewer are only compared exactly.
        threshold: Estimated similarity from which two documents count as near copies.
    """

    enabled: bool
    seed: int
    num_permutations: Annotated[int, Field(ge=1)]
    num_bands: Annotated[int, Field(ge=1)] | None
    shingle_unit: Unit
    shingle_size: Annotated[int, Field(ge=1)]
    threshold: Annotated[float, Field(gt=0.0, le=1.0)]

    @model_validator(mode="after")
    def _bands_divide_permutations(self) -> "MinHashParams":
        if self.num_bands is not None and self.num_permutations % self.num_bands:
            raise ValueError(
                f"num_permutations ({self.num_permutations}) must be a multiple of num_bands ({self.num_bands})"
            )
        return self

    @model_validator(mode="after")
    def _bands_find_near_copies(self) -> "MinHashParams":
        similarity = (1.0 + self.threshold) / 2
        found = float(probability_of_being_found(similarity, self.num_permutations, self.bands()))
        if found < 0.5:
            raise ValueError(
                f"num_bands {self.num_bands} finds only {found:.0%} of the pairs of similarity {similarity:.2f}, which "
                f"is above the threshold: raise it or set it to null"
            )
        return self

    def bands(self) -> int:
        """The number of bands, chosen from the threshold where none is given."""
        return self.num_bands or choose_num_bands(self.num_permutations, self.threshold)

    def num_equal_needed(self) -> int:
        """Equal entries that make two signatures near copies."""
        return math.ceil(self.threshold * self.num_permutations - 1e-9)


def choose_num_bands(num_permutations: int, threshold: float) -> int:
    """The number of bands that keeps both errors small, of those that divide the number of permutations.

    As in Zhu's datasketch, an error is an area under the curve of the probability of being found: below the threshold
    that of finding a pair (false positives), above it that of missing one (false negatives), weighted 1 to 9.
    """
    divisors = [number for number in range(1, num_permutations + 1) if num_permutations % number == 0]
    return min(divisors, key=lambda num_bands: _weighted_error(num_permutations, num_bands, threshold))


def _weighted_error(num_permutations: int, num_bands: int, threshold: float) -> float:
    below, above = np.linspace(0.0, threshold, _NUM_POINTS), np.linspace(threshold, 1.0, _NUM_POINTS)
    found = np.trapezoid(probability_of_being_found(below, num_permutations, num_bands), below)
    missed = np.trapezoid(1.0 - probability_of_being_found(above, num_permutations, num_bands), above)
    return float((1.0 - _WEIGHT_OF_MISSING) * found + _WEIGHT_OF_MISSING * missed)


def probability_of_being_found(
    similarity: float | NDArray[np.float64], num_permutations: int, num_bands: int
) -> NDArray[np.float64]:
    """How likely two documents of this Jaccard similarity are to share a band."""
    return np.asarray(1.0 - (1.0 - similarity ** (num_permutations // num_bands)) ** num_bands)


def sign(units: Units, params: MinHashParams) -> Signatures:
    """The signature of every document, shape (N, num_permutations); see `has_shingles` for which of them say nothing.

    Permutations are x -> a x + b modulo 2**32 with odd a, on the upper 32 bits of a shingle's hash.
    """
    seed = f"{params.seed}:permutations".encode()
    numbers = np.frombuffer(hashlib.shake_256(seed).digest(8 * params.num_permutations), "<u4").astype(np.uint32)
    multipliers, addends = numbers[::2] | np.uint32(1), numbers[1::2].copy()
    signatures = np.empty((len(units.starts) - 1, params.num_permutations), np.uint32)
    kernels.sign(units.hashes, units.starts, params.shingle_size, multipliers, addends, signatures)
    return signatures


def has_shingles(units: Units, params: MinHashParams) -> NDArray[np.bool_]:
    """Which documents have at least one shingle."""
    return np.diff(units.starts) >= params.shingle_size


def hash_bands(signatures: Signatures, num_bands: int) -> Hashes:
    """One key for each band of each signature, shape (num_bands, N): equal bands have equal keys."""
    keys = np.empty((num_bands, len(signatures)), np.uint64)
    kernels.hash_bands(signatures, keys)
    return keys
