"""Runs two pieces of work alternately, so that a machine whose speed drifts slows both, and compares their medians."""

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """What the command line asks of a benchmark; None leaves it to the benchmark.

    Attributes:
        size_megabytes: Text to measure on, in millions of bytes.
        corpus: Folder of a corpus made elsewhere (`docs-*.jsonl` and `labels.json`, see `benchmarks.corpus`).
    """

    size_megabytes: float | None = None
    corpus: Path | None = None


@dataclass(frozen=True)
class Comparison:
    """What a benchmark found.

    Attributes:
        name: The benchmark.
        ours: Our measurement.
        peer: The peer's, on the same work in the same run.
        unit: Of both.
        target: What `ours / peer` must reach.
        higher_is_better: Whether a rate was measured (the ratio must be at least the target) or a cost (at most).
        floor: Of a rate, what `ours` must reach besides, in `unit`.
        others_hold: Whether further requirements, which the benchmark checked and printed itself, are met.
    """

    name: str
    ours: float
    peer: float
    unit: str
    target: float
    higher_is_better: bool = False
    floor: float | None = None
    others_hold: bool = True

    def __post_init__(self) -> None:
        if self.floor is not None and not self.higher_is_better:
            raise ValueError(f"{self.name}: a floor belongs to a rate, which is better when higher")

    @property
    def ratio(self) -> float:
        """Ours divided by the peer's."""
        return self.ours / self.peer

    @property
    def holds(self) -> bool:
        """Whether every requirement is met, judged on the measurements as they are, not as they are rounded."""
        if not self.higher_is_better:
            return self.others_hold and self.ratio <= self.target
        return self.others_hold and self.ratio >= self.target and (self.floor is None or self.ours >= self.floor)

    def as_json(self) -> str:
        """The benchmark's last line."""
        return json.dumps(
            {
                "name": self.name,
                "ours": round(self.ours, 3),
                "peer": round(self.peer, 3),
                "unit": self.unit,
                "ratio": round(self.ratio, 3),
                "target": self.target,
                "holds": self.holds,
            }
        )


def alternate(ours: Callable[[], float], peer: Callable[[], float], num_pairs: int) -> tuple[float, float]:
    """Median measurements of both after one warm-up pair; each callable does the work once and measures it."""
    pairs = [(ours(), peer()) for _ in range(num_pairs + 1)][1:]
    for number, (first, second) in enumerate(pairs, start=1):
        print(f"pair {number}: ours {first:.3f}, peer {second:.3f}, ratio {first / second:.3f}")
    return statistics.median(first for first, _ in pairs), statistics.median(second for _, second in pairs)
