"""Copies of a finished run, in which stages are started, stopped, killed and starved."""

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from forgeline.core.pipeline import PipelineStage, find_stage
from forgeline.core.storage import sha256_path
from tests.clone import Clone

POLL_SECONDS = 0.001  # a smoke run's training takes half a second


def copy_of(finished: Clone, target: Path) -> Clone:
    """A copy to write in, DVC's cache included."""
    shutil.copytree(finished.root, target, symlinks=True)
    shutil.rmtree(target / ".dvc" / "tmp" / "scratch", ignore_errors=True)
    return Clone(target)


def stage_of(clone: Clone, address: str) -> PipelineStage:
    """The stage as the clone's dvc.yaml has it."""
    stage = find_stage(address, clone.root)
    assert stage is not None
    return stage


def command_of(clone: Clone, address: str) -> list[str]:
    """What DVC would run for the stage."""
    command = shlex.split(stage_of(clone, address).command)
    return [sys.executable, *command[1:]]


def run_stage(clone: Clone, address: str, *, within: str = "") -> subprocess.CompletedProcess[str]:
    """Runs the stage's own command; `within` is a shell command that ends in "$@" and runs it."""
    command = command_of(clone, address)
    if within:
        command = ["sh", "-c", within, "sh", *command]
    return clone.run(*command, check=False, FORGELINE_TRACKING="off")


def contents(clone: Clone, address: str) -> dict[str, str | None]:
    """SHA-256 of each output of the stage; None where there is none."""
    paths = [(path, clone.root / path) for path in stage_of(clone, address).outs]
    return {name: sha256_path(path) if path.exists() else None for name, path in paths}


def remove_outputs(clone: Clone, address: str) -> None:
    """Removes what the stage has made."""
    for name in stage_of(clone, address).outs:
        path = clone.root / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def leftovers(clone: Clone) -> list[str]:
    """Unfinished or replaced outputs that were not cleared away."""
    places = (clone.root / place for place in ("data", "models", "metrics"))
    return [str(path) for place in places for path in place.rglob(".*") if path.suffix in (".partial", ".replaced")]


def message(done: subprocess.CompletedProcess[str]) -> str:
    """The one message of a command that failed as it should."""
    assert done.returncode == 1, f"exit status {done.returncode}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    said = re.findall(r"^forgeline: .*", done.stderr, flags=re.MULTILINE)
    assert len(said) == 1, done.stderr
    assert done.stderr.rstrip().endswith(said[0]), done.stderr
    return said[0].removeprefix("forgeline: ")


def checkpoint_step(clone: Clone, address: str) -> int:
    """The step of the stage's newest complete checkpoint; 0 when there is none."""
    scratch = clone.root / ".dvc" / "tmp" / "scratch"
    name = address.replace("@", "-")
    own_loop = [path.stem for path in scratch.glob(f"{name}-*/step-*.pt")]
    trl = [path.parent.name for path in scratch.glob(f"{name}-*/checkpoint-*/complete")]
    return max((int(stem.rpartition("-")[2]) for stem in own_loop + trl), default=0)


def processes_in(folder: Path) -> dict[int, str]:
    """Process id and command line of the processes that work in a folder."""
    found = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and Path(os.readlink(entry / "cwd")) == folder:
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition came true in time."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(POLL_SECONDS)
    return True


@contextlib.contextmanager
def started(clone: Clone, *command: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A command in a process group of its own, all of which is gone afterwards."""
    process = subprocess.Popen(
        command,
        cwd=clone.root,
        env=clone.environment(FORGELINE_TRACKING="off", **environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        for pid in processes_in(clone.root):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def stop_at_checkpoint(clone: Clone, address: str, command: list[str], stop: Callable[[int], None]) -> tuple[int, str]:
    """Runs a command and stops it as soon as the stage has written a checkpoint.

    Args:
        clone: Where.
        address: The stage that trains.
        command: What is started.
        stop: Called with the process id of what was started.

    Returns:
        Exit status of the command, and what it printed.
    """
    with started(clone, *command) as process:
        arrived = wait_until(lambda: checkpoint_step(clone, address) > 0 or process.poll() is not None, 120)
        assert arrived, f"{address} wrote no checkpoint"
        if process.poll() is None:
            stop(process.pid)
        printed, _ = process.communicate(timeout=60)
        return process.returncode, printed
