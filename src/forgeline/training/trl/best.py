"""The weights with the best validation loss so far, kept beside the checkpoints."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

COLUMN = "validation_loss"


class BestWeights:
    """Keeps what is trained of a model at the step with the lowest validation loss, step 0 left out.

    A killed run measures again what it measured after its last checkpoint and comes to the same numbers, so the file of
    the best step is there in the end, whichever run wrote it.
    """

    def __init__(self, folder: Path) -> None:
        """Takes the folder of the checkpoints."""
        self._folder = folder

    def consider(self, log_history: Sequence[Mapping[str, Any]], model: torch.nn.Module) -> None:
        """Told after each measurement, which is the last entry of `log_history`."""
        step = best_step(log_history)
        if step != log_history[-1]["step"]:
            return
        partial = self._folder / "best.partial"
        torch.save({name: w.detach().cpu() for name, w in model.named_parameters() if w.requires_grad}, partial)
        partial.replace(self._file(step))
        for old in self._folder.glob("best-*.pt"):
            if old != self._file(step):
                old.unlink()

    def restore(self, log_history: Sequence[Mapping[str, Any]], model: torch.nn.Module) -> int:
        """Puts the best weights back into the model; returns their step."""
        step = best_step(log_history)
        weights = torch.load(self._file(step), map_location="cpu")
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    parameter.copy_(weights[name])
        return step

    def _file(self, step: int) -> Path:
        return self._folder / f"best-{step}.pt"


def best_step(log_history: Sequence[Mapping[str, Any]]) -> int:
    """The trained step with the lowest validation loss, the earliest of equal ones."""
    measured = [(entry[COLUMN], entry["step"]) for entry in log_history if COLUMN in entry and entry["step"] > 0]
    return int(min(measured)[1])
