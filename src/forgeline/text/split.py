"""Which split a record belongs to, decided by its key alone."""

import hashlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from forgeline.core.storage import sha256_text

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

_HEX_DIGITS = 13  # 52 bits of the hash: exact as a float, so that no number rounds up to 1
_NUM_PLACES = float(16**_HEX_DIGITS)


def unit_hash(key: str, seed: int) -> float:
    """A number in [0, 1) that looks uniform over keys and is always the same for one key and seed."""
    return int(sha256_text(f"{seed}:{key}")[:_HEX_DIGITS], 16) / _NUM_PLACES


def assign_split(key: str, seed: int, validation_fraction: float, test_fraction: float) -> Split:
    """The split of the record with this key.

    It depends on nothing but the arguments: as data grows no record changes its split, and raising a fraction moves
    records out of train, never between test and validation backwards.

    Args:
        key: What must not straddle the split: a content hash, a term id, a prompt.
        seed: Another seed gives an unrelated split.
        validation_fraction: Expected share of keys in validation.
        test_fraction: Expected share of keys in test.
    """
    place = unit_hash(key, seed)
    if place < test_fraction:
        return "test"
    return "validation" if place < test_fraction + validation_fraction else "train"


def assign_splits(keys: Sequence[str], seed: int, validation_fraction: float, test_fraction: float) -> NDArray[np.int8]:
    """What `assign_split` says of every key, as positions in `SPLITS`."""
    prefix = f"{seed}:"
    digests = b"".join([hashlib.sha256(f"{prefix}{key}".encode()).digest()[:8] for key in keys])
    places = (np.frombuffer(digests, ">u8") >> np.uint64(64 - 4 * _HEX_DIGITS)).astype(np.float64) / _NUM_PLACES
    is_test = places < test_fraction
    is_validation = ~is_test & (places < test_fraction + validation_fraction)
    return np.where(is_test, 2, np.where(is_validation, 1, 0)).astype(np.int8)
