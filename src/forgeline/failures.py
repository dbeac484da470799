"""Stages that fail while the others go on: why each did, and a leaderboard that says so."""

import fcntl
import json
import os
import pty
import shlex
import struct
import subprocess
import sys
import termios
import threading
import tty
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_KEPT_BYTES = 8192
_OWN_PREFIX = "forgeline: "
_WAIT_SECONDS = 2.0  # for the last words of a stage whose children still hold its stderr
EVALUATION = "evaluate@"
REPORT_STAGE = "report"


@dataclass
class Failures:
    """What went wrong in one run of the pipeline.

    Attributes:
        reasons: What each failed stage said last, by its address.
        skipped: Stages that did not run because of a failed one, which they depend on.
    """

    reasons: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def add(self, stage: str, reason: str, dependents: set[str]) -> None:
        """Notes a failed stage and those that wait for it."""
        self.reasons[stage] = reason
        for dependent in dependents:
            self.skipped.setdefault(dependent, stage)

    def lines(self) -> list[str]:
        """For the terminal: every failed stage and why, then how many were left out."""
        failed = [f"FAILED {stage}: {reason}" for stage, reason in sorted(self.reasons.items())]
        return failed + ([f"not run because of that: {', '.join(sorted(self.skipped))}"] if self.skipped else [])

    def models(self, scored: Container[str]) -> dict[str, dict[str, str]]:
        """The models without a score of this run, each as leaderboard.json lists it under `missing`.

        Args:
            scored: Models with scores, which those of skipped ones have from a run before.
        """
        found = {}
        for stage in sorted({*self.reasons, *self.skipped}):
            if not stage.startswith(EVALUATION):
                continue
            model = stage.removeprefix(EVALUATION)
            status, reason = "failed", self.reasons.get(stage, "")
            if stage in self.skipped:
                cause = self.skipped[stage]
                status = "scores of a run before" if model in scored else "not evaluated"
                reason = f"{cause} failed: {self.reasons.get(cause, '')}"
            found[model] = {"model": model, "status": status, "reason": reason}
        return found


class LastWords:
    """Passes on what a command writes to stderr, and keeps the end of it.

    The command sees a terminal where this process has one, so that its progress bars stay.
    """

    def __init__(self) -> None:
        self._kept = b""

    @contextmanager
    def stderr(self) -> Iterator[int]:
        """A file descriptor for the command's stderr."""
        self._kept = b""
        source, target = _terminal() if sys.stderr.isatty() else os.pipe()
        copying = threading.Thread(target=self._copy, args=(source,), daemon=True)
        copying.start()
        try:
            yield target
        finally:
            os.close(target)
            copying.join(_WAIT_SECONDS)

    def reason(self) -> str:
        """Our own message if the command ended with one, else its last line; empty when it said nothing."""
        lines = [line.strip() for line in self._kept.decode("utf-8", errors="replace").splitlines() if line.strip()]
        own = [line.removeprefix(_OWN_PREFIX) for line in lines if line.startswith(_OWN_PREFIX)]
        return (own or lines or [""])[-1]

    def _copy(self, source: int) -> None:
        while True:
            try:
                piece = os.read(source, _KEPT_BYTES)
            except OSError:  # how a pseudo-terminal says that nobody writes any more
                break
            if not piece:
                break
            self._kept = (self._kept + piece)[-_KEPT_BYTES:]
            sys.stderr.write(piece.decode("utf-8", errors="replace"))
            sys.stderr.flush()
        os.close(source)


def _terminal() -> tuple[int, int]:
    """Both ends of a pseudo-terminal of the size of ours that passes on bytes as they are."""
    source, target = pty.openpty()
    tty.setraw(target)
    size = fcntl.ioctl(sys.stderr.fileno(), termios.TIOCGWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
    fcntl.ioctl(target, termios.TIOCSWINSZ, size)
    return source, target


def show_in_leaderboard(failures: Failures, leaderboard: Path) -> str:
    """Makes the leaderboard of what there is, with the failed models and why; returns what went wrong, if anything.

    DVC leaves out the stage that makes it, which depends on what failed, and makes it again when all is well.
    """
    from forgeline.core.pipeline import find_stage
    from forgeline.core.storage import read_json, write_json
    from forgeline.reporting.leaderboard import FAILED_VARIABLE

    if REPORT_STAGE in failures.skipped:
        stage = find_stage(REPORT_STAGE)
        if stage is None:
            return ""
        known = {**os.environ, FAILED_VARIABLE: json.dumps(failures.models(()))}
        done = subprocess.run(shlex.split(stage.command), stderr=subprocess.PIPE, text=True, env=known)
        if done.returncode != 0:
            return (done.stderr.strip().splitlines() or [""])[-1].removeprefix(_OWN_PREFIX)
    if leaderboard.is_file():
        content = read_json(leaderboard)
        missing = failures.models({row["model"] for row in content["rows"]})
        listed = {entry["model"]: entry for entry in content.get("missing", [])}
        write_json(leaderboard, {**content, "missing": list({**listed, **missing}.values())})
    return ""


def missing_lines(leaderboard: Mapping[str, Any]) -> list[str]:
    """For the terminal: the models that leaderboard.json has no scores of, and why."""
    return [f"{entry['model']}: {entry['status']} ({entry['reason']})" for entry in leaderboard.get("missing", [])]
