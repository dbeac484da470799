"""Progress with a rate: a bar on a terminal, a line now and then in a log."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from forgeline.core.process import is_main_process

# Set by `forgeline repro`: the addresses of the stages it will run, in order, separated by commas.
STAGE_ORDER_VARIABLE = "FORGELINE_STAGE_ORDER"
_LOG_EVERY_SECONDS = 15.0


def announce_stage(address: str) -> None:
    """Says which stage starts, and which of how many it is when `forgeline repro` runs the pipeline."""
    order = os.environ.get(STAGE_ORDER_VARIABLE, "").split(",")
    place = f"[{order.index(address) + 1}/{len(order)}] " if address in order else ""
    _say(f"{place}{address}")


def announce_resume(step: int) -> None:
    """Says that training does not start from the beginning."""
    _say(f"  goes on from the checkpoint at step {step}")


def announce_fact(text: str) -> None:
    """Says something that helps to read what follows."""
    _say(f"  {text}")


def announce_warning(text: str) -> None:
    """Says something that a user should look at, though the stage goes on."""
    _say(f"forgeline: warning: {text}")


def _say(text: str) -> None:
    if is_main_process():
        print(text, file=sys.stderr, flush=True)


class ProgressBar:
    """What `progress` yields: call it with the work just done."""

    def __init__(self, bar: Progress | None, description: str, total: float, unit: str) -> None:
        self._bar = bar
        self._task: TaskID | None = bar.add_task(description, total=total or None, rate="", note="") if bar else None
        self._description = description
        self._total = total
        self._unit = unit
        self._done = 0.0
        self._start = time.monotonic()
        self._last_log = self._start

    def __call__(self, amount: float = 1, note: str = "") -> None:
        """Adds `amount` units of finished work; `note` (a loss, say) is shown beside the rate."""
        self._done += amount
        now = time.monotonic()
        rate = f"{self._done / max(now - self._start, 1e-9):,.0f} {self._unit}/s"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=amount, rate=rate, note=note)
        elif now - self._last_log > _LOG_EVERY_SECONDS:
            self._last_log = now
            share = f"{self._done / self._total:.0%}" if self._total else f"{self._done:,.0f} {self._unit}"
            _say(f"  {self._description} {share} {rate} {note}")


@contextmanager
def progress(description: str, total: float, unit: str) -> Iterator[ProgressBar]:
    """Shows work of `total` units while the block runs; yields a callable that is told each piece done.

    A total of 0 means that it is not known.
    """
    if not sys.stderr.isatty() or not is_main_process():
        yield ProgressBar(None, description, total, unit)
        return
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        yield ProgressBar(bar, description, total, unit)
