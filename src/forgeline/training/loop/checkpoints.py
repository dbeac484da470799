"""Checkpoints of the own training loops: atomic, the last few kept, loaded without unpickling code."""

import os
import zipfile
from pathlib import Path
from typing import Any

import torch

from forgeline.core.progress import announce_warning

_BEST = "best.pt"


class Checkpoints:
    """The checkpoint files of one run, in a scratch folder that only a rerun of the same work finds.

    Attributes:
        folder: Where they lie; made when the first one is written.
    """

    def __init__(self, folder: Path, keep: int, identity: str = "") -> None:
        """Names the place.

        Args:
            folder: Of this run alone.
            keep: How many of the last ones stay.
            identity: Of the work. Checkpoints with another one are not of this run, whoever put them there: they are
                passed over.
        """
        self.folder = folder
        self._keep = keep
        self._identity = identity

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Writes the state after `step` optimizer steps; a kill at any moment leaves older checkpoints whole."""
        self._write(self.folder / f"step-{step:08d}.pt", {"step": step, **state})
        for old in self._files()[: -self._keep]:
            old.unlink()

    def save_best(self, step: int, state: dict[str, Any]) -> None:
        """Keeps the state of the step with the best validation loss so far in place of the one before."""
        self._write(self.folder / _BEST, {"step": step, **state})

    def load_latest(self) -> dict[str, Any] | None:
        """The newest state that can be read, or None when there is none yet."""
        for file in reversed(self._files()):
            state = self._read(file)
            if state is not None:
                return state
        return None

    def load_best(self) -> dict[str, Any] | None:
        """What `save_best` kept, or None."""
        file = self.folder / _BEST
        return self._read(file) if file.is_file() else None

    def _write(self, file: Path, state: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / "writing"
        with partial.open("wb") as content:
            torch.save({"identity": self._identity, **state}, content)
            content.flush()
            os.fsync(content.fileno())
        partial.replace(file)

    def _read(self, file: Path) -> dict[str, Any] | None:
        try:
            whole = zipfile.is_zipfile(file)  # its directory stands at the end, which a cut takes away
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True) if whole else {}
        except RuntimeError:  # a hole in the middle; code in place of numbers is another error, which is not caught
            whole = False
        if not whole:
            announce_warning(f"checkpoint {file} is damaged: going on from an older one, or from the beginning")
            return None
        if state.pop("identity", "") != self._identity:
            announce_warning(f"checkpoint {file} is of another model, data or configuration: it is not used")
            return None
        return state

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.pt"))
