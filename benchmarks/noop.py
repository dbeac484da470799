"""noop: `make repro` with nothing to do, against plain `dvc repro` on the same finished pipeline."""

import resource
import subprocess
import sys
from pathlib import Path

from benchmarks.harness import Comparison, Options, alternate

TARGET_SECONDS = 1.5


def run(_options: Options, num_pairs: int = 3) -> Comparison:
    """User CPU seconds of both in this repository, whose pipeline must be up to date."""
    binaries = Path(sys.executable).parent
    ours, peer = alternate(
        lambda: _user_seconds(["make", "--silent", "repro"]),
        lambda: _user_seconds([str(binaries / "dvc"), "repro"]),
        num_pairs,
    )
    return Comparison("noop", ours, peer, "user CPU seconds", target=1.0, others_hold=ours <= TARGET_SECONDS)


def _user_seconds(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0 or "Running stage" in done.stdout:
        sys.exit(f"{' '.join(command)} had work to do or failed: run `make repro` first\n{done.stderr[-2000:]}")
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
