"""Batches of packed rows: several conversations one after the other, which attention keeps apart.

Every model of transformers tells them apart by positions that start again, but only when it is given no attention mask
and no cache: with a mask of ones they would see each other.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from forgeline.training.trl.held_out import IGNORED


class PackedCollator:
    """Pads packed rows on the right. Each padding token has position 0, so it is a conversation by itself."""

    def __call__(self, rows: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, Tensor]:
        """Tensors `input_ids`, `labels` and `position_ids`, each [rows, longest]."""
        longest = max(len(row["input_ids"]) for row in rows)
        fillers = {"input_ids": 0, "labels": IGNORED, "position_ids": 0}
        return {
            name: torch.tensor([[*row[name], *[filler] * (longest - len(row[name]))] for row in rows])
            for name, filler in fillers.items()
        }
