import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.scaling import _marginal, _Measured, _median
from benchmarks.workspace import Cost, peak_kilobytes_until_end

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")


@linux
def test_peak_memory_is_that_of_the_process_not_of_who_started_it() -> None:
    ours = bytearray(300_000_000)
    process = subprocess.Popen([sys.executable, "-c", "import time; x = bytearray(60_000_000); time.sleep(0.2)"])
    peak = peak_kilobytes_until_end(process.pid)
    assert process.wait() == 0
    assert 60_000_000 < peak * 1024 < 150_000_000 < len(ours)


@linux
def test_the_exit_status_is_still_there_when_the_process_has_ended() -> None:
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    peak_kilobytes_until_end(process.pid)
    _, status, _ = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 3


def measured(megabytes: float, cpu_seconds: float) -> _Measured:
    return _Measured(megabytes, {"clean": Cost(cpu_seconds - 1, 0, 0), "curate": Cost(1, 0, 0)})


def test_what_a_process_pays_once_does_not_count() -> None:
    """Five seconds to start and 0.1 s a megabyte: the same cost of one more megabyte everywhere."""
    small, middle, large = (measured(size, 5 + 0.1 * size) for size in (10, 100, 1000))
    assert _marginal(small, middle) == pytest.approx(100)
    assert _marginal(middle, large) == pytest.approx(100)


def test_quadratic_time_shows() -> None:
    small, middle, large = (measured(size, 5 + 1e-4 * size * size) for size in (10, 100, 1000))
    assert _marginal(middle, large) == pytest.approx(10 * _marginal(small, middle))


def test_the_median_is_a_whole_run() -> None:
    runs = [measured(10, seconds) for seconds in (9, 2, 4)]
    assert _median(runs) is runs[2]


def test_the_estimate_in_the_documentation_is_what_the_script_prints() -> None:
    printed = subprocess.check_output([sys.executable, "docs/cluster_estimate.py"], text=True)
    assert printed in Path("docs/cluster.md").read_text()
