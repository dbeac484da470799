"""What earlier runs of each stage took on this machine. `forgeline plan` reads it; no stage depends on it.

Times are no artefacts, so the notes lie under `.dvc/tmp`, which git and DVC ignore, one file for each stage.
"""

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgeline.core.errors import DataError
from forgeline.core.process import peak_memory_bytes
from forgeline.core.storage import read_json, write_json

FOLDER = Path(".dvc", "tmp", "forgeline-durations")
_STARTED = time.monotonic()  # stages import this module before the heavy libraries, so their loading counts
_workers_bytes = 0  # the most that worker processes of this one held at a time


@dataclass(frozen=True)
class Duration:
    """One finished run of a stage, from start to end.

    Attributes:
        seconds: Wall time of its process.
        peak_memory_bytes: Largest resident set of its process, and what its workers on this machine held beside it.
        params: All of params.yaml as it was.
        summary: What the stage wrote into its metrics file.
    """

    seconds: float
    peak_memory_bytes: int
    params: dict[str, Any]
    summary: dict[str, Any]


def note_workers(num_bytes: int) -> None:
    """Counts memory that worker processes held at a time, beyond what they share with this process.

    By resident sets this is rather too much, 10 to 30 % of all: pages of libraries are counted in each.
    """
    global _workers_bytes
    _workers_bytes = max(_workers_bytes, num_bytes)


def note_duration(root: Path, address: str, params: dict[str, Any], summary: dict[str, Any]) -> None:
    """Notes what the stage of this process took. A disk that refuses the note costs the note, not the stage.

    Args:
        root: Of the repository.
        address: DVC's name of the stage.
        params: All of params.yaml as it was when the stage began.
        summary: What the stage wrote into its metrics file.
    """
    note = {
        "seconds": time.monotonic() - _STARTED,
        "peak_memory_bytes": peak_memory_bytes() + _workers_bytes,
        "params": params,
        "summary": summary,
    }
    with suppress(OSError):
        write_json(root / FOLDER / f"{address}.json", note)


def read_durations(root: Path) -> dict[str, Duration]:
    """The last finished run of each stage by its address; notes that cannot be read are passed over."""
    found = {}
    for file in sorted((root / FOLDER).glob("*.json")):
        with suppress(DataError, TypeError):
            found[file.stem] = Duration(**read_json(file))
    return found
