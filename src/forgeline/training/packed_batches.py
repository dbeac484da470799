"""Batches of packed rows: all conversations of a micro-batch one after the other, with the bounds of each."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch

from forgeline.training.segmented_attention import segment_arguments


class PackedCollator:
    """Lays rows end to end, so that there is no padding; a conversation begins where positions start again."""

    def __call__(self, rows: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, Any]:
        """Tensors `input_ids`, `labels` and `position_ids`, each [1, tokens], and what `segment_arguments` gives."""
        batch: dict[str, Any] = {
            name: torch.tensor([[number for row in rows for number in row[name]]])
            for name in ("input_ids", "labels", "position_ids")
        }
        positions = batch["position_ids"][0]
        bounds = [*(positions == 0).nonzero().flatten().tolist(), len(positions)]
        return batch | segment_arguments([end - start for start, end in pairwise(bounds)])
