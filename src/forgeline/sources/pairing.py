"""Pairs items that can lend each other their answers, so that no answer is right more often than it is wrong."""

from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def swap_pairs(items: Sequence[Item], compatible: Callable[[Item, Item], bool]) -> list[tuple[Item, Item]]:
    """Pairs each item with the nearest later one that is compatible and not yet taken.

    When both of a pair are then asked with their own and with the other's answer, every answer occurs equally often as
    right and as wrong: it cannot be guessed from the answer alone, nor from the question alone.

    Args:
        items: In an order that puts similar ones side by side, which makes the wrong answers plausible.
        compatible: Whether each one's answer is wrong for the other.

    Returns:
        The pairs in order of their first item. Items without a partner are left out.
    """
    taken = [False] * len(items)
    pairs = []
    for first, item in enumerate(items):
        if taken[first]:
            continue
        for second in range(first + 1, len(items)):
            if not taken[second] and compatible(item, items[second]):
                taken[first] = taken[second] = True
                pairs.append((item, items[second]))
                break
    return pairs
