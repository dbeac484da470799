"""Checkpoints of the own training loops: atomic, the last few kept, loaded without unpickling code."""

import os
from pathlib import Path
from typing import Any

import torch


class Checkpoints:
    """The checkpoint files of one run, in a scratch folder that only a rerun of the same work finds."""

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder = folder
        self._keep = keep

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Writes the state after `step` optimizer steps; a kill at any moment leaves older checkpoints whole."""
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = self._folder / "writing"
        with partial.open("wb") as file:
            torch.save({"step": step, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._folder / f"step-{step:08d}.pt")
        for old in self._files()[: -self._keep]:
            old.unlink()

    def load_latest(self) -> dict[str, Any] | None:
        """The newest state, or None when there is none yet."""
        files = self._files()
        if not files:
            return None
        state: dict[str, Any] = torch.load(files[-1], map_location="cpu", weights_only=True)
        return state

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("step-*.pt"))
