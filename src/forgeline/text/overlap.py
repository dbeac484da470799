"""Which texts share a long run of words with training text: the share of an evaluation set that could be remembered.

What counts as a run is what `decontaminate` says: `num_words` words in a row, or the whole of a shorter text that has
half as many. That module finds documents to drop; this one finds the texts that any document contains.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from forgeline.text.decontaminate import shortest_run
from forgeline.text.kernels.shingles import BASE, Hashes
from forgeline.text.shingles import Units, hash_units

Flags = npt.NDArray[np.bool_]
_TEXTS_AT_ONCE = 20_000


@dataclass(frozen=True)
class _Wanted:
    """The runs of one length: their hashes [M], ascending, and the text that each belongs to [M]."""

    hashes: Hashes
    texts: npt.NDArray[np.int64]


class RunSearch:
    """Runs of the words of some texts, looked for in others that are shown to it piece by piece.

    Attributes:
        long_enough: [N] whether a text has a run that can be looked for.
    """

    def __init__(self, texts: Sequence[str], num_words: int) -> None:
        """Collects the runs.

        Args:
            texts: What is looked for.
            num_words: Length of a run.
        """
        words = _hashed(texts)
        lengths = np.diff(words.starts)
        sizes = np.where(lengths >= shortest_run(num_words), np.minimum(lengths, num_words), 0)
        self.long_enough: Flags = sizes > 0
        self._wanted: dict[int, _Wanted] = {}
        for size in np.unique(sizes[sizes > 0]).tolist():
            hashes, owners = _runs(words, size)
            mine = sizes[owners] == size
            order = np.argsort(hashes[mine], kind="stable")
            self._wanted[size] = _Wanted(hashes[mine][order], owners[mine][order])

    def found_in(self, documents: Iterable[pa.ChunkedArray]) -> Flags:
        """Whether any document shares a run with each of the texts, [N]."""
        found = np.zeros(len(self.long_enough), np.bool_)
        for piece in documents:
            words = hash_units(piece, "words")
            for size, wanted in self._wanted.items():
                present = np.isin(wanted.hashes, np.unique(_seen(_runs(words, size)[0], wanted.hashes)))
                found[wanted.texts[present]] = True
        return found


def pieces(texts: pa.ChunkedArray) -> Iterator[pa.ChunkedArray]:
    """The texts, some at a time, so that the hashes of their words fit into memory."""
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        yield texts.slice(start, _TEXTS_AT_ONCE)


def _hashed(texts: Sequence[str]) -> Units:
    return hash_units(pa.chunked_array([pa.array(texts, pa.string())]), "words")


def _runs(words: Units, size: int) -> tuple[Hashes, npt.NDArray[np.int64]]:
    """Polynomials of all runs of `size` words within a text, and the text of each."""
    count = max(len(words.hashes) - size + 1, 0)
    runs = np.zeros(count, np.uint64)
    for place in range(size):
        runs = runs * BASE + words.hashes[place : place + count]
    owners = np.repeat(np.arange(len(words.starts) - 1), np.diff(words.starts))
    within = owners[:count] == owners[size - 1 : size - 1 + count]
    return runs[within], owners[:count][within]


def _seen(runs: Hashes, wanted: Hashes) -> Hashes:
    """Those of `runs` that are among `wanted`, which is ascending."""
    places = np.searchsorted(wanted, runs)
    places[places == len(wanted)] = 0
    found: Hashes = runs[wanted[places] == runs]
    return found
