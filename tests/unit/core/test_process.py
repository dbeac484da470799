import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from forgeline.core.errors import StopRequested
from forgeline.core.process import StopSignal, raise_on_stop_signals

SOURCE = Path(__file__).parents[3] / "src"
CHILD = "import time\n{first}\nprint('ready', flush=True)\ntime.sleep(60)"
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE, text=True)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ends_within(pid: int, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not is_running(pid):
            return True
        time.sleep(0.02)
    return False


def orphan(first: str) -> int:
    """The process id of a child whose parent was killed with SIGKILL once the child stood."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-c", PARENT, CHILD.format(first=first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    return pid


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's parent-death signal is Linux only")
def test_a_child_does_not_outlive_its_killed_parent() -> None:
    pid = orphan("from forgeline.core.process import die_with_parent\ndie_with_parent()")
    try:
        assert ends_within(pid, 2.0)
    finally:
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_without_it_the_child_would_live_on() -> None:
    pid = orphan("pass")
    try:
        assert not ends_within(pid, 0.3)
    finally:
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def keep_handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.usefixtures("keep_handlers")
def test_a_signal_stops_where_the_program_stands(number: signal.Signals) -> None:
    raise_on_stop_signals()
    with pytest.raises(StopRequested, match=f"stopped by {number.name}"):
        signal.raise_signal(number)


@pytest.mark.usefixtures("keep_handlers")
def test_no_ordinary_except_swallows_a_stop() -> None:
    raise_on_stop_signals()
    with pytest.raises(StopRequested), contextlib.suppress(Exception):
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_asks_and_the_second_insists(first: signal.Signals, second: signal.Signals) -> None:
    with StopSignal() as stop:
        assert not stop.requested
        signal.raise_signal(first)
        assert stop.requested
        with pytest.raises(StopRequested, match=f"second {second.name}"):
            signal.raise_signal(second)


@pytest.mark.usefixtures("keep_handlers")
def test_afterwards_signals_do_what_they_did_before() -> None:
    raise_on_stop_signals()
    with StopSignal():
        signal.raise_signal(signal.SIGTERM)
    with pytest.raises(StopRequested, match="stopped by SIGTERM"):
        signal.raise_signal(signal.SIGTERM)
