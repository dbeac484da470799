"""scaling: ingest, clean and curate on 1, 10 and 100 % of `--size` (1 GB): CPU time per megabyte, and peak memory.

What is compared is the cost of one more megabyte between the two larger sizes with that between the two smaller ones:
what every process pays once (start, imports, loading kernels) counts neither way.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.corpus import CACHE, open_corpus
from benchmarks.harness import Comparison, Options
from benchmarks.workspace import STAGES, Cost, Workspace

MAX_GROWTH = 1.2
# As shares of the largest size: the middle one is several shards, and its signatures are kept on disk.
SHARD_SHARE = 0.016
MEMORY_SHARE = 0.016
NUM_RUNS = 3  # of the two smaller sizes, of which the median counts


@dataclass(frozen=True)
class _Measured:
    """Costs of the stages, by name, on a corpus of `megabytes`."""

    megabytes: float
    costs: dict[str, Cost]

    @property
    def cpu_seconds(self) -> float:
        return sum(cost.cpu_seconds for cost in self.costs.values())


def run(options: Options) -> Comparison:
    """CPU seconds for one more megabyte, and peak memory that grows by no more than the same factor."""
    largest = options.size_megabytes or 1000.0
    changes = {
        "ingest.shard_megabytes": largest * SHARD_SHARE,
        "curate.memory_megabytes": max(1, round(largest * MEMORY_SHARE)),
    }
    _measure(largest * 0.01, changes)  # compiles kernels, if this is the first run of this version
    small, middle = (_median([_measure(largest * share, changes) for _ in range(NUM_RUNS)]) for share in (0.01, 0.1))
    large = _measure(largest, changes)
    _print_table([small, middle, large])
    growth = {name: large.costs[name].peak_megabytes / middle.costs[name].peak_megabytes for name in STAGES}
    for name, factor in growth.items():
        print(f"peak memory of {name}: {factor:.2f} times that on a tenth (at most {MAX_GROWTH})")
    return Comparison(
        "scaling",
        ours=_marginal(middle, large),
        peer=_marginal(small, middle),
        unit="CPU milliseconds per further MB",
        target=MAX_GROWTH,
        others_hold=max(growth.values()) <= MAX_GROWTH,
    )


def _measure(megabytes: float, changes: Mapping[str, float]) -> _Measured:
    corpus = open_corpus(Options(size_megabytes=megabytes), megabytes)
    with TemporaryDirectory(dir=CACHE) as folder:
        workspace = Workspace(Path(folder) / "workspace", corpus, changes)
        return _Measured(corpus.text_bytes / 1e6, {name: workspace.run(name, num_workers=1) for name in STAGES})


def _median(measured: list[_Measured]) -> _Measured:
    """The one in the middle, by CPU time."""
    return sorted(measured, key=lambda one: one.cpu_seconds)[len(measured) // 2]


def _marginal(smaller: _Measured, larger: _Measured) -> float:
    return 1e3 * (larger.cpu_seconds - smaller.cpu_seconds) / (larger.megabytes - smaller.megabytes)


def _print_table(measured: list[_Measured]) -> None:
    print(f"{'MB':>8} {'stage':<14} {'CPU s':>8} {'MB/s':>8} {'wall s':>8} {'peak MB':>8}")
    for one in measured:
        for name, cost in one.costs.items():
            rate = one.megabytes / cost.cpu_seconds
            columns = f"{cost.cpu_seconds:>8.2f} {rate:>8.1f} {cost.wall_seconds:>8.2f} {cost.peak_megabytes:>8.0f}"
            print(f"{one.megabytes:>8.1f} {name:<14} {columns}")
