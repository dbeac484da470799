"""A Ray of this machine that lives as long as somebody holds the other end of standard input.

Run as a process of its own by `ray_session`. Ray is more than ten processes; when the one that started them is killed,
some notice only after a minute. So this process adopts them all, prints Ray's address, waits for standard input to end,
which the kernel sees to even after `kill -9`, and kills what is below it.
"""

import ctypes
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from forgeline.runner.tasks import num_workers

# Tasks and results pass through it, documents do not.
_OBJECT_STORE_BYTES = 128 * 1024**2
_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """Starts Ray with as many CPUs as `FORGELINE_WORKERS` says, and keeps it."""
    import ray

    session = Path(tempfile.mkdtemp(prefix="forgeline-ray-", dir="/tmp"))  # paths of sockets must be short
    adopt_orphans()
    threading.Thread(target=_end_with_standard_input, args=(session,), daemon=True).start()
    context = ray.init(
        address="local",  # no address at all would join any Ray that runs on this machine
        num_cpus=num_workers(),
        include_dashboard=False,
        object_store_memory=_OBJECT_STORE_BYTES,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _temp_dir=str(session),
    )
    sys.stdout.write(f"{context.address_info['gcs_address']}\n")
    sys.stdout.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):  # nobody reads what Ray may print from now on
        os.dup2(nowhere, stream.fileno())
    threading.Event().wait()


def _end_with_standard_input(session: Path) -> None:
    sys.stdin.read()
    kill_descendants()
    shutil.rmtree(session, ignore_errors=True)
    os._exit(0)


def adopt_orphans() -> None:
    """Has processes below this one become its children when their parent dies, so that none is lost (Linux only)."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_descendants() -> None:
    """Ends all processes below this one and reaps its children (Linux only)."""
    while left := descendants(os.getpid()):
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in left:
            with suppress(ChildProcessError):  # the child of another, until that one is reaped
                os.waitpid(pid, 0)


def descendants(ancestor: int) -> set[int]:
    """Ids of all processes below one."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = {ancestor}
    while children := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= children
    return found - {ancestor}


if __name__ == "__main__":
    main()
