"""The order in which training visits the windows of a packed corpus: a weighted mixture of its sources.

Every order is a function of the seed and the position alone, so resuming needs no state but the position.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forgeline.core.errors import ParamsError

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


@dataclass(frozen=True)
class Phase:
    """A stretch of positions with a mixture of its own.

    Attributes:
        first: Its first position; it ends where the next phase starts.
        weights: Of sources by name; one that is not named has none.
    """

    first: int
    weights: Mapping[str, float]


class MixtureOrder:
    """Draws the source of every position with the given probabilities; each source is visited epoch by epoch.

    A source that is small for its weight is repeated sooner than the others. Phases change the probabilities and
    nothing else: each source goes on where the phase before has left it.
    """

    def __init__(self, windows: Mapping[str, range], phases: Sequence[Phase], seed: int) -> None:
        """Mixes sources.

        Args:
            windows: The window numbers of each source. A source so small that no window begins in it takes no part: its
                text is seen at the end of its neighbour's windows.
            phases: In order, the first from position 0 on. Only the ratios of weights matter.
            seed: Another seed gives an unrelated order.

        Raises:
            ParamsError: A phase has only sources without windows.
        """
        windows = {name: found for name, found in windows.items() if found}
        self._starts = np.array([phase.first for phase in phases], dtype=np.int64)
        self._shares = [_cumulative_shares(phase, list(windows)) for phase in phases]
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
        phases = np.searchsorted(self._starts, np.arange(block * _BLOCK, (block + 1) * _BLOCK), side="right") - 1
        sources = np.empty(_BLOCK, dtype=np.int64)
        for phase in np.unique(phases):
            inside, shares = phases == phase, self._shares[phase]
            last = np.searchsorted(shares, shares[-1])  # with a weight: rounding may leave the sum just below 1
            sources[inside] = np.minimum(np.searchsorted(shares, drawn[inside], side="right"), last)
        return sources


def _cumulative_shares(phase: Phase, names: Sequence[str]) -> npt.NDArray[np.float64]:
    weights = [phase.weights.get(name, 0.0) for name in names]
    total = sum(weights)
    if not total > 0:
        raise ParamsError(
            f"params.yaml: pretrain.phases: no window begins in any of {', '.join(phase.weights)}, of which a phase "
            f"consists: add text to one, or give a weight to {', '.join(names)}"
        )
    return np.cumsum([weight / total for weight in weights])


def observed_mix(order: MixtureOrder, windows: Mapping[str, range], start: int, stop: int) -> dict[str, float]:
    """Share of each source among the windows at positions `start` to `stop - 1` of an order."""
    visited = order.indices(start, stop - start)
    return {
        name: float(np.mean((visited >= found.start) & (visited < found.stop))) if len(visited) else 0.0
        for name, found in windows.items()
    }
