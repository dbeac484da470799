"""Finds documents that share text with something they must not share it with: held-out questions, or training answers.

A document shares a text when both contain the same run of `num_words` consecutive words (lower case, punctuation
ignored), as in GPT-3 (Brown et al., 2020, appendix C). A text with fewer words counts as one run as long as it has half
as many; shorter ones ("Yes.") are too common to mean anything and match nothing. What a word is: `shingles`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pyarrow as pa

from forgeline.text.kernels import runs
from forgeline.text.kernels.characters import Offsets
from forgeline.text.kernels.runs import NOBODY, Owners
from forgeline.text.kernels.shingles import Hashes
from forgeline.text.shingles import Units, hash_units

_BITS_PER_RUN = 32  # of the bit field: one position in so many is looked up for nothing


@dataclass(frozen=True)
class RunIndex:
    """Runs of words, ready to be looked for in documents.

    Attributes:
        sizes: Lengths of the runs, ascending; empty when no text is long enough.
        keys: Hash table of the runs.
        owners: For each key, the position of the first text that holds the run.
        beginnings: Bit field of what the runs begin with.
    """

    sizes: Offsets
    keys: Hashes
    owners: Owners
    beginnings: Hashes

    def save(self, folder: Path) -> None:
        """Writes the arrays to a new folder."""
        folder.mkdir(parents=True)
        for entry in fields(self):
            np.save(folder / f"{entry.name}.npy", getattr(self, entry.name), allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> "RunIndex":
        """Maps what `save` wrote into memory, which all threads and processes of a machine then share."""
        # "c" rather than "r": to kernels arrays that cannot be written are another type, to be compiled for again.
        return cls(*(np.asarray(np.load(folder / f"{entry.name}.npy", mmap_mode="c")) for entry in fields(cls)))


def shortest_run(num_words: int) -> int:
    """The fewest words that a text may have to be looked for."""
    return (num_words + 1) // 2


def index_runs(texts: Sequence[str], num_words: int) -> RunIndex:
    """The runs of `num_words` words of the texts, and the shorter texts that count as one run."""
    words = hash_units(pa.chunked_array([pa.array(texts, pa.string())]), "words")
    lengths = np.diff(words.starts)
    sizes = np.unique(np.minimum(lengths[lengths >= shortest_run(num_words)], num_words))
    shortest = int(sizes[0]) if len(sizes) else num_words
    num_runs = runs.count_runs(words.starts, shortest, num_words)
    keys = np.zeros(_power_of_two(2 * num_runs), np.uint64)
    owners = np.full(len(keys), NOBODY, np.int32)
    beginnings = np.zeros(_power_of_two(num_runs * _BITS_PER_RUN // 64), np.uint64)
    runs.index_runs(words.hashes, words.starts, shortest, num_words, keys, owners, beginnings)
    return RunIndex(sizes, keys, owners, beginnings)


def _power_of_two(least: int) -> int:
    return 1 << max(least - 1, 0).bit_length()


def find_runs(words: Units, index: RunIndex) -> Owners:
    """For each document the position of a text that it shares a run with, or `NOBODY`; its first such run counts."""
    found = np.full(len(words.starts) - 1, NOBODY, np.int32)
    if len(index.sizes):
        runs.find_runs(words.hashes, words.starts, index.sizes, index.keys, index.owners, index.beginnings, found)
    return found


def find_sharing(texts: pa.ChunkedArray, others: Sequence[tuple[str, str]], num_words: int) -> dict[int, str]:
    """Positions of texts that share a run with one of `others`, which are (text, id).

    Returns:
        Position, ascending, to the id of one that it shares a run with.
    """
    index = index_runs([text for text, _ in others], num_words)
    found = find_runs(hash_units(texts, "words"), index)
    return {int(position): others[found[position]][1] for position in np.flatnonzero(found != NOBODY)}
