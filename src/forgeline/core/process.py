"""Living and dying well as a child of DVC: no orphans, and stops at safe points."""

import ctypes
import os
import resource
import select
import signal
import sys
import threading
from pathlib import Path
from types import FrameType, TracebackType

from forgeline.core.errors import StopRequested

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
STOPPED = 130  # exit status of a stage that a signal stopped
RANK_VARIABLE = "RANK"
_PR_SET_PDEATHSIG = 1


def is_main_process() -> bool:
    """False in all but the first of several processes that compute one stage together: only that one writes and speaks.

    Their launcher numbers them in the environment.
    """
    return os.environ.get(RANK_VARIABLE, "0") == "0"


def peak_memory_bytes() -> int:
    """Largest resident set of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux kilobytes


def die_with_parent() -> None:
    """Has this process receive SIGTERM when its parent, or the DVC above it, dies (Linux only).

    DVC does not pass SIGTERM on, and nothing can after `kill -9`: without this a training run outlives its pipeline.
    Most shells replace themselves by the one command they are given, so the parent is DVC and the kernel sees to it.
    A shell that stays in between (fish does) would wait for us: then a thread watches the process above the shell.
    """
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died between the two calls, so no signal will come
        os.kill(os.getpid(), signal.SIGTERM)
    elif _is_shell_of_dvc(parent):
        threading.Thread(target=_terminate_after, args=(parent,), name="forgeline-watch-dvc", daemon=True).start()


def _is_shell_of_dvc(pid: int) -> bool:
    """Whether a process was started by DVC to run a stage: DVC names the stage in the environment it gives it."""
    try:
        return b"\0DVC_STAGE=" in b"\0" + Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def _terminate_after(shell: int) -> None:
    """Waits, without using the processor, for the parent of `shell` to end, and asks this process to stop."""
    try:
        dvc = int(Path(f"/proc/{shell}/stat").read_text().rpartition(")")[2].split()[1])
        watched = os.pidfd_open(dvc)
    except OSError:
        pass  # it is gone already
    else:
        poll = select.poll()
        poll.register(watched, select.POLLIN)
        poll.poll()
    os.kill(os.getpid(), signal.SIGTERM)


def exit_on_stop_signals() -> None:
    """From now on SIGTERM and Ctrl-C end the process with one line and status 130: for the seconds of importing."""

    def stop(number: int, _frame: FrameType | None) -> None:
        sys.stderr.write(f"forgeline: stopped by {signal.Signals(number).name} before anything was done\n")
        sys.stderr.flush()
        os._exit(STOPPED)  # an exception would come out of the middle of an import as a page of traceback

    for number in STOP_SIGNALS:
        signal.signal(number, stop)


def raise_on_stop_signals() -> None:
    """From now on SIGTERM and Ctrl-C raise `StopRequested` where the program stands."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise StopRequested(f"stopped by {signal.Signals(number).name}")

    for number in STOP_SIGNALS:
        signal.signal(number, stop)


class StopSignal:
    """While entered, the first SIGTERM or Ctrl-C only sets `requested`, which a loop reads at its next safe point.

    A second one stops at once. Use it around training loops, which then save a checkpoint and raise `StopRequested`.
    """

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> "StopSignal":
        self._previous = {number: signal.signal(number, self._note) for number in STOP_SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.requested:
            raise StopRequested(f"stopped by a second {signal.Signals(number).name}")
        self.requested = True
