"""Runs two pieces of work alternately, so that a machine whose speed drifts slows both, and compares their medians."""

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Comparison:
    """What a benchmark found; `ratio` is ours / peer and holds when it is at most `target` (both measure a cost)."""

    name: str
    ours: float
    peer: float
    unit: str
    target: float

    def as_json(self) -> str:
        """The benchmark's last line."""
        ratio = self.ours / self.peer
        return json.dumps(
            {
                "name": self.name,
                "ours": round(self.ours, 3),
                "peer": round(self.peer, 3),
                "unit": self.unit,
                "ratio": round(ratio, 3),
                "target": self.target,
                "holds": ratio <= self.target,
            }
        )


def alternate(ours: Callable[[], float], peer: Callable[[], float], num_pairs: int) -> tuple[float, float]:
    """Median measurements of both after one warm-up pair; each callable does the work once and returns its cost."""
    pairs = [(ours(), peer()) for _ in range(num_pairs + 1)][1:]
    for number, (first, second) in enumerate(pairs, start=1):
        print(f"pair {number}: ours {first:.3f}, peer {second:.3f}, ratio {first / second:.3f}")
    return statistics.median(first for first, _ in pairs), statistics.median(second for _, second in pairs)
