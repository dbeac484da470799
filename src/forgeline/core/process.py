"""Living and dying well as a child of DVC: no orphans, and stops at safe points."""

import ctypes
import os
import signal
import sys
from types import FrameType, TracebackType

from forgeline.core.errors import StopRequested

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Has the kernel send SIGTERM to this process when its parent dies (Linux only; elsewhere nothing happens).

    DVC does not pass SIGTERM on, and nothing can after `kill -9`: without this a training run outlives its pipeline.
    """
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died between the two calls, so no signal will come
        os.kill(os.getpid(), signal.SIGTERM)


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
