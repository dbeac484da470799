r"""Runs of consecutive words as 64-bit hashes, for many documents at once.

Words are `\w+` in lower case, so punctuation, case and layout do not matter. A run's hash is a polynomial of its word
hashes modulo 2**64, mixed by the splitmix64 finaliser; two different runs collide with a chance of about 2**-64.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Indices = NDArray[np.int64]

_WORD = re.compile(r"\w+")
_BASE = 0x9E3779B97F4A7C15  # odd, so that multiplying by its powers loses nothing


@dataclass(frozen=True)
class Words:
    """The words of N documents in a row.

    Attributes:
        hashes: One 64-bit hash a word.
        starts: N + 1 positions: document i holds `hashes[starts[i]:starts[i + 1]]`.
    """

    hashes: Hashes
    starts: Indices


def split_words(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return _WORD.findall(text.lower())


def hash_words(texts: Iterable[str]) -> Words:
    """The words of every text, hashed."""
    known: dict[str, int] = {}
    numbers: list[int] = []
    starts = [0]
    for text in texts:
        numbers += [known.setdefault(word, len(known)) for word in split_words(text)]
        starts.append(len(numbers))
    digests = b"".join(hashlib.blake2b(word.encode(), digest_size=8).digest() for word in known)
    table = np.frombuffer(digests, dtype="<u8").astype(np.uint64)
    return Words(table[np.array(numbers, dtype=np.int64)], np.array(starts, dtype=np.int64))


def hash_runs(words: Words, size: int) -> tuple[Hashes, Indices]:
    """The hashes of all runs of `size` words, document by document.

    Returns:
        The hashes, and for each the index of its document (ascending). Documents with fewer words have none.
    """
    num_positions = max(len(words.hashes) - size + 1, 0)
    runs = np.zeros(num_positions, dtype=np.uint64)
    power = 1
    for offset in range(size):
        runs += words.hashes[offset : offset + num_positions] * np.uint64(power)
        power = power * _BASE % 2**64
    owners = np.repeat(np.arange(len(words.starts) - 1), np.diff(words.starts))[:num_positions]
    inside = np.arange(num_positions) + size <= words.starts[owners + 1]
    return mix(runs[inside]), owners[inside]


def mix(values: Hashes) -> Hashes:
    """The splitmix64 finaliser (Steele, Lea and Flood, 2014): close inputs get unrelated outputs."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
