"""New merges for a BPE tokenizer that is already trained, appended to its own.

Training goes on where the origin's ended (Sennrich et al. 2016): words are encoded with the merges there are, the most
frequent pair of neighbours becomes a new entry, and so on. New merges rank after all old ones, so every old merge
happens as before, each new entry is what its own merge makes of entries that exist, and none is unreachable. A
vocabulary trained by itself and thrown into the old one would not have that: the old merges tear most of its pieces
apart before they form.
"""

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

Pair = tuple[int, int]


@dataclass
class NewMerges:
    """Merges in the order of their ranks, and the entries they make.

    Attributes:
        names: Of all entries, old and new, by id.
        first_id: Id of the first new entry.
        frozen: Entries that take no part in merges.
        ranks: Each merged pair and its place among the new merges.
        results: The entry that a pair becomes.
        parts: What every new entry was first made of, a pair or, for a character, the old entries of its bytes.
    """

    names: dict[int, str]
    first_id: int
    frozen: frozenset[int] = frozenset()
    ranks: dict[Pair, int] = field(default_factory=dict)
    results: dict[Pair, int] = field(default_factory=dict)
    parts: list[tuple[int, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Remembers which names are taken."""
        self._ids = {name: number for number, name in self.names.items()}

    def can_merge(self, pair: Pair) -> bool:
        """Whether the joined name is free, or that of a new entry; an old entry keeps the ways that lead to it."""
        if not self.frozen.isdisjoint(pair):
            return False
        known = self._ids.get(self.names[pair[0]] + self.names[pair[1]])
        return pair not in self.ranks and (known is None or known >= self.first_id)

    def add(self, pair: Pair) -> int:
        """Appends a merge and returns the entry it makes, a new one unless another pair spells the same."""
        name = self.names[pair[0]] + self.names[pair[1]]
        number = self._ids.get(name)
        if number is None:
            number = self._new_entry(name, pair)
        self.ranks[pair], self.results[pair] = len(self.ranks), number
        return number

    def add_character(self, character: str, old_ids: Sequence[int]) -> None:
        """Adds an entry that nothing has to be merged for."""
        self._new_entry(character, tuple(old_ids))

    def new_ids(self) -> range:
        """Ids of all new entries."""
        return range(self.first_id, self.first_id + len(self.parts))

    def _new_entry(self, name: str, parts: tuple[int, ...]) -> int:
        number = self.first_id + len(self.parts)
        self.names[number], self._ids[name] = name, number
        self.parts.append(parts)
        return number

    def forget_after(self, num_merges: int) -> None:
        """Takes back the latest merges, until `num_merges` are left."""
        while len(self.ranks) > num_merges:
            pair, _ = self.ranks.popitem()
            number = self.results.pop(pair)
            if self.parts and self.parts[-1] == pair:
                self.parts.pop()
                del self._ids[self.names.pop(number)]

    def apply(self, word: Sequence[int]) -> list[int]:
        """A word's ids after the new merges, lowest rank first, as the library does it."""
        ids = list(word)
        while True:
            ranked = [(self.ranks[pair], pair) for pair in pairwise(ids) if pair in self.ranks]
            if not ranked:
                return ids
            pair = min(ranked)[1]
            ids = merged(ids, pair, self.results[pair])

    def old_ids(self, number: int) -> list[int]:
        """The old entries that an entry is made of."""
        if number < self.first_id:
            return [number]
        return [old for part in self.parts[number - self.first_id] for old in self.old_ids(part)]


def merged(ids: Sequence[int], pair: Pair, result: int) -> list[int]:
    """`ids` with every occurrence of `pair`, from the left, replaced by `result`."""
    found: list[int] = []
    position = 0
    while position < len(ids):
        if ids[position] == pair[0] and position + 1 < len(ids) and ids[position + 1] == pair[1]:
            found.append(result)
            position += 2
        else:
            found.append(ids[position])
            position += 1
    return found


def make_whole(word: Sequence[int], merges: NewMerges, num_free: int) -> bool:
    """Adds the merges that make one entry of a word, from its left end on.

    Args:
        word: Its old ids.
        merges: What was merged before; grows, unless the answer is no.
        num_free: New entries to add at most.

    Returns:
        Whether the word is one entry now.
    """
    num_merges, limit = len(merges.ranks), len(merges.parts) + num_free
    ids = merges.apply(word)
    while len(ids) > 1:
        pair = (ids[0], ids[1])
        if not merges.can_merge(pair) or len(merges.parts) == limit:
            merges.forget_after(num_merges)
            return False
        ids = merged(ids, pair, merges.add(pair))
    return True


def continue_training(
    words: Mapping[tuple[int, ...], int], merges: NewMerges, num_new: int, min_frequency: int
) -> None:
    """Adds the most frequent merges until there are `num_new` more entries or no pair is frequent enough.

    Args:
        words: Old ids of each distinct word and how often it occurs.
        merges: What was merged before; grows.
        num_new: Entries to add at most.
        min_frequency: How often a pair must occur.
    """
    rows = [(merges.apply(word), count) for word, count in sorted(words.items())]
    counts: defaultdict[Pair, int] = defaultdict(int)
    places: defaultdict[Pair, set[int]] = defaultdict(set)
    for index, (ids, count) in enumerate(rows):
        for pair in pairwise(ids):
            counts[pair] += count
            places[pair].add(index)
    heap = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(heap)
    goal = len(merges.parts) + num_new
    while heap and len(merges.parts) < goal:
        count, pair = heapq.heappop(heap)
        if -count != counts[pair]:
            continue  # it has changed since; the new number is in the heap too
        if -count < min_frequency:
            return
        if not merges.can_merge(pair):
            continue
        result = merges.add(pair)
        for changed in sorted(_replace(rows, pair, result, counts, places)):
            if counts[changed] > 0:
                heapq.heappush(heap, (-counts[changed], changed))


def _replace(
    rows: list[tuple[list[int], int]],
    pair: Pair,
    result: int,
    counts: defaultdict[Pair, int],
    places: defaultdict[Pair, set[int]],
) -> set[Pair]:
    """Merges `pair` in all words that have it; returns the pairs whose counts changed."""
    changed: set[Pair] = set()
    for index in sorted(places.pop(pair)):
        ids, count = rows[index]
        new = merged(ids, pair, result)
        for old_pair in pairwise(ids):
            counts[old_pair] -= count
            changed.add(old_pair)
        for new_pair in pairwise(new):
            counts[new_pair] += count
            places[new_pair].add(index)
            changed.add(new_pair)
        rows[index] = (new, count)
    return changed
