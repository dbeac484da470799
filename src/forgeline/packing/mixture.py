"""The order in which training visits the windows of a packed corpus: a weighted mixture of its sources.

Every order is a function of the seed and the position alone, so resuming needs no state but the position.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Windows = npt.NDArray[np.int64]
_BLOCK = 4_096  # positions whose sources are drawn at once


class WindowOrder:
    """A fresh seeded permutation of all windows for every epoch."""

    def __init__(self, num_windows: int, seed: int) -> None:
        self._num_windows = num_windows
        self._seed = seed
        self._epoch = -1
        self._permutation: Windows = np.empty(0, dtype=np.int64)

    def indices(self, start: int, count: int) -> Windows:
        """The window numbers at positions `start` to `start + count - 1` of the endless sequence of epochs."""
        return np.array([self._at(position) for position in range(start, start + count)], dtype=np.int64)

    def _at(self, position: int) -> int:
        epoch, offset = divmod(position, self._num_windows)
        if epoch != self._epoch:
            self._permutation = np.random.default_rng([self._seed, epoch]).permutation(self._num_windows)
            self._epoch = epoch
        return int(self._permutation[offset])


class MixtureOrder:
    """Draws the source of every position with the given probabilities; each source is visited epoch by epoch.

    A source that is small for its weight is repeated sooner than the others.
    """

    def __init__(self, windows: Mapping[str, range], weights: Mapping[str, float], seed: int) -> None:
        """Mixes sources.

        Args:
            windows: The window numbers of each source. A source so small that no window begins in it takes no part: its
                text is seen at the end of its neighbour's windows.
            weights: A positive number for each source; only their ratios matter.
            seed: Another seed gives an unrelated order.
        """
        windows = {name: found for name, found in windows.items() if found}
        total = sum(weights[name] for name in windows)
        self._shares = np.cumsum([weights[name] / total for name in windows])
        self._first = np.array([found.start for found in windows.values()], dtype=np.int64)
        self._orders = [WindowOrder(len(found), seed + number) for number, found in enumerate(windows.values())]
        self._seed = seed
        self._seen: list[Windows] = [np.zeros(len(windows), dtype=np.int64)]  # visits of each source before each block
        self._block = -1
        self._sources = self._visits = np.empty(0, dtype=np.int64)  # of the positions of the block

    def indices(self, start: int, count: int) -> Windows:
        """The window numbers at positions `start` to `start + count - 1`."""
        return np.array([self._at(position) for position in range(start, start + count)], dtype=np.int64)

    def _at(self, position: int) -> int:
        block, offset = divmod(position, _BLOCK)
        if block != self._block:
            self._open(block)
        source, visit = int(self._sources[offset]), int(self._visits[offset])
        return int(self._first[source] + self._orders[source].indices(visit, 1)[0])

    def _open(self, block: int) -> None:
        for number in range(len(self._seen), block + 1):
            drawn = np.bincount(self._draw(number - 1), minlength=len(self._orders))
            self._seen.append(self._seen[-1] + drawn)
        self._block = block
        self._sources = self._draw(block)
        self._visits = np.empty(_BLOCK, dtype=np.int64)
        for source, seen in enumerate(self._seen[block]):
            chosen = np.flatnonzero(self._sources == source)
            self._visits[chosen] = seen + np.arange(len(chosen))

    def _draw(self, block: int) -> Windows:
        """The sources of all positions of a block."""
        drawn = np.random.default_rng([self._seed, block]).random(_BLOCK)
        return np.minimum(np.searchsorted(self._shares, drawn, side="right"), len(self._orders) - 1)


def observed_mix(order: MixtureOrder, windows: Mapping[str, range], num_windows: int) -> dict[str, float]:
    """Share of each source among the first `num_windows` windows of an order."""
    visited = order.indices(0, num_windows)
    return {
        name: float(np.mean((visited >= found.start) & (visited < found.stop))) if num_windows else 0.0
        for name, found in windows.items()
    }
