"""Tasks for Ray workers, which import them by name, and a command that runs some on Ray."""

import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import forgeline
from forgeline.core.errors import DataError
from forgeline.core.run import command_line
from forgeline.runner.tasks import run_tasks

NUM_ERRANDS = 12
UNLUCKY = 5


@dataclass(frozen=True)
class Errand:
    """Work on one file."""

    number: int
    folder: Path

    @property
    def file(self) -> Path:
        """What the errand is to write."""
        return self.folder / f"{self.number}.txt"


def tell(errand: Errand) -> list[str]:
    """Where the worker is: node, folder, code."""
    time.sleep(0.3)  # long enough for both nodes to get some
    ray = sys.modules["ray"]
    return [ray.get_runtime_context().get_node_id(), str(Path.cwd()), str(Path(forgeline.__file__).parent)]


def write_but_die_once(errand: Errand) -> int:
    """Writes the file; the first worker of one errand is killed in the middle of it."""
    if errand.number == UNLUCKY and not errand.file.exists():
        errand.file.write_text("half of")
        os.kill(os.getpid(), signal.SIGKILL)
    errand.file.write_text(f"errand {errand.number}")
    return errand.number


def write_and_die(errand: Errand) -> int:
    """Kills its worker every time, as a task does that needs more memory than there is."""
    if errand.number == UNLUCKY:
        os.kill(os.getpid(), signal.SIGKILL)
    return errand.number


def refuse(errand: Errand) -> int:
    """Finds what a user can mend."""
    if errand.number >= UNLUCKY:
        raise DataError(f"notes-{errand.number}.txt:7: not a note: write one")
    return errand.number


def dawdle(errand: Errand) -> None:
    """Tells its process, and takes a minute."""
    errand.file.write_text(str(os.getpid()))
    time.sleep(60)


def main(functions: str, folder: Path) -> None:
    """Runs each of the functions, whose names are parted by commas, and prints its results as a line of JSON."""
    errands = [Errand(number, folder) for number in range(NUM_ERRANDS)]
    for name in functions.split(","):
        results = list(run_tasks(globals()[name], errands, name, "errands", lambda _: 1))
        sys.stdout.write(json.dumps(results) + "\n")


if __name__ == "__main__":
    from tests.reliability import ray_tasks  # under the name by which workers know it

    command_line(ray_tasks.main)
