"""cores: ingest, clean and curate with two workers against one, in wall time; needs two idle cores.

A gigabyte, since what a stage does before its workers start, some 3 seconds in all three, no second core shortens.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.corpus import CACHE, open_corpus
from benchmarks.harness import Comparison, Options, alternate
from benchmarks.workspace import STAGES, Workspace


def run(options: Options, num_pairs: int = 3) -> Comparison:
    """Megabytes of text per second of wall time, through all three stages."""
    corpus = open_corpus(options, 1000.0)
    with TemporaryDirectory(dir=CACHE) as folder:
        workspace = Workspace(Path(folder) / "workspace", corpus, {})
        two, one = alternate(
            lambda: _rate(workspace, corpus.text_bytes, 2), lambda: _rate(workspace, corpus.text_bytes, 1), num_pairs
        )
    return Comparison("cores", two, one, "MB per second", target=1.7, higher_is_better=True)


def _rate(workspace: Workspace, text_bytes: int, num_workers: int) -> float:
    seconds = {name: workspace.run(name, num_workers).wall_seconds for name in STAGES}
    print(f"{num_workers} workers: " + ", ".join(f"{name} {took:.2f} s" for name, took in seconds.items()))
    return text_bytes / 1e6 / sum(seconds.values())
